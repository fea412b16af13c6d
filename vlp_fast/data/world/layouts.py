"""Writes a world to disk in the layouts that real data sets come in, and reads its scenes back.

    images/000000000001.png ...                  pictures, lossless
    annotations/captions_world.json              COCO captions
    annotations/instances_world.json             COCO instances, category ids 1 to 8
    dataset_coco.json                            Karpathy's file with the splits train, val, test
    objects.json, attributes.json, region_descriptions.json, image_data.json       Visual Genome
    objects_vocab.txt, attributes_vocab.txt      kinds; colours, then sizes, then textures
    v2_*_questions.json, v2_*_annotations.json, vqa_trainval_label2ans.json        VQA v2
    nlvr2/train.json, ..., nlvr2/images/train/0/train-0-0-img0.png, ...            NLVR2
    snli_ve_train.jsonl, snli_ve_dev.jsonl, snli_ve_test.jsonl                     SNLI-VE
    world.json                                   the scenes, with everything

The folder appears whole or not at all: it is written beside its place and renamed. An older world
that it replaces is deleted only then, and only if every file of it has one of these names.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from vlp_fast.data.printable import printable
from vlp_fast.data.randomness import generator
from vlp_fast.data.world.annotations import (
    dump,
    file_name,
    write_coco,
    write_karpathy,
    write_visual_genome,
)
from vlp_fast.data.world.bounds import WORLD, Bounds
from vlp_fast.data.world.descriptions import described_scenes
from vlp_fast.data.world.descriptions import split_of as split_of_described
from vlp_fast.data.world.draw import draw
from vlp_fast.data.world.groups import Facts
from vlp_fast.data.world.language import captions as statements_of
from vlp_fast.data.world.nlvr2_files import write_nlvr2
from vlp_fast.data.world.sampling import sample_scene
from vlp_fast.data.world.scene import Scene, scene_from_dict, scene_to_dict
from vlp_fast.data.world.snli_ve_files import write_snli_ve
from vlp_fast.data.world.vqa_files import write_vqa
from vlp_fast.errors import InputError

Captions = Literal["statements", "descriptions"]
FORMAT = "vlp_fast.world"
FORMAT_VERSION = 1
FEWEST_IMAGES = 8
_FOLDERS = re.compile(
    r"images|annotations|nlvr2(/(dev|test1|images|images/train|images/train/[0-9]{1,2}))?"
)
_FILES = re.compile(
    r"images/[0-9]{12}\.png|annotations/(captions|instances)_world\.json"
    r"|(world|dataset_coco|image_data|objects|attributes|region_descriptions)\.json"
    r"|(objects|attributes)_vocab\.txt"
    r"|v2_OpenEnded_mscoco_(train2014|val2014|test2015|test-dev2015)_questions\.json"
    r"|v2_mscoco_(train|val)2014_annotations\.json|vqa_trainval_label2ans\.json"
    r"|nlvr2/(train|dev|test1)\.json|\.vlp_fast_check\.json|snli_ve_(train|dev|test)\.jsonl"
    r"|nlvr2/(images/train/[0-9]{1,2}|dev|test1)/(train|dev|test1)-[0-9]+-[0-3]-img[01]\.png"
)


def make_world(
    out: Path,
    *,
    images: int,
    seed: int,
    bounds: Bounds = WORLD,
    captions: Captions = "statements",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Writes the world `seed` to the folder `out`; an older world there is replaced.

    Picture i depends on the seed, the bounds and i only. Of every 20 pictures, 18 are for training,
    one for validation and one for testing. 10,000 pictures take half a minute on one core
    (2026-11).

    Args:
        images: number of pictures, at least 8: the first of every split are among those.
        seed: 0 <= seed < 2**63.
        bounds: what pictures are drawn from; `WORLD` has everything, `SMALL` is soon learnt.
        captions: several true statements of each picture, or one full description, for retrieval:
            of every six pictures four are for training then, one each for validation and testing,
            whose descriptions tell each from all others of its split; no files of other tasks.
        progress: called with the number of finished pictures after each.

    Raises:
        InputError: a number is out of range, `out` cannot be written, or it is something other
            than a world or an empty folder.
    """
    _check_request(images, seed)
    _check_target(out)
    with _written_whole(out) as folder:
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        scenes: list[Scene] = []
        texts: list[tuple[str, ...]] = []
        for scene, own in _SCENES[captions](seed, images, bounds):
            scenes.append(scene)
            texts.append(own)
            picture = folder / "images" / file_name(scene)
            draw(scene).save(picture, format="PNG", compress_level=3)
            if progress is not None:
                progress(len(scenes))
        write_coco(folder, scenes, texts)
        write_karpathy(folder, scenes, texts, _SPLITS[captions])
        write_visual_genome(folder, scenes)
        if captions == "statements":
            _write_tasks(folder, scenes, texts, seed)
        _write_scenes(folder, scenes, seed)


def read_scenes(root: Path) -> dict[int, Scene]:
    """Returns the scenes of a world by image id.

    Raises:
        InputError: `world.json` is missing, damaged, or of another version.
    """
    path = root / "world.json"
    remedy = "make the world again with `vlp-fast data make-world`"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {remedy}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(f"{path}: not a world; {remedy}")
    if state.get("version") != FORMAT_VERSION:
        found = state.get("version")
        raise InputError(f"{path}: version {found!r:.60}, expected {FORMAT_VERSION}; {remedy}")
    try:
        scenes = [scene_from_dict(item) for item in state["scenes"]]
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: a scene is damaged ({error!r:.300}); {remedy}") from error
    return {scene.image_id: scene for scene in scenes}


def _with_statements(
    seed: int, images: int, bounds: Bounds
) -> Iterator[tuple[Scene, tuple[str, ...]]]:
    for index in range(images):
        scene = sample_scene(seed, index, bounds)
        yield scene, statements_of(scene, generator(seed, 0, index, "captions"))


def _with_descriptions(
    seed: int, images: int, bounds: Bounds
) -> Iterator[tuple[Scene, tuple[str, ...]]]:
    for scene, text in described_scenes(seed, images, bounds):
        yield scene, (text,)


_SCENES = {"statements": _with_statements, "descriptions": _with_descriptions}
_SPLITS = {"statements": None, "descriptions": split_of_described}


def _write_tasks(
    folder: Path, scenes: Sequence[Scene], texts: Sequence[tuple[str, ...]], seed: int
) -> None:
    """Files of tasks that ask something of the pictures."""
    facts = [Facts(scene) for scene in scenes]
    write_vqa(folder, facts, seed)
    write_nlvr2(folder, facts, seed)
    write_snli_ve(folder, facts, texts, seed)


def _check_request(images: int, seed: int) -> None:
    if images < FEWEST_IMAGES:
        raise InputError(
            f"make-world: received {images} images; ask for at least {FEWEST_IMAGES}, so that "
            "every split has one"
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"make-world: received seed {seed}; give one from 0 to 2**63 - 1")


def _check_target(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out}: is not a folder; name a new or empty folder")
    stray = _stray(out) if out.is_dir() else None
    if stray is not None:
        raise InputError(
            f"{out}: holds something other than a world ({printable(stray.relative_to(out))}); "
            "name a new or empty folder"
        )


def _stray(folder: Path) -> Path | None:
    """What is not of a world that was written here: a file of another name, or another world.json.

    Pictures and annotations are looked through as well: all of it is deleted with the world.
    """
    everything = folder.rglob("*")  # does not follow links, which are strays themselves
    stray = next((path for path in everything if not _is_ours(path, folder)), None)
    if stray is not None or _is_recognised(folder):
        return stray
    return folder / "world.json" if any(folder.iterdir()) else None


def _is_ours(path: Path, folder: Path) -> bool:
    name = path.relative_to(folder).as_posix()
    if path.is_symlink():
        return False
    return (_FOLDERS if path.is_dir() else _FILES).fullmatch(name) is not None


def _is_recognised(folder: Path) -> bool:
    """Whether `world.json` begins as `_write_scenes` begins it."""
    try:
        with (folder / "world.json").open(encoding="utf-8") as file:
            return file.read(64).startswith(f'{{"format": "{FORMAT}"')
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def _written_whole(out: Path) -> Iterator[Path]:
    """A temporary sibling that takes the place of `out` on success and vanishes otherwise.

    Its name is fixed, so that what a killed process left behind is found and removed. Whatever
    happens, a world that was there stays, or comes back.
    """
    out = out.absolute()
    scratch = out.with_name(f".{out.name}.make-world.partial")
    new, old = scratch / "new", scratch / "old"
    try:
        _put_back(old, out)
        if scratch.exists():
            shutil.rmtree(scratch)
        new.mkdir(parents=True)
        try:
            yield new
            if out.exists():
                out.rename(old)
            new.rename(out)
        finally:
            _put_back(old, out)  # if this fails too, the old world stays where it is
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        remedy = "free the disk or name another folder"
        raise InputError(f"{out}: cannot be written ({error}); {remedy}") from error


def _put_back(old: Path, out: Path) -> None:
    """Undo the first of the two renames where the second did not follow."""
    if old.exists() and not out.exists():
        old.rename(out)


def _write_scenes(folder: Path, scenes: Sequence[Scene], seed: int) -> None:
    # "format" comes first: `_is_recognised` knows a world by the beginning of this file.
    state = {"format": FORMAT, "version": FORMAT_VERSION, "seed": seed, "images": len(scenes)}
    dump(folder / "world.json", {**state, "scenes": [scene_to_dict(scene) for scene in scenes]})

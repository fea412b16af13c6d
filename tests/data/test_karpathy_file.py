"""Which dataset_*.json of a folder is Karpathy's: what it holds decides."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.karpathy_file import HEAD
from vlp_fast.errors import InputError


def document(*names: str) -> dict[str, Any]:
    return {
        "images": [
            {"filename": name, "imgid": i, "split": "train", "sentences": [{"raw": f"text {i}"}]}
            for i, name in enumerate(names)
        ]
    }


@pytest.fixture
def three(
    tmp_path: Path, write_json: Callable[[Path, Any], Path], write_image: Callable[..., Path]
) -> Path:
    """Karpathy's archive unpacked beside the pictures of Flickr30k."""
    write_json(tmp_path / "dataset_coco.json", document("COCO_val2014_1.png", "COCO_val2014_2.png"))
    write_json(tmp_path / "dataset_flickr8k.json", document("8a.png", "8b.png"))
    write_json(tmp_path / "dataset_flickr30k.json", document("30a.png", "30b.png"))
    for name in ("30a.png", "30b.png"):
        write_image(tmp_path / "flickr30k-images" / name)
    return tmp_path


def test_of_three_the_one_with_pictures_is_taken(three: Path) -> None:
    dataset = load_dataset(three, "train")
    assert dataset.name == "flickr30k train (Karpathy)"
    assert [r.path.name for r in dataset.records] == ["30a.png", "30b.png"]


def test_where_two_or_none_have_pictures_an_option_chooses(
    three: Path, write_image: Callable[..., Path]
) -> None:
    write_image(three / "8b.png")
    write_image(three / "8a.png")
    with pytest.raises(InputError, match=r"pictures of 2 of them.*--data\.karpathy-file FILE"):
        load_dataset(three, "train")
    given = load_dataset(three, "train", karpathy_file=three / "dataset_flickr8k.json")
    assert given.name == "flickr8k train (Karpathy)"
    for path in (*three.glob("flickr30k-images/*"), *three.glob("*.png")):
        path.unlink()
    with pytest.raises(InputError, match=r"pictures of none of them.*--data\.karpathy-file FILE"):
        load_dataset(three, "train")


def test_pictures_that_may_not_be_listed_are_not_called_absent(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = os.listdir

    def refusing(folder: Path) -> list[str]:
        if Path(folder).name == "flickr30k-images":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "listdir", refusing)
    with pytest.raises(InputError, match=r"flickr30k-images: cannot be listed \(Permission denied"):
        load_dataset(three, "train")


def test_a_file_that_is_given_decides_the_layout(
    coco_folder: Path, write_json: Callable[[Path, Any], Path]
) -> None:
    path = write_json(
        coco_folder.parent / "splits.json", document("000000000001.png", "000000000002.png")
    )
    dataset = load_dataset(coco_folder, "train", karpathy_file=path)
    assert dataset.name == "splits train (Karpathy)"
    with pytest.raises(InputError, match=r"absent\.json: No such file"):
        load_dataset(coco_folder, "train", karpathy_file=coco_folder / "absent.json")


def test_the_same_file_in_both_usual_folders_is_one(
    three: Path, write_json: Callable[[Path, Any], Path]
) -> None:
    write_json(three / "annotations" / "dataset_flickr30k.json", document("elsewhere.png"))
    assert len(load_dataset(three, "train")) == 2


@pytest.mark.parametrize(
    "content",
    [
        '{"label_map": {}}',
        '{"images": []}',
        '{"images": [{"id": 1, "file_name": "a.png"}]}',
        '{"images": {"split": 1, "sentences": 2}}',
        '["images"]',
        '{"images": [' + "[" * 10**5,
        "",
        "not JSON",
    ],
)
def test_others_of_the_name_do_not_hide_the_layout(coco_folder: Path, content: str) -> None:
    """The names are usual: Hugging Face's dataset_infos.json, Datumaro's dataset_meta.json."""
    (coco_folder / "dataset_meta.json").write_text(content)
    dataset = load_dataset(coco_folder, "train", needs_boxes=True)
    assert (dataset.name, dataset.num_boxes) == ("COCO train2017", 5)
    assert dataset.notes[-1].startswith("dataset_meta.json has no images with their split")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "dataset_coco.json: is empty; download it again"),
        ('{"images": [{"filename": "a', "ends early"),
        ("{}", "no known layout; dataset_coco.json has no images with their split and sentences"),
    ],
)
def test_a_failed_download_is_told(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "dataset_coco.json").write_text(content)
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path, "train")
    assert reason in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_of_json_is_known(
    tmp_path: Path, write_image: Callable[..., Path], encoding: str
) -> None:
    write_image(tmp_path / "é.png")
    text = json.dumps(document("é.png"), ensure_ascii=False)
    (tmp_path / "dataset_x.json").write_text(text, encoding=encoding)
    dataset = load_dataset(tmp_path, "train")
    assert [r.path.name for r in dataset.records] == ["é.png"]


def test_large_files_are_known_by_their_head(
    tmp_path: Path, write_image: Callable[..., Path], write_json: Callable[[Path, Any], Path]
) -> None:
    write_image(tmp_path / "a.png")
    large = document("a.png")
    large["images"][0]["sentences"] += [{"raw": "word " * 50}] * 100
    large["images"] = [{**large["images"][0], "imgid": i} for i in range(60)]
    path = write_json(tmp_path / "dataset_x.json", large)
    assert path.stat().st_size > HEAD
    assert len(load_dataset(tmp_path, "train")) == 60


@pytest.mark.parametrize(
    "folder",
    ["flickr30k-images", "flickr30k_images", "flickr30k_images/flickr30k_images", "images"],
)
def test_usual_folders_of_flickr(
    tmp_path: Path,
    write_image: Callable[..., Path],
    write_json: Callable[[Path, Any], Path],
    folder: str,
) -> None:
    write_image(tmp_path / folder / "1_a.png")
    write_json(tmp_path / "dataset_flickr30k.json", document("1_a.png"))
    assert load_dataset(tmp_path, "train").records[0].path == tmp_path / folder / "1_a.png"

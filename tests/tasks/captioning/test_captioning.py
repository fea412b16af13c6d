"""Captions are written from the picture alone, judged by people's, and handed in whole."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from teams import Member, run_team
from torch.nn import functional

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.errors import InputError
from vlp_fast.layers.language_model import Texts
from vlp_fast.metrics.caption.caption_score import CaptionScore
from vlp_fast.recipes import recipe
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.captioning import captioning
from vlp_fast.tasks.captioning.captioning import Captioning, CaptionInputs
from vlp_fast.tasks.captioning.figures import all_captions
from vlp_fast.tasks.task import Figures

Make = Callable[..., RunConfig]


@pytest.fixture
def run(micro: Make, tmp_path: Path) -> RunConfig:
    """Of a model without dropout, on the drawn world."""
    base = micro("e2e_vlp_tiny", tmp_path / "run", held_out_images=10**6)
    task = recipe("captioning_e2e_vlp_tiny").task
    return replace(base, task=task, model=replace(base.model, dropout=0.0))


@pytest.fixture
def experiment(run: RunConfig) -> Experiment:
    built = build_experiment(run)
    built.learner.eval()
    return built


def task_of(experiment: Experiment) -> Captioning:
    assert isinstance(experiment.task, Captioning)
    return experiment.task


def batch(task: Captioning, epoch: int = 0) -> CaptionInputs:
    examples = [task.examples.load(index, 0) for index in range(4)]
    return task.collate(examples, BatchKey(task.train, epoch, None))


def test_the_loss_is_the_smoothed_cross_entropy_of_each_next_word(experiment: Experiment) -> None:
    task = task_of(experiment)
    inputs = batch(task)
    output = task.learner(task, inputs)
    logits = task.model.caption_logits(
        inputs.caption_ids,
        inputs.caption_packing,
        task.memory(inputs),
        inputs.grid,
        inputs.packing,
    ).double()
    surprise = -functional.log_softmax(logits, -1)
    of_target = surprise.gather(1, inputs.caption_targets[:, None])[:, 0]
    expected = (0.9 * of_target + 0.1 * surprise.mean(-1)).mean()
    torch.testing.assert_close(output.total.double(), expected, rtol=1e-5, atol=0)


def test_a_caption_of_each_picture_is_taught_and_another_one_next_time(
    experiment: Experiment,
) -> None:
    task = task_of(experiment)
    seen = set()
    for epoch in range(12):
        inputs = batch(task, epoch)
        ends = torch.tensor(inputs.caption_packing.lengths).cumsum(0).tolist()
        rows = [inputs.caption_ids[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        answers = [inputs.caption_targets[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        for index, row, answer in zip(inputs.indices, rows, answers, strict=True):
            text = task.tokenizer.caption(answer.tolist())
            assert text in {" ".join(c.split()) for c in task.train.records[index].captions}
            assert row[0] == task.tokenizer.cls_id
            assert answer[-1] == task.tokenizer.sep_id
            assert torch.equal(row[1:], answer[:-1])
            seen.add((index, text))
    assert len(seen) > 2 * len(inputs.indices)
    assert torch.equal(inputs.caption_ids, batch(task, 11).caption_ids)


def test_figures_are_the_scores_of_what_is_written(experiment: Experiment) -> None:
    """By beam search and greedily, of all pictures, beside all of their captions."""
    task, held_out = task_of(experiment), experiment.held_out()
    with torch.no_grad():
        figures = task.figures(held_out)
        captions = all_captions(task, held_out)
    assert list(captions) == list(range(len(task.held_out)))
    score = CaptionScore("val", range(len(task.held_out)))
    for index, text in captions.items():
        score.add(index, text, task.held_out.records[index].captions)
    expected = {name.replace(" ", "_"): value for name, value in score.figures().items()}
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    assert {f"greedy_{name}" for name in expected} <= figures.keys()
    with torch.no_grad(), held_out.runtime.autocast():
        outputs = [task.learner(task, inputs) for inputs in held_out.batches()]
    words = [int(output.counts["captioning"][1]) for output in outputs]
    losses = [float(output.losses["captioning"]) for output in outputs]
    mean = sum(n * loss for n, loss in zip(words, losses, strict=True)) / sum(words)
    assert figures["captioning"] == pytest.approx(mean, rel=1e-6)
    assert figures["caption_all_pairs_right"] <= figures["caption_some_pair_right"]


def test_what_the_scores_are_of_is_said(run: RunConfig) -> None:
    whole = build_experiment(run)
    records = whole.task.held_out.records
    people = sum(len(record.captions) for record in records)
    (said,) = whole.task.remarks({}, whole.held_out())
    assert f"judged by {people} of people about {len(records)} pictures" in said
    part = build_experiment(replace(run, train=replace(run.train, held_out_images=2)))
    held_out = part.held_out()
    people = sum(len(records[index].captions) for index in held_out.indices)
    of, that_it_is_a_part = part.task.remarks({}, held_out)
    assert f"judged by {people} of people about 2 pictures" in of
    assert (
        f"2 of {len(records)} pictures of world val: CIDEr and BLEU of a part" in that_it_is_a_part
    )
    with torch.no_grad():
        assert "cider" in part.task.figures(held_out)


@pytest.mark.parametrize("beams", [1, 3])
def test_the_search_is_the_one_that_is_asked_for(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch, beams: int
) -> None:
    """Once for each way to write: one beam is greedy, and a greedy search beside it is the same."""
    asked: list[dict[str, float]] = []
    for name in ("beam_search", "greedy"):
        search = getattr(captioning, name)

        def noted(writer: object, *, search=search, name=name, **options: float) -> Texts:
            asked.append(options | {"name": name})
            return search(writer, **options)

        monkeypatch.setattr(captioning, name, noted)
    settings = replace(run.task, beams=beams, alpha=0.4)
    experiment = build_experiment(replace(run, task=settings))
    experiment.learner.eval()
    task, held_out = experiment.task, experiment.held_out()
    with torch.no_grad():
        figures = task.figures(held_out)
    options = {"end_id": task.tokenizer.sep_id, "max_length": run.data.max_text_length - 1}
    greedily = options | {"name": "greedy"}
    searched = options | {"name": "beam_search", "num_beams": 3, "alpha": 0.4}
    batches = len(list(held_out.collated()))
    assert asked == ([greedily] if beams == 1 else [searched, greedily]) * batches
    assert ("greedy_cider" in figures) == (beams > 1)


def test_more_beams_than_words_are_refused_at_the_start(run: RunConfig) -> None:
    with pytest.raises(InputError, match=r"--task\.beams 99999: the vocabulary has \d+ words"):
        build_experiment(replace(run, task=replace(run.task, beams=99_999)))


def test_processes_share_the_pictures_and_the_first_one_writes(
    experiment: Experiment, tmp_path: Path
) -> None:
    task = task_of(experiment)
    path = tmp_path / "captions.json"
    alone = replace(experiment.held_out(), batch_size=1)
    with torch.no_grad():
        expected = task.figures(alone)

    def work(member: Member) -> Figures:
        held_out = replace(alone, team=member)
        with torch.no_grad():
            # Nobody could write into a folder that is not there.
            task.submit(held_out, path if member.rank == 0 else tmp_path / "no" / "out.json", print)
            return task.figures(held_out)

    assert run_team(2, work) == [expected] * 2
    ids = [row["image_id"] for row in json.loads(path.read_text())]
    assert ids == [record.image_id for record in task.held_out.records]


def test_captions_are_drawn_by_seed_and_picture(run: RunConfig) -> None:
    """Not the same place in the list of every picture, nor the same in another run."""

    def places(seed: int) -> list[int]:
        task = task_of(build_experiment(replace(run, train=replace(run.train, seed=seed))))
        key = BatchKey(task.train, 0, None)
        examples = [task.examples.load(index, 0) for index in range(12)]
        ids = [task.collate([example], key).caption_ids.tolist() for example in examples]
        encode = lambda text: task.tokenizer.encode(text, run.data.max_text_length)[:-1]
        return [
            [encode(text) for text in example.captions].index(read)
            for example, read in zip(examples, ids, strict=True)
        ]

    drawn = places(0)
    assert len(set(drawn)) > 2
    assert drawn == places(0)
    assert drawn != places(1)


def test_captions_of_people_are_the_best(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(experiment)
    records = task.held_out.records

    def people(memory: object, inputs: CaptionInputs, *, beams: int) -> list[str]:
        return [records[index].captions[0 if beams == 1 else 1] for index in inputs.indices]

    monkeypatch.setattr(task, "written", people)
    with torch.no_grad():
        figures = task.figures(experiment.held_out())
    for name in ("bleu_4", "rouge_l", "greedy_bleu_4", "greedy_rouge_l"):
        assert figures[name] == pytest.approx(100)
    assert figures["caption_all_pairs_right"] == figures["greedy_caption_all_pairs_right"] == 1
    assert figures["cider"] > 50


def test_what_is_written_depends_on_the_picture_alone(experiment: Experiment) -> None:
    """Not on the captions that are taught, nor on the pictures beside it of the same size."""
    task = task_of(experiment)
    example = task.examples.load(0, 0)
    others = replace(example, captions=("a foreign text",))
    key = BatchKey(task.train, 0, None)
    inputs, foreign = (task.collate([x], key) for x in (example, others))
    beside = task.collate([example, example], key)
    with torch.no_grad():
        texts = [task.written(task.memory(x), x, beams=4)[0] for x in (inputs, foreign, beside)]
    assert texts[0] == texts[1] == texts[2]


@pytest.fixture
def broken(run: RunConfig, tmp_path: Path) -> Iterator[Experiment]:
    """The first held-out picture cannot be read."""
    root = shutil.copytree(run.data.root[0], tmp_path / "world")
    whole = build_experiment(replace(run, data=replace(run.data, root=(root,))))
    Path(str(whole.task.held_out.records[0].path)).write_bytes(b"no picture")
    whole.learner.eval()
    yield whole


def test_a_broken_picture_has_an_empty_caption_and_costs_no_other(
    broken: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, told = task_of(broken), []
    silent = len(task.held_out) - 1
    named = lambda memory, inputs, *, beams: [
        "" if i == silent else f"number {i}" for i in inputs.indices
    ]
    monkeypatch.setattr(task, "written", named)
    with torch.no_grad():
        task.submit(broken.held_out(), tmp_path / "captions.json", told.append)
        figures = task.figures(broken.held_out())
    rows = json.loads((tmp_path / "captions.json").read_text())
    records = task.held_out.records
    expected = {r.image_id: f"number {i}" for i, r in enumerate(records)}
    expected |= {records[0].image_id: "", records[silent].image_id: ""}
    assert {row["image_id"]: row["caption"] for row in rows} == expected
    assert told == [
        f"1 pictures that cannot be read (the first: {records[0].image_id}) have an empty caption",
        f"1 pictures of which no word is written (the first: {records[silent].image_id}) have an "
        "empty caption",
    ]
    assert figures["rouge_l"] == 0


def test_a_split_of_which_a_reader_leaves_pictures_out_is_not_handed_in(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose scores are of all pictures: one that nobody captioned needs a caption, too."""
    root = shutil.copytree(run.data.root[0], tmp_path / "world")
    file = root / "dataset_coco.json"
    document = json.loads(file.read_text())
    image = next(entry for entry in document["images"] if entry["split"] == "val")
    image["sentences"] = []
    file.write_text(json.dumps(document))
    experiment = build_experiment(replace(run, data=replace(run.data, root=(root,))))
    monkeypatch.setattr(experiment.task, "written", lambda *_, **__: pytest.fail("in vain"))
    with pytest.raises(
        InputError,
        match=rf"1 of \d+ images .*without a caption.*first is {image['cocoid']}, and all",
    ):
        experiment.task.submit(experiment.held_out(), tmp_path / "captions.json", print)


def test_captions_of_the_servers_split_have_the_name_that_it_takes(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(run.data.root[0], tmp_path / "coco")
    document = json.loads((root / "annotations/captions_world.json").read_text())
    images = document["images"]
    for split, listed in (("train", images[4:]), ("val", images[:4])):
        file = root / f"annotations/captions_{split}2014.json"
        file.write_text(json.dumps(document | {"images": listed}))
    data = replace(run.data, root=(root,), layout="coco")
    experiment = build_experiment(replace(run, data=data))
    task, name = experiment.task, "captions_val2014_ours_results.json"
    with pytest.raises(InputError, match=r"file captions_val2014_NAME_results\.json"):
        task.submit(experiment.held_out(), tmp_path / "captions.json", print)
    monkeypatch.setattr(
        task, "written", lambda memory, inputs, *, beams: ["a"] * len(inputs.indices)
    )
    task.submit(experiment.held_out(), tmp_path / name, lambda line: pytest.fail(line))
    rows = json.loads((tmp_path / name).read_text())
    assert [row["image_id"] for row in rows] == [image["id"] for image in images[:4]]


def test_a_split_that_is_only_listed_is_captioned_and_has_no_figures(
    run: RunConfig, tmp_path: Path
) -> None:
    """COCO's test2014: nobody has its captions but the server."""
    root = shutil.copytree(run.data.root[0], tmp_path / "coco")
    document = json.loads((root / "annotations/captions_world.json").read_text())
    images = document["images"]
    for name, listed in (("captions_train", images[4:]), ("image_info_test", images[:4])):
        kept = document | {"images": listed, "categories": []}
        if name == "image_info_test":
            del kept["annotations"]
        (root / f"annotations/{name}2014.json").write_text(json.dumps(kept))
    data = replace(run.data, root=(root,), layout="coco", held_out_split="test")
    run.task.look_before_submission(data)
    experiment = build_experiment(replace(run, data=data))
    task, held_out = task_of(experiment), experiment.held_out()
    assert (task.held_out.name, task.train.name) == ("COCO test2014", "COCO train2014")
    assert task.figures(held_out) == {}
    assert task.remarks({}, held_out) == []
    assert "no captions of COCO test2014, and there are no figures" in task.notes()["held out"][0]
    name = "captions_test2014_ours_results.json"
    task.submit(held_out, tmp_path / name, lambda line: None)
    rows = {row["image_id"]: row["caption"] for row in json.loads((tmp_path / name).read_text())}
    assert list(rows) == [image["id"] for image in images[:4]]
    alone = task.collate([held_out.examples(1)[0]], BatchKey(task.held_out, 0, None))
    (text,) = task.written(task.memory(alone), alone, beams=task.settings.beams)
    assert text == rows[images[0]["id"]]


def test_what_cannot_be_handed_in_is_refused(run: RunConfig, tmp_path: Path) -> None:
    for split in ("train", "val2014"):
        with pytest.raises(InputError, match=f"split '{split}' of captions .* predict val or test"):
            run.task.look_before_submission(replace(run.data, held_out_split=split))
    several = replace(run.data, root=(*run.data.root, tmp_path))
    with pytest.raises(InputError, match=r"received 2 data sets .* one are handed in at a time"):
        run.task.look_before_submission(several)
    with pytest.raises(InputError, match="layout is visual_genome, whose region descriptions"):
        run.task.look_before_submission(replace(run.data, layout="visual_genome"))
    run.task.look_before_submission(run.data)


def test_soho_writes_nothing(micro: Make, run: RunConfig, tmp_path: Path) -> None:
    soho = replace(micro("soho_tiny", tmp_path / "soho"), task=run.task)
    with pytest.raises(InputError, match="captioning needs a decoder, which E2E-VLP has and SOHO"):
        build_experiment(soho)

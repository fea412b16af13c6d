"""Models on a hub: what is uploaded, and the real client against a hub of this machine."""

import inspect
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import vlp_fast
from tests.inference.local_hub import serving
from vlp_fast.errors import InputError
from vlp_fast.inference import hub
from vlp_fast.inference.predictor import Predictor
from vlp_fast.inference.shipped import shipped_model
from vlp_fast.models.soho import Soho

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
Call = Callable[..., Any]  # the fixture of conftest.py
MAIN, OLDER = "e2e_vlp_small_world", "soho_small_world"


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The client's cache; people/drawings has another model in revision v1 than on main."""
    store, cache = tmp_path / "store/people", tmp_path / "cache"
    for name, revision in ((MAIN, "main"), (OLDER, "v1")):
        shutil.copytree(shipped_model(name), store / "drawings" / revision)
        (store / "drawings" / revision / "program.pt2").write_text("large")
        (store / "drawings" / revision / "evil.py").write_text("code")
    (store / "bert/main").mkdir(parents=True)
    (store / "bert/main/README.md").write_text("of another library")
    with serving(tmp_path / "store") as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        resolved = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolved)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        yield cache


def test_a_model_is_fetched_at_a_revision(fetched: Path) -> None:
    newest = vlp_fast.load("hf://people/drawings", device="cpu")
    assert newest.trained.about.recipe == MAIN
    for model in (
        vlp_fast.load("hf://people/drawings@v1", device="cpu"),
        vlp_fast.load("hf://people/drawings", device="cpu", revision="v1"),
        Predictor.from_pretrained("people/drawings", revision="v1", device="cpu"),
    ):
        assert model.trained.about.recipe == OLDER
    assert {path.name for path in fetched.rglob("snapshots/*/*")} == set(hub.FILES)


def test_bare_models_are_made_from_the_hub(fetched: Path) -> None:
    trained = vlp_fast.create_model("hf://people/drawings", pretrained=True, revision="v1")
    other = vlp_fast.create_model("hf://people/drawings@v1")
    known = vlp_fast.create_model(OLDER, pretrained=True).state_dict()
    assert isinstance(trained, Soho)
    assert all(torch.equal(value, known[name]) for name, value in trained.state_dict().items())
    assert {n: x.shape for n, x in other.state_dict().items()} == {
        n: x.shape for n, x in known.items()
    }
    assert not torch.equal(
        other.word_head.transform.dense.weight, known["word_head.transform.dense.weight"]
    )
    with pytest.raises(ValueError, match="which only hf://organisation/model has"):
        vlp_fast.create_model("soho_r18_3", revision="v1")
    with pytest.raises(ValueError, match="are two repositories"):
        vlp_fast.create_model("hf://people/drawings", pretrained="hf://people/drawings")


def test_what_the_hub_has_not(fetched: Path) -> None:
    for name, said in (
        ("hf://people/drawings@v2", "cannot be fetched.*Revision Not Found"),
        ("hf://people/none", "cannot be fetched.*404"),
        ("hf://people/bert", r"has no config\.json; expected what `vlp-fast export` wrote"),
    ):
        with pytest.raises(InputError, match=said) as told:
            vlp_fast.load(name)
        assert "\n" not in str(told.value)


def test_names_of_repositories() -> None:
    for name, repository in (
        ("hf://a/b", hub.Repository("a/b")),
        ("a/b.c@v1.0", hub.Repository("a/b.c", "v1.0")),
        ("hf://a/b@refs/pr/1", hub.Repository("a/b", "refs/pr/1")),
        ("hf://a/b@refs%2Fpr%2F1", hub.Repository("a/b", "refs/pr/1")),
    ):
        assert hub.check_hub(name) == repository
    assert hub.check_hub("a/b", "v1") == hub.check_hub("a/b@v1", "v1") == hub.check_hub("a/b@v1")
    for name in ("hf://drawings", "hf://a/b/c", "hf://../x y", "hf://a/b@", "hf://a/b@x y"):
        with pytest.raises(InputError, match="expected NAME/REPO"):
            hub.check_hub(name)
    with pytest.raises(InputError, match="is another revision than v2"):
        hub.check_hub("hf://a/b@v1", "v2")
    with pytest.raises(InputError, match="received revision v1, which only hf://"):
        vlp_fast.load("soho_small_world", revision="v1")
    assert Predictor.from_pretrained("soho_small_world", device="cpu").abilities[0] == "match"


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was made and uploaded, by calls that the client's own signatures take."""
    done: dict[str, Any] = {"is private": {}, "files": None}

    def create_repo(repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        done["is private"].setdefault(repo_id, private)

    def upload_folder(*, repo_id: str, folder_path: str, allow_patterns: list[str]) -> None:
        if "refuses" in repo_id:
            raise OSError("403 Forbidden\nmore")
        done["files"] = {p.name for p in Path(folder_path).iterdir()} & {*allow_patterns}

    def repo_info(repo_id: str) -> SimpleNamespace:
        return SimpleNamespace(private=done["is private"][repo_id])

    for fake in (create_repo, upload_folder, repo_info):
        taken = inspect.signature(getattr(huggingface_hub, fake.__name__)).parameters
        assert inspect.signature(fake).parameters.keys() <= taken.keys()
        monkeypatch.setattr(huggingface_hub, fake.__name__, fake)
    return done


def test_a_program_is_uploaded_with_the_rest(
    call: Call, uploads: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vlp_fast.cli.export._write_program",
        lambda asked: (asked.folder / "program.pt2").write_text("made"),
    )
    words = "export", MAIN, tmp_path / "model", "--push", "me/drawings", "--private"
    answer = call(*words, "--program", 64, 64, "--tokens", 5)
    assert answer.code == 0, answer.err
    assert "uploaded: https://huggingface.co/me/drawings" in answer.out
    assert uploads["is private"] == {"me/drawings": True}
    assert uploads["files"] == {*hub.FILES, "program.pt2"}


def test_nothing_private_goes_where_everybody_sees_it(
    call: Call, uploads: dict[str, Any], tmp_path: Path
) -> None:
    uploads["is private"]["me/public"] = False
    private = call("export", OLDER, tmp_path / "a", "--push", "me/public", "--private")
    assert (private.code, private.err.count("\n")) == (2, 1)
    assert "is there already and public, and --private was asked" in private.err
    assert uploads["files"] is None
    assert call("export", OLDER, tmp_path / "b", "--push", "me/public").code == 0
    assert uploads["files"] == {*hub.FILES}


def test_uploads_that_fail(call: Call, uploads: dict[str, Any], tmp_path: Path) -> None:
    answer = call("export", OLDER, tmp_path / "model", "--push", "me/refuses")
    again = f"`hf upload me/refuses {tmp_path / 'model'}` tries again"
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "cannot be uploaded (403 Forbidden more); the folder is whole" in answer.err
    assert again in answer.err
    assert (tmp_path / "model/config.json").is_file()
    refused = call("export", OLDER, tmp_path / "c", "--push", "me/drawings@v1")
    refused.assert_refused("uploads go to the main branch")
    call("export", OLDER, tmp_path / "c", "--private").assert_refused("give --push NAME/REPO, too")
    assert not (tmp_path / "c").exists()

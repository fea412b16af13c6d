"""Data sets from a server on this machine: brought once, checked, unpacked."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from local_server import CONTENT, SHA, Server, catalogue_of, killed, left, zip_of

from vlp_fast.cli import main
from vlp_fast.data.fetch.catalogue import SOURCES, SourceFile, read_catalogue
from vlp_fast.data.fetch.fetched import fetch
from vlp_fast.data.fetch.part_file import DownloadFailed
from vlp_fast.errors import InputError


@pytest.mark.parametrize(
    "address",
    [
        "http://visualgenome.org/x",
        "https://API.VisualGenome.org./x",
        "https://storage.example/sfr-vision-language-research/x",
        "https://sohose.s3.example/x",
        "file:///etc/passwd",
        "http:///x",
        "http://[x",
        "http://visualgenome%2Eorg/x",
        "https://s3.example/sfr%2Dvision-language-research/x",
        "http://host/a b",
        "http://host/é",
        "http://host:port/x",
    ],
)
def test_dead_hosts_are_never_asked(address: str) -> None:
    with pytest.raises(InputError):
        read_catalogue().refuse_dead(address)
    read_catalogue().refuse_dead("https://notvisualgenome.org/x")


def test_the_packages_catalogue_invents_nothing() -> None:
    catalogue = read_catalogue()
    assert set(catalogue.sources) == {"coco", "karpathy", "visual_genome", "vqa"}
    for source in catalogue.sources.values():
        assert source.licence and source.files
        for file in source.files:
            assert re.fullmatch(r"[0-9a-f]{64}|", file.sha256)
            for address in file.addresses:
                catalogue.refuse_dead(address)


def test_a_data_set_is_fetched_once(server: Server, tmp_path: Path) -> None:
    server.contents["/p.zip"] = zip_of(train__1=b"a", train__2=b"b")
    files = (
        SourceFile(
            name="p.zip", addresses=(f"{server.url}/none", f"{server.url}/p.zip"), unpack=True
        ),
        SourceFile(name="a.zip", addresses=(f"{server.url}/a.zip",), sha256=SHA),
    )
    said: list[str] = []
    bring_all = lambda: fetch(catalogue_of(*files), "small", tmp_path / "out", say=said.append)
    assert bring_all() == 2
    assert (tmp_path / "out/train/2").read_bytes() == b"b"
    assert left(tmp_path / "out") == ["a.zip", "fetched.json", "train"]
    assert "licence: CC0" in said[0]
    assert any("the next address is tried" in line for line in said)
    assert any("p.zip" in line and "told, not checked" in line for line in said)
    asked = len(server.asked)
    assert bring_all() == 0 and len(server.asked) == asked
    (tmp_path / "out/a.zip").unlink()
    assert bring_all() == 1


def test_an_interrupted_unpacking_does_not_download_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.contents["/p.zip"] = zip_of(train__1=b"a")
    file = SourceFile(name="p.zip", addresses=(f"{server.url}/p.zip",), unpack=True)

    with monkeypatch.context() as patch:
        patch.setattr("vlp_fast.data.fetch.fetched.unpack", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(catalogue_of(file), "small", tmp_path / "out")
    fetch(catalogue_of(file), "small", tmp_path / "out")
    assert len(server.asked) == 1 and (tmp_path / "out/train/1").exists()


def test_a_damaged_archive_is_brought_again(server: Server, tmp_path: Path) -> None:
    file = SourceFile(name="p.zip", addresses=(f"{server.url}/a.zip",), unpack=True)
    whole = zip_of(train__1=b"a" * 1000)
    server.contents["/a.zip"] = whole.replace(b"aaa", b"aba")
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch(catalogue_of(file), "small", tmp_path / "out")
    assert left(tmp_path / "out") == ["fetched.json"]
    server.contents["/a.zip"], server.tag = zip_of(train__1=b"a"), '"2"'
    assert fetch(catalogue_of(file), "small", tmp_path / "out") == 1


def test_the_command_line(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("Questions_Train", "Questions_Val", "Questions_Test", "Annotations_Train"):
        server.contents[f"/vqa/v2_{name}_mscoco.zip"] = zip_of(**{"x.json": name.encode()})
    words = ["data", "fetch", "vqa", str(tmp_path / "out"), "--place", f"{server.url}/vqa/"]
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    server.contents["/vqa/v2_Annotations_Val_mscoco.zip"] = zip_of(**{"y.json": b"y"})
    assert main(words) == 0
    assert "1 files of vqa brought" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out/fetched.json").read_text())["brought"]) == 5


def addressless(out: Path) -> list[str]:
    """The catalogue as it would be if no address were known."""
    lines = SOURCES.read_text().splitlines(keepends=True)
    path = out.with_name("sources.toml")
    path.write_text("".join(line for line in lines if not line.startswith("addresses")))
    return ["--sources", str(path)]


REFUSED: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "no such": (lambda out: ["nothing", str(out)], "no data set named 'nothing'"),
    "no address": (lambda out: ["coco", str(out), *addressless(out)], "no address of annotations"),
    "its page": (lambda out: ["visual_genome", str(out), *addressless(out)], "~ranjay"),
    "dead": (lambda out: ["vqa", str(out), "--place", "http://visualgenome.org"], "taken over"),
    "no url": (lambda out: ["vqa", str(out), "--place", "/etc"], "is no address of http"),
    "no toml": (lambda out: ["vqa", str(out), "--sources", __file__], "is not understood"),
    "absent": (lambda out: ["vqa", str(out), "--sources", "absent"], "No such file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_are_one_line(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, why = REFUSED[what]
    assert main(["data", "fetch", *words(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and why in said
    assert not (tmp_path / "out").exists()


def test_the_catalogue_is_installed() -> None:
    assert SOURCES.is_file()


def test_a_file_that_is_there_is_taken_if_it_is_the_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(CONTENT)
    wanted = SourceFile(name="a.zip", addresses=(f"{server.url}/a.zip",), sha256=SHA.upper())
    said: list[str] = []
    fetch(catalogue_of(wanted), "small", tmp_path, say=said.append)
    assert not server.asked and "as it should be; it was there already" in said[-1]
    other = SourceFile(name="a.zip", addresses=wanted.addresses, sha256="0" * 64)
    for _ in range(2):
        with pytest.raises(InputError, match=r"is there already, and has SHA-256 .* delete or"):
            fetch(catalogue_of(other), "small", tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT and not server.asked


def test_a_disk_too_small_for_the_pictures_costs_no_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.contents["/p.zip"] = zip_of(train__1=bytes(3000))
    file = SourceFile(name="p.zip", addresses=(f"{server.url}/p.zip",), unpack=True)
    with monkeypatch.context() as patch:
        usage = type("Usage", (), {"free": 2999})
        patch.setattr("vlp_fast.data.fetch.unpack.shutil.disk_usage", lambda path: usage)
        with pytest.raises(InputError, match=r"No space left .* for 3,000 bytes .* free some") as e:
            fetch(catalogue_of(file), "small", tmp_path)
    assert "trust" not in str(e.value)
    assert left(tmp_path) == ["fetched.json", "p.zip"]
    (tmp_path / "train").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="have one name"):
        fetch(catalogue_of(file), "small", tmp_path)
    (tmp_path / "train").unlink()
    fetch(catalogue_of(file), "small", tmp_path)
    assert len(server.asked) == 1 and left(tmp_path) == ["fetched.json", "train"]


# Named: what is zipped has the time in it, and processes that share the tests must know one name.
@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 and no end", zip_of(a=b"a")[:-30]],
    ids=["empty", "no end", "cut off"],
)
def test_what_is_no_zip_file_is_not_kept(server: Server, tmp_path: Path, content: bytes) -> None:
    server.contents["/a.zip"] = content
    file = SourceFile(name="a.zip", addresses=(f"{server.url}/a.zip",))
    with pytest.raises(DownloadFailed, match=r"is empty|serves no zip file, or not all"):
        fetch(catalogue_of(file), "small", tmp_path)
    assert left(tmp_path) == []
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"is there already, and is (empty|no zip file, or not)"):
        fetch(catalogue_of(file), "small", tmp_path)

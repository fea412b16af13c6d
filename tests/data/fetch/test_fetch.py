"""Downloads from a server on this machine: broken, resumed, redirected, replaced."""

import hashlib
import io
import json
import re
import ssl
import threading
import zipfile
from collections.abc import Callable, Iterator
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.cli import main
from vlp_fast.data.fetch.catalogue import SOURCES, Catalogue, Source, SourceFile, read_catalogue
from vlp_fast.data.fetch.download import download
from vlp_fast.data.fetch.fetched import fetch
from vlp_fast.data.fetch.part_file import DownloadFailed, Expected
from vlp_fast.errors import InputError

CONTENT = bytes(range(256)) * 5000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves contents by path; what it does otherwise is set by the tests.

    Attributes:
        breaks: bytes after which each of the next connections breaks.
    """

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self.breaks: list[int] = []
        self.has_ranges = True
        self.tag: str | None = '"1"'
        self.asked: list[tuple[str, str | None]] = []
        handler = partial(Handler, self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    def __init__(self, server: Server, *arguments: Any) -> None:
        self._served = server
        super().__init__(*arguments)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        served, wanted = self._served, self.headers.get("Range")
        served.asked.append((self.path, wanted))
        if self.path in served.redirects:
            self.send_response(302)
            self.send_header("Location", served.redirects[self.path])
            self.end_headers()
            return
        if self.path not in served.contents:
            self.send_error(404)
            return
        content, start = served.contents[self.path], 0
        is_same = self.headers.get("If-Range") == served.tag
        if wanted and served.has_ranges and is_same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        kind = served.kinds.get(self.path, "application/octet-stream")
        self.send_header("Content-Type", kind)
        if served.tag:
            self.send_header("ETag", served.tag)
        self.end_headers()
        end = start + served.breaks.pop(0) if served.breaks else len(content)
        self.wfile.write(content[start:end])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.contents["/a.zip"] = CONTENT
    yield server
    server.close()


def bring(server: Server, path: Path, expected: Expected | None = None, **more: Any) -> str:
    check = read_catalogue().refuse_dead
    said: list[str] = more.pop("said", [])
    address = more.pop("address", f"{server.url}/a.zip")
    wait = more.pop("wait", lambda seconds: None)
    expected = expected or Expected()
    return download(address, path, expected, check=check, say=said.append, wait=wait)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole(server: Server, tmp_path: Path) -> None:
    assert bring(server, tmp_path / "a.zip", Expected(size=len(CONTENT), sha256=SHA)) == SHA
    assert (tmp_path / "a.zip").read_bytes() == CONTENT and left(tmp_path) == ["a.zip"]


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_broken_connections_are_resumed(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, 0, 0, 300_000, 7]
    waits: list[float] = []
    bring(server, tmp_path / "a.zip", wait=waits.append)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    ranges = [wanted for _, wanted in server.asked]
    assert ranges == [None, *[f"bytes={n}-" for n in (1000, 1000, 1000, 301_000, 301_007)]]
    assert waits == [2, 4, 8, 2, 2]


@pytest.mark.parametrize("what", ["no ranges", "no version"])
def test_what_cannot_be_resumed_begins_anew(server: Server, tmp_path: Path, what: str) -> None:
    server.breaks = [1000, 200_000]
    server.has_ranges = what != "no ranges"
    server.tag = None if what == "no version" else server.tag
    bring(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_killed_download_goes_on_but_never_with_another_version(
    server: Server, tmp_path: Path
) -> None:
    def killed(_: float) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        server.breaks = [50_000]
        with pytest.raises(KeyboardInterrupt):
            bring(server, tmp_path / "a.zip", wait=killed)
    assert not (tmp_path / "a.zip").exists()
    assert server.asked[-1][1] == "bytes=50000-"
    server.contents["/a.zip"], server.tag = CONTENT[::-1], '"2"'
    bring(server, tmp_path / "a.zip")
    assert server.asked[-1][1] == "bytes=100000-"
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[::-1]
    assert left(tmp_path) == ["a.zip"]


def test_a_dead_connection_is_given_up_and_kept(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, *[0] * 20]
    with pytest.raises(DownloadFailed, match=r"connection breaks .* 1,000 bytes are kept"):
        bring(server, tmp_path / "a.zip")
    server.breaks = []
    bring(server, tmp_path / "a.zip")
    assert server.asked[-1][1] == "bytes=1000-"


WRONG = {
    "hash": (Expected(sha256="0" * 64), "taken over"),
    "size": (Expected(size=77), "serves 1,280,000 bytes, expected 77; the host may have been"),
}


@pytest.mark.parametrize("what", WRONG)
def test_another_content_is_refused_and_not_kept(server: Server, tmp_path: Path, what: str) -> None:
    expected, why = WRONG[what]
    with pytest.raises(DownloadFailed, match=why) as caught:
        bring(server, tmp_path / "a.zip", expected)
    assert "\n" not in str(caught.value) and left(tmp_path) == []


def test_pages_and_absences_are_told(server: Server, tmp_path: Path) -> None:
    server.kinds["/a.zip"] = "text/html; charset=utf-8"
    with pytest.raises(DownloadFailed, match="serves a web page, not"):
        bring(server, tmp_path / "a.zip")
    with pytest.raises(DownloadFailed, match="answers 404"):
        bring(server, tmp_path / "a.zip", address=f"{server.url}/b")
    with pytest.raises(DownloadFailed, match="connection breaks"):
        bring(server, tmp_path / "a.zip", address="http://127.0.0.1:9/a.zip")


def test_redirections_are_followed_but_not_anywhere(server: Server, tmp_path: Path) -> None:
    server.redirects["/old"] = "/a.zip"
    bring(server, tmp_path / "a.zip", address=f"{server.url}/old")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    for place in ("http://www.visualgenome.org/a.zip", "file:///etc/passwd", "ftp://h/a"):
        server.redirects["/old"] = place
        with pytest.raises(InputError, match=r"is not asked|is no address|answers 302"):
            bring(server, tmp_path / "b.zip", address=f"{server.url}/old")
    server.redirects["/old"] = "/old"
    with pytest.raises(DownloadFailed):
        bring(server, tmp_path / "b.zip", address=f"{server.url}/old")
    assert left(tmp_path) == ["a.zip"]


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


def zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def catalogue_of(*files: SourceFile) -> Catalogue:
    source = Source(name="small", title="Small", licence="CC0", files=files)
    return Catalogue({"small": source}, {"dead.example": "is dead"})


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


def test_what_has_come_whole_is_not_asked_for_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of 19 GB is hashed for a minute; who stops then has it all the same."""
    with monkeypatch.context() as patch:
        patch.setattr("vlp_fast.data.fetch.part_file.sha256_of", killed)
        with pytest.raises(KeyboardInterrupt):
            bring(server, tmp_path / "a.zip")
    assert bring(server, tmp_path / "a.zip", Expected(sha256=SHA)) == SHA
    assert len(server.asked) == 1 and left(tmp_path) == ["a.zip"]


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


def test_waiting_is_told(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000]
    said: list[str] = []
    bring(server, tmp_path / "a.zip", said=said)
    assert any("connection breaks" in line and "again in 2 s" in line for line in said)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no end", zip_of(a=b"a")[:-30]])
def test_what_is_no_zip_file_is_not_kept(server: Server, tmp_path: Path, content: bytes) -> None:
    server.contents["/a.zip"] = content
    file = SourceFile(name="a.zip", addresses=(f"{server.url}/a.zip",))
    with pytest.raises(DownloadFailed, match=r"is empty|serves no zip file, or not all"):
        fetch(catalogue_of(file), "small", tmp_path)
    assert left(tmp_path) == []


class Broken:
    """An answer whose connection fails as TLS fails: by an error that is none of a connection."""

    status = 200

    def __init__(self) -> None:
        self.headers = Message()
        self.headers["Content-Length"] = "100"

    def __enter__(self) -> "Broken":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        raise ssl.SSLEOFError(8, "UNEXPECTED_EOF_WHILE_READING")


@pytest.mark.parametrize("when", ["while it opens", "while it is read"])
def test_the_networks_refusals_are_not_the_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    class Opener:
        def open(self, request: object, timeout: float) -> Broken:
            if when == "while it opens":
                raise ssl.SSLEOFError(8, "UNEXPECTED_EOF_WHILE_READING")
            return Broken()

    monkeypatch.setattr("vlp_fast.data.fetch.download._opener", lambda check: Opener())
    file = SourceFile(name="a.zip", addresses=("https://host.example/a.zip",))
    with pytest.raises(DownloadFailed, match=r"connection breaks .*UNEXPECTED_EOF"):
        fetch(catalogue_of(file), "small", tmp_path, wait=lambda seconds: None)


def test_a_part_of_unknown_length_that_breaks_is_not_the_whole(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Handler.send_header

    def unsaid(self: Handler, name: str, value: str) -> None:
        hides = name == "Content-Range"
        send(self, name, value.partition("/")[0] + "/*" if hides else value)

    monkeypatch.setattr(Handler, "send_header", unsaid)
    server.breaks = [1000, 500]
    bring(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT

"""One file from a server on this machine: broken, resumed, redirected, replaced."""

import ssl
from email.message import Message
from pathlib import Path

import pytest
from local_server import CONTENT, SHA, Handler, Server, bring, catalogue_of, killed, left

from vlp_fast.data.fetch.catalogue import SourceFile
from vlp_fast.data.fetch.fetched import fetch
from vlp_fast.data.fetch.part_file import DownloadFailed, Expected
from vlp_fast.errors import InputError


def test_a_file_comes_whole(server: Server, tmp_path: Path) -> None:
    assert bring(server, tmp_path / "a.zip", Expected(size=len(CONTENT), sha256=SHA)) == SHA
    assert (tmp_path / "a.zip").read_bytes() == CONTENT and left(tmp_path) == ["a.zip"]


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


def test_waiting_is_told(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000]
    said: list[str] = []
    bring(server, tmp_path / "a.zip", said=said)
    assert any("connection breaks" in line and "again in 2 s" in line for line in said)


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

"""A server on this machine that breaks, redirects and lies as tests want it to."""

import hashlib
import io
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vlp_fast.data.fetch.catalogue import Catalogue, Source, SourceFile, read_catalogue
from vlp_fast.data.fetch.download import download
from vlp_fast.data.fetch.part_file import Expected

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


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def catalogue_of(*files: SourceFile) -> Catalogue:
    source = Source(name="small", title="Small", licence="CC0", files=files)
    return Catalogue({"small": source}, {"dead.example": "is dead"})


def bring(server: Server, path: Path, expected: Expected | None = None, **more: Any) -> str:
    check = read_catalogue().refuse_dead
    said: list[str] = more.pop("said", [])
    address = more.pop("address", f"{server.url}/a.zip")
    wait = more.pop("wait", lambda seconds: None)
    expected = expected or Expected()
    return download(address, path, expected, check=check, say=said.append, wait=wait)

"""A hub on this machine, as far as huggingface-hub's client asks one for the files of a model."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve folder/ORGANISATION/MODEL/REVISION/FILE; gives the address of the hub."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Hub, folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Hub(BaseHTTPRequestHandler):
    def __init__(self, folder: Path, *given: object) -> None:
        self.folder = folder
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        parts = unquote(self.path).partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"] and parts[4:5] == ["revision"]:
            return self._model(parts[2:4], "/".join(parts[5:]))
        if parts[:2] == ["api", "models"] and parts[4:5] == ["tree"]:
            return self._tree(parts[2:4], parts[5])
        if parts[2:3] == ["resolve"]:
            return self._file(parts[:2], parts[3], parts[4])
        return self._answer(404, b"{}")

    do_HEAD = do_GET

    def log_message(self, format: str, *given: object) -> None:
        pass

    def _model(self, name: list[str], revision: str) -> None:
        folder = self.folder.joinpath(*name, revision)
        if not folder.is_dir():
            return self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        names = [{"rfilename": path.name} for path in folder.iterdir()]
        about = {"id": "/".join(name), "sha": _commit(revision), "siblings": names}
        return self._answer(200, json.dumps(about).encode())

    def _tree(self, name: list[str], commit: str) -> None:
        files = [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
            for path in self._revision(name, commit).iterdir()
        ]
        self._answer(200, json.dumps(files).encode())

    def _file(self, name: list[str], commit: str, file: str) -> None:
        content = (self._revision(name, commit) / file).read_bytes()
        tag = {"ETag": f'"{sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
        self._answer(200, content, tag)

    def _revision(self, name: list[str], commit: str) -> Path:
        paths = self.folder.joinpath(*name).iterdir()
        return next(path for path in paths if _commit(path.name) == commit)

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _commit(revision: str) -> str:
    return sha1(revision.encode()).hexdigest()

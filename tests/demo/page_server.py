"""A demo page in a process of its own, which tells of every connection that it opens."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

WATCHED = """
import sys

def tell(event, given):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        where = given[0]
    elif event in ("socket.connect", "socket.sendto"):
        where = given[1]
    else:
        return
    with open({log!r}, "a") as file:
        file.write(f"{{event}} {{where}}\\n")

sys.addaudithook(tell)
from vlp_fast.cli import main
sys.exit(main({words!r}))
"""


@dataclass
class PageServer:
    """`vlp-fast demo` with some words; files of its own lie in `folder`."""

    folder: Path
    words: tuple[str, ...]
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "connections.txt"
        words = ["demo", *self.words, "--port", "0", "--device", "cpu"]
        with (self.folder / "stderr.txt").open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WATCHED.format(log=str(self.log), words=words)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "TMPDIR": str(self.folder)},
                # A shell in the background has its children ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        assert self.process.stdout
        self.told = self.process.stdout.readline()
        assert self.told.startswith("page: http://127.0.0.1:"), self.errors
        self.url = self.told.split()[1]

    @property
    def errors(self) -> str:
        return (self.folder / "stderr.txt").read_text()

    @property
    def connections(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()

"""Standard output that is closed, full, left or of few characters: one line at most."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


def program(command: str, *body: str) -> list[str]:
    """A Python that runs a command with this body instead of its own."""
    lines = [
        "import sys",
        "from vlp_fast import cli",
        f"import vlp_fast.cli.{command} as module",
        "def talk(words):",
        *(f"    {line}" for line in body),
        "    return 0",
        "module.run = talk",
        f"sys.exit(cli.main([{command!r}]))",
    ]
    return [sys.executable, "-c", "\n".join(lines)]


def environment(**changes: str) -> dict[str, str]:
    kept = {n: x for n, x in os.environ.items() if n not in ("PYTHONUNBUFFERED", "PYTHONUTF8")}
    return kept | changes


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [("train", 141, "vlp-fast: stopped: nobody reads the output any more\n"), ("recipes", 0, "")],
)
@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_leaves(
    command: str, code: int, said: str, lines: int, buffered: bool
) -> None:
    talk = ("print('begun', flush=True)", "sys.stdin.read()", f"print('a step\\n' * {lines})")
    with subprocess.Popen(
        program(command, *talk),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() if buffered else environment(PYTHONUNBUFFERED="1"),
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == said
        assert process.wait() == code


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["recipes"], ["evaluate", "--help"]])
def test_output_that_is_full(words: list[str]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vlp_fast", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    assert done.returncode == 2
    reason = os.strerror(28)
    assert done.stderr == f"vlp-fast: stopped: the output cannot be written ({reason})\n"


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), (">&- 2>&-", 0), ("2>&-", 0)])
def test_output_that_was_closed_before(closed: str, code: int) -> None:
    line = f'exec "$@" {closed}'
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "vlp_fast", "recipes"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == code
    assert done.stderr == ""


def test_an_error_with_both_streams_closed_has_its_exit_code() -> None:
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-m", "vlp_fast", "trian"]
    assert subprocess.run(command, env=environment()).returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_an_encoding_cannot_write_is_escaped(encoding: str) -> None:
    done = subprocess.run(
        program("recipes", "print('note: caf\\u00e9 \\u732b \\U0001f600 \\udc80')"),
        capture_output=True,
        env=environment(PYTHONIOENCODING=encoding),
    )
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode(encoding)
    assert said.startswith("note: caf")
    assert ("\u732b" if encoding == "utf-8" else "\\u732b") in said
    assert "\\udc80" in said


@pytest.mark.parametrize("words", [["train", "soho_tiny", "--help"], ["evaluate", "--help"]])
def test_help_in_ascii(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vlp_fast", *words],
        capture_output=True,
        env=environment(PYTHONIOENCODING="ascii"),
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"--data.root" in done.stdout


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("PermissionError(13, 'Permission denied', '/a/b')", "/a/b: Permission denied"),
        ("OSError(18, 'Invalid cross-device link', 'a', None, 'b')", "a and b: Invalid cross"),
        ("OSError('image file is truncated')", "image file is truncated"),
        ("OSError()", "OSError"),
        ("OSError('Caught in a worker\\nTraceback\\n  x\\nOSError: gone')", "OSError: gone"),
        ("OSError('odd\\n')", "odd"),
        ("FileNotFoundError(2, 'No such file', 'a\\nb')", "a\\nb: No such file"),
    ],
)
def test_whatever_the_system_refuses_is_one_line(raised: str, said: str) -> None:
    done = subprocess.run(
        program("recipes", f"raise {raised}"), capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"vlp-fast: {said}")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="a folder in use cannot be deleted")
@pytest.mark.parametrize(
    "words",
    [["train", "soho_tiny", "--data.root", "/"], ["evaluate", "run"], ["recipes"], ["doctor"]],
)
def test_in_a_folder_that_is_gone(tmp_path: Path, words: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f'cd {gone} && rmdir {gone} && exec "$@"'
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "vlp_fast", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "vlp-fast: the current folder is gone (deleted or unmounted); change to another one\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
@pytest.mark.parametrize("value", ["", "1"])
def test_help_has_no_colours_where_none_are_wanted(value: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "vlp_fast", "evaluate", "--help"],
        stdout=theirs,
        env=environment(NO_COLOR=value, TERM="xterm"),
    ) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # Linux tells the end so
            while part := os.read(ours, 1 << 16):
                said += part
    os.close(ours)
    assert process.returncode == 0
    assert b"--data.root" in said
    assert (b"\x1b" in said) == (not value)

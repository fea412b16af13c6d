"""What the command line says is one line that no terminal obeys, whatever the data are called."""

import pytest

from vlp_fast import cli
from vlp_fast.cli import train
from vlp_fast.errors import InputError


def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(words: list[str]) -> int:
        raise InputError("a\nb\x1b[2J\u2028\udcff.jpg: is not an image")

    monkeypatch.setattr(train, "run", refuse)
    assert cli.main(["train"]) == 2
    error = capsys.readouterr().err
    assert error[:-1].isprintable()
    assert error.startswith("vlp-fast: a")
    assert error.endswith(".jpg: is not an image\n")

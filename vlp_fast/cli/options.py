"""From words to a configuration: tyro parses, and what it draws a box around becomes one line."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from itertools import chain, groupby
from typing import Any

from vlp_fast.cli.output import OutputFailure, flush_output
from vlp_fast.errors import InputError

MESSAGE = re.compile(r"Error parsing ([\w.-]+): (\w+): received (\w+) = ")
"""What tyro makes of a ValueError of a configuration: its place, its class, its field."""

NAME = re.compile(r"[A-Z_]{2,}|--[\w.-]+( [A-Z{}|]+)?")
"""A line of what is missing that names it; those below say what it is."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def parse(kind: type[Any], words: list[str], prog: str, **options: Any) -> Any:
    """Make a configuration of the words behind a command.

    Args:
        kind: a dataclass; its fields are the options.
        words: the options and their values.
        prog: the command, for the help.
        options: further ones of `tyro.cli`.

    Raises:
        InputError: for an option that is unknown, has no such value or makes no configuration.
    """
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), _plain_where_asked():
            parsed = tyro.cli(kind, args=words, prog=prog, **options)
    except SystemExit as exit_:
        if not exit_.code:
            flush_output()  # help that cannot be written is noticed here
            raise
        line = _one_line(complaint.getvalue())
        raise InputError(f"{line}; `{prog} --help` lists every setting") from None
    except BrokenPipeError:
        raise
    except OSError as error:  # a help that is longer than what is buffered
        raise OutputFailure(*error.args) from None
    sys.stderr.write(complaint.getvalue())  # warnings
    return parsed


@contextlib.contextmanager
def _plain_where_asked() -> Iterator[None]:
    """Where NO_COLOR is set, the help is printed to no terminal first: tyro colours it on any."""
    if not os.environ.get("NO_COLOR"):
        yield
        return
    encoding = sys.stdout.encoding
    plain = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    try:
        with contextlib.redirect_stdout(plain):
            yield
    finally:
        plain.seek(0)
        sys.stdout.write(plain.read())


def _one_line(box: str) -> str:
    """The message in a box, with the options that the part below it suggests."""
    rows = [row.strip("│╰╯ ") for row in COLOUR.sub("", box).splitlines()[1:]]  # without its title
    is_rule = lambda row: not row.strip("─-")
    parts = [list(part) for ruled, part in groupby(rows, is_rule) if not ruled]
    if parts and parts[0][0].startswith("Missing from"):
        names = [row.split()[0] for row in parts[0][1:] if NAME.fullmatch(row)]
        return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing"
    message = " ".join(parts[0] if parts else box.split()).removesuffix(".")
    message = message.replace(". Expected 1 values", ", expected one")
    if message.startswith("Unrecognized"):
        near = [row.split()[0].strip(",") for row in chain(*parts[1:]) if row.startswith("--")]
        return f"{message}; perhaps you meant {' or '.join(near[:3])}" if near else message
    return MESSAGE.sub(_option, message).removeprefix("Error parsing ")


def _option(found: re.Match[str]) -> str:
    """A configuration's field as the option that sets it."""
    place, kind, field = found.groups()
    path = field if place == kind else f"{place}.{field}"
    return f"received --{path.replace('_', '-')} = "

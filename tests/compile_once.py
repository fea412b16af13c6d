"""A launcher for C++ compilers, `CMAKE_CXX_COMPILER_LAUNCHER`: compiles the same text once.

`compile_once.py FOLDER COMPILER ...` copies from FOLDER what was compiled with the same options
from the same source and the same headers of its own, whatever their paths. Those of the system do
not change meanwhile. It compiles without optimisation: here a build is tested, not its speed; the
one that tests run on is optimised.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def main(folder: Path, command: list[str]) -> int:
    """Run the compiler, or do without; its exit code."""
    command = [word for word in command if word not in ("-O2", "-O3") and "lto" not in word]
    if "-c" not in command or "-o" not in command:
        return subprocess.run(command).returncode
    out = Path(command[command.index("-o") + 1])
    kept = folder / digest_of(command)
    if kept.exists():
        shutil.copy(kept, out)
        return 0
    code = subprocess.run(command).returncode
    if code == 0:
        shutil.copy(out, kept)
    return code


def digest_of(command: Sequence[str]) -> str:
    """Hash of the compiler, its options but for places, and of all texts."""
    options = [word for word in command if word.startswith("-") and not word.startswith("-I")]
    places = [Path(word[2:]) for word in command if word.startswith("-I")]
    source = command[command.index("-c") + 1]
    found: dict[str, str] = {}
    read(Path(source).name, Path(source), places, found)
    return hashlib.sha256(repr((command[0], options, sorted(found.items()))).encode()).hexdigest()


def read(name: str, path: Path, places: Sequence[Path], found: dict[str, str]) -> None:
    """Add the text of a file, and of those that it includes by a name in quotes."""
    found[name] = path.read_text()
    for inner in INCLUDE.findall(found[name]):
        there = next((place / inner for place in places if (place / inner).is_file()), None)
        if there is not None and inner not in found:
            read(inner, there, places, found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))

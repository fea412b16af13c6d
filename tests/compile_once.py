"""A launcher for C++ compilers, `CMAKE_CXX_COMPILER_LAUNCHER`: compiles the same text once.

`compile_once.py FOLDER COMPILER ...` copies from FOLDER what was compiled with the same options
from the same preprocessed source, whatever their paths.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path


def main(folder: Path, command: list[str]) -> int:
    """Run the compiler, or do without; its exit code."""
    if "-c" not in command or "-o" not in command:
        return subprocess.run(command).returncode
    place = command.index("-o")
    out, rest = Path(command[place + 1]), command[:place] + command[place + 2 :]
    preprocess = ["-E" if word == "-c" else word for word in rest]
    text = subprocess.run([*preprocess, "-P"], stdout=subprocess.PIPE)
    if text.returncode:
        return text.returncode
    options = [word for word in rest if word.startswith("-") and not word.startswith("-I")]
    kept = folder / hashlib.sha256(repr(options).encode() + text.stdout).hexdigest()
    if kept.exists():
        shutil.copy(kept, out)
        return 0
    code = subprocess.run(command).returncode
    if code == 0:
        shutil.copy(out, kept)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))

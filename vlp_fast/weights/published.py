"""Where people get weights to start from, and what their files are called (torch-free).

Nothing here is downloaded. Files of torchvision and DETR carry the first eight digits of their
SHA-256 in their name.
"""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass
from pathlib import Path

from vlp_fast.data.given_paths import check_file
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

EXPECTED = "a run folder or a state dict (.pth, .safetensors)"


@dataclass(frozen=True)
class Published:
    """A file of weights that others give away.

    Attributes:
        file: its name.
        source: where it is from; of torchvision the name of the object whose `url` it is.
    """

    file: str
    source: str

    @property
    def checksum(self) -> str:
        """The first digits of its SHA-256, as its name has them; empty where it has none."""
        digits = Path(self.file).stem.rpartition("-")[2]
        return digits if len(digits) == 8 and set(digits) <= set("0123456789abcdef") else ""


_TORCHVISION = "torchvision.models."
PUBLISHED = (
    Published("resnet18-f37072fd.pth", f"{_TORCHVISION}ResNet18_Weights.IMAGENET1K_V1"),
    Published("resnet34-b627a593.pth", f"{_TORCHVISION}ResNet34_Weights.IMAGENET1K_V1"),
    Published("resnet50-0676ba61.pth", f"{_TORCHVISION}ResNet50_Weights.IMAGENET1K_V1"),
    Published("resnet50-11ad3fa6.pth", f"{_TORCHVISION}ResNet50_Weights.IMAGENET1K_V2"),
    Published("resnet101-63fe2227.pth", f"{_TORCHVISION}ResNet101_Weights.IMAGENET1K_V1"),
    Published("resnet101-cd907fc2.pth", f"{_TORCHVISION}ResNet101_Weights.IMAGENET1K_V2"),
    Published("resnet152-394f9c45.pth", f"{_TORCHVISION}ResNet152_Weights.IMAGENET1K_V1"),
    Published("resnet152-f82ba261.pth", f"{_TORCHVISION}ResNet152_Weights.IMAGENET1K_V2"),
    Published("detr-r50-e632da11.pth", "github.com/facebookresearch/detr, model zoo"),
    Published("detr-r101-2c7b67e5.pth", "github.com/facebookresearch/detr, model zoo"),
    Published("soho_res18_fp16_40-9441cdd3.pth", "github.com/researchmm/soho"),
    Published("bert-base-uncased", "huggingface.co/google-bert/bert-base-uncased"),
)
"""V1 of torchvision's (2021) are what both papers mean; V2 are of another recipe."""


def check_weights(path: Path, option: str) -> None:
    """Refuse weights that are not there: a file, or a folder that holds some.

    Args:
        path: the file or folder.
        option: what gives it, for the message.

    Raises:
        InputError: with the system's reason.
    """
    with contextlib.suppress(OSError):  # a name that is too long
        if path.is_dir():
            return
    check_weights_file(path, option)


def check_weights_file(path: Path, option: str) -> None:
    """Refuse a file of weights that is none or cannot be opened, and say where to get one.

    Args:
        path: the file.
        option: what gives it, for the message.

    Raises:
        InputError: with the system's reason.
    """
    check_file(path, option, f"{EXPECTED}{_whence(path)}")
    if not path.is_file():  # reading it would wait, or never end
        raise InputError(f"{printable(path)}: is a device or a pipe; {option} takes {EXPECTED}")


def _whence(path: Path) -> str:
    """Where a file of that name, or the one that is probably meant, is from."""
    name = path.name
    if path.parent.name == "runs":  # where the downstream recipes look for their pre-training
        return f"; `vlp-fast train {name}` makes this run, --init alone starts from random weights"
    files = {entry.file: entry for entry in PUBLISHED}
    near = [name] if name in files else difflib.get_close_matches(name, files, n=1, cutoff=0.6)
    if not near:
        return ""
    entry = files[near[0]]
    checksum = f"; its SHA-256 begins with {entry.checksum}" if entry.checksum else ""
    return f", as {entry.file} from {entry.source}{checksum}"

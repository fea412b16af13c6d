"""`vlp-fast convert IN OUT.safetensors --model NAME`: weights of others under our names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vlp_fast.errors import InputError

USAGE = "usage: vlp-fast convert IN OUT.safetensors --model NAME [--vocabulary FILE]"


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Write what a file of weights has for a model under this package's names.

    Taken are ResNets (torchvision, timm, Hugging Face), BERT (Hugging Face) for SOHO, DETR
    (published, Hugging Face) for E2E-VLP, the published SOHO, and runs of this package. Nothing is
    downloaded, and code in a file is not run.
    """

    weights: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """The file (.pth, .bin or .safetensors), or a folder with one."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The .safetensors file to write: what was taken, and nothing else."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """The model's name, as in create_model: soho_r18_3, soho_r18_3_official, soho_r50_12 or
    soho_r101_12; or e2e_vlp_rD_L, where D is 50, 101 or 152 and L is 6 or 12, with nothing, _12h
    or _text behind it."""
    vocabulary: Path | None = None
    """The vocab.txt that the model is to be trained with: the weights' own has to be the same."""


def run(words: list[str]) -> int:
    """Convert, and say what was taken and what was left."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse

    asked = parse(Conversion, words, "vlp-fast convert")
    _look_first(asked)
    print(_convert(asked))
    return 0


def _look_first(asked: Conversion) -> None:
    """What takes no time to find out is told before torch is imported."""
    from vlp_fast.data.given_paths import check_file, check_output
    from vlp_fast.models.config import model_config
    from vlp_fast.weights.published import check_weights_file

    try:
        model_config(asked.model)
    except ValueError as error:
        known = "`vlp-fast convert --help` lists all"
        raise InputError(f"--model: {str(error).partition(': ')[2]} {known}") from None
    if not asked.weights.is_dir():
        check_weights_file(asked.weights, "IN")
    if asked.vocabulary:
        check_file(asked.vocabulary, "--vocabulary", "a WordPiece vocab.txt")
    if asked.out.suffix != ".safetensors":
        raise InputError(f"{asked.out}: OUT is a safetensors file; end its name in .safetensors")
    check_output(asked.out, "OUT", is_kept=True)


def _convert(asked: Conversion) -> Any:
    from vlp_fast.data.tokenizer import load_vocabulary
    from vlp_fast.weights.save import convert_file

    vocabulary = load_vocabulary(asked.vocabulary).vocabulary if asked.vocabulary else None
    return convert_file(asked.weights, asked.out, asked.model, vocabulary)

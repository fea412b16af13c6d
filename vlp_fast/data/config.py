"""What a run reads and how it presents it (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import UseAppendAction

from vlp_fast.checks import AT_LEAST_ONE, NOT_NEGATIVE, SHARE, at_least, check

Layout = Literal["auto", "world", "karpathy", "coco", "visual_genome"]
Names = Literal["merge", "apart"]
Decoder = Literal["torchvision", "dali", "auto"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Folder, splits, image and text sizes, and loading.

    Attributes:
        root: folder of the data set, in its official layout; a run cannot do without. Given more
            than once, pre-training learns from all of them together.
        weights: of several roots, relative shares in an epoch: of the largest all images are
            shown, of another one a random part, a new one each epoch. None: all of all.
        names: of several roots; "merge": classes of equal names are one, but for case and
            whitespace, likewise attributes; "apart": all names get their data set's in front.
        exclude: COCO's ids of images that are not trained on: one a line, or a COCO file of
            captions or instances, or Karpathy's, of which his val and test are taken.
        layout: "auto" looks at the files; name one where a folder holds several. "world" is what
            `make-world` drew, with the truth of its captions.
        karpathy_file: his dataset_*.json, where a folder has several; None takes the one whose
            pictures are in the root.
        train_split: split to train on: "train"; for VQA also "train+val" and others.
        held_out_split: split to evaluate on: "val" or "test"; for VQA also "minival" and others.
        shorter: shorter sides in pixels, one is drawn for each image; None keeps the file's size.
            E2E-VLP: 480 .. 800 in steps of 32 (DETR's); SOHO: 600.
        shorter_held_out: the same for evaluation, where one size makes results repeatable.
        one_size: draw `shorter` once a batch, not once an image: a quarter of the pixels of DETR's
            sizes are padding otherwise, and 2 % then. A deviation from the paper.
        canvas_multiple: pad batches to multiples of so many pixels a side; with 32, SOHO's batches
            have 28 shapes instead of 146 (COCO), which is what compilers want.
        longer: cap of the longer side in pixels. E2E-VLP: 1333; SOHO: 1000.
        max_text_length: tokens of a text, [CLS] and [SEP] included.
        vocabulary: WordPiece vocab.txt; None trains one on the training captions.
        vocabulary_size: size of a vocabulary that is trained (an upper bound).
        objects_vocabulary: Visual Genome's class names, one a line with comma-separated synonyms;
            None looks for objects_vocab.txt in the root.
        attributes_vocabulary: the same for attributes (attributes_vocab.txt).
        missing_images: "error" stops where annotated images have no file, "drop" leaves them out.
        max_pixels: images that declare more in their header are not decoded.
        max_replaced: share of the samples of training that may be replaced, since a picture of
            theirs is broken; more, and 8 for chance, stop the run, as do 64 in a row.
        decoder: of the pictures of training. "dali": NVIDIA's, without loading processes, for a
            GPU with few cores; "auto": that one where a GPU has fewer than two cores and it is
            installed.
        num_workers: loading processes, or threads of DALI; 0 loads in the main process.
        cache: keep images decoded in memory (about 3 bytes a pixel), shared by the workers.
    """

    root: UseAppendAction[tuple[Path, ...]] = ()
    weights: tuple[float, ...] = ()
    names: Names = "merge"
    exclude: Path | None = None
    layout: Layout = "auto"
    karpathy_file: Path | None = None
    train_split: str = "train"
    held_out_split: str = "val"
    shorter: tuple[int, ...] | None = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    shorter_held_out: tuple[int, ...] | None = (800,)
    one_size: bool = False
    canvas_multiple: int = 1
    longer: int | None = 1333
    max_text_length: int = 64
    vocabulary: Path | None = None
    vocabulary_size: int = 8192
    objects_vocabulary: Path | None = None
    attributes_vocabulary: Path | None = None
    missing_images: Literal["error", "drop"] = "error"
    max_pixels: int = 64_000_000
    max_replaced: float = 0.001
    decoder: Decoder = "torchvision"
    num_workers: int = 2
    cache: bool = False

    def __post_init__(self) -> None:
        """A single root becomes a tuple; raises ValueError for sizes and counts that cannot be."""
        if isinstance(self.root, Path | None):  # from Python, or of a run of an earlier version
            object.__setattr__(self, "root", (self.root,) if self.root else ())
        check(self, NOT_NEGATIVE, "weights")
        if self.weights and not any(self.weights):
            raise ValueError(
                f"DataConfig: received weights = {self.weights}, expected one that is not 0"
            )
        check(self, AT_LEAST_ONE, "shorter", "shorter_held_out", "longer")
        check(self, at_least(3), "max_text_length")
        check(self, AT_LEAST_ONE, "vocabulary_size", "max_pixels", "canvas_multiple")
        check(self, SHARE, "max_replaced")
        check(self, NOT_NEGATIVE, "num_workers")
        if self.cache and self.decoder == "dali":
            raise ValueError(
                "DataConfig: received cache = True with decoder = 'dali', which keeps nothing "
                "decoded; expected one of the two, such as --data.no-cache"
            )
        for name in ("shorter", "shorter_held_out"):
            if getattr(self, name) == ():
                raise ValueError(f"DataConfig: received {name} = (), expected None or pixels")

"""Configurations of the two models, and the named presets (torch-free).

A configuration says what the modules are; how they are trained belongs to the engine, except for
the few training-side switches of SOHO whose two settings tell its paper from its published code.
The switches default to the paper; `official` sets them to what the published code does.

Where E2E-VLP's paper contradicts itself, the presets are: the default (8 heads of 32, FFN 2048;
the totals of its Table 5 within 1.4 M, and DETR's shapes), `_12h` (12 heads of 24, FFN 2048) and
`_text` (12 heads of 32, FFN 1024: the numbers as printed).
"""

import difflib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal, Self

import tyro

from vlp_fast.checks import AT_LEAST_ONE, NOT_NEGATIVE, SHARE, Range, check

if TYPE_CHECKING:
    from vlp_fast.models.e2e_vlp import E2EVLP
    from vlp_fast.models.model import VisionLanguageModel
    from vlp_fast.models.soho import Soho

Block = Literal["basic", "bottleneck"]
Stem = Literal["imagenet", "small"]
Norm = Literal["frozen", "batch"]
Activation = Literal["relu", "gelu"]
Semantics = Literal["paper", "official"]
EmaRule = Literal["eq4", "sum_count_laplace"]
CodebookInit = Literal["normal", "data"]
MvmHead = Literal["linear", "cosine"]
PairSampling = Literal["2+2", "bernoulli"]
ValidCells = Literal["covered", "detr"]
FromData = tyro.conf.Suppress[int]  # a run takes it from its data: not an option
DEPTHS = Range("18, 34, 50, 101, 152 or None", lambda x: x in (18, 34, 50, 101, 152))


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The residual network in front of either model.

    Attributes:
        depth: 18, 34, 50, 101 or 152 for the network of that many layers; None for one described
            by `block`, `blocks`, `widths` and `stem`, which are ignored otherwise.
        block: residual block of the network described.
        blocks: residual blocks per stage; every stage after the first halves the map.
        widths: channels per stage, before the bottleneck's factor four.
        stem: "imagenet" (stride 4) or "small" (stride 2).
        norm: "frozen" (statistics and affine are fixed, DETR) or "batch" (trained).
        remask: zero the padding in front of each spatial convolution: with frozen norms, or in
            evaluation, independent of the batch; slower.
        freeze_stages: stages that never train; 0 none, n the stem and the first n.
    """

    depth: int | None = 50
    block: Block = "bottleneck"
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Stem = "imagenet"
    norm: Norm = "frozen"
    remask: bool = False
    freeze_stages: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for a network that cannot be built."""
        check(self, DEPTHS, "depth")
        check(self, AT_LEAST_ONE, "blocks", "widths")
        if not self.blocks or len(self.blocks) != len(self.widths):
            raise ValueError(
                f"BackboneConfig: received {len(self.blocks)} blocks and {len(self.widths)} "
                "widths, expected as many of either, one a stage"
            )
        stages = 4 if self.depth else len(self.blocks)
        check(self, Range(f"0 to {stages}", lambda x: 0 <= x <= stages), "freeze_stages")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ABC):
    """What the configurations of both models have.

    Attributes:
        backbone: the CNN.
        width: features per token.
        vocab_size: WordPiece entries.
        max_positions: longest text, in tokens.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    width: int = 0
    vocab_size: FromData = 30522
    max_positions: int = 512

    @abstractmethod
    def build(self) -> "VisionLanguageModel":
        """Builds the model, with random weights."""

    def sized(self, *, vocab_size: int, num_classes: int, num_attributes: int) -> Self:
        """Returns the configuration with the sizes that come from the data."""
        return replace(self, vocab_size=vocab_size)


@dataclass(frozen=True, kw_only=True)
class E2EVLPConfig(ModelConfig):
    """E2E-VLP (ACL 2021): encoder-decoder over text tokens and grid cells.

    Attributes:
        backbone: the CNN; DETR's frozen norms, stem and first stage never train.
        width: features per token (section 4.2).
        num_heads: attention heads; independent of `width`.
        head_dim: features per head; 12 heads do not divide a width of 256, hence its own field.
        ffn_dim: inner features of the feed-forward networks.
        encoder_layers: 6 or 12 in the paper.
        decoder_layers: 6 in the paper.
        num_queries: object queries, DETR's 100.
        vocab_size: WordPiece entries, BERT's 30522.
        max_positions: longest text, in tokens; BERT's 512.
        num_classes: object classes without the no-object class; Visual Genome's 1600.
        num_attributes: attributes, Visual Genome's 400; 0 for no attribute head.
        dropout: rate in attention, residual branches and text embeddings; DETR's and BERT's 0.1.
        norm_first: normalise before each block instead of after it (DETR: after).
        activation: of the feed-forward networks, DETR's "relu".
        valid_cells: in a padded batch, "covered" (those that a pixel of the image lies in) or
            "detr" (those whose nearest pixel, of the padded batch, is one of the image): where the
            batch's side is no multiple of the stride, up to a row or a column more, of padding
            alone. DETR's weights were trained so; an image alone has the same cells.
    """

    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(freeze_stages=1))
    width: int = 256
    num_heads: int = 8
    head_dim: int = 32
    ffn_dim: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    num_queries: int = 100
    vocab_size: FromData = 30522
    max_positions: int = 512
    num_classes: FromData = 1600
    num_attributes: FromData = 400
    dropout: float = 0.1
    norm_first: bool = False
    activation: Activation = "relu"
    valid_cells: ValidCells = "covered"

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no model can have."""
        _check_numbers(self, may_be_zero=("num_attributes",))

    def build(self) -> "E2EVLP":
        """Builds E2E-VLP, with random weights."""
        from vlp_fast.models.e2e_vlp import build_e2e_vlp

        return build_e2e_vlp(self)

    def sized(self, *, vocab_size: int, num_classes: int, num_attributes: int) -> Self:
        """Returns the configuration with the sizes that come from the data."""
        return replace(
            self,
            vocab_size=vocab_size,
            num_classes=max(num_classes, 1),
            num_attributes=num_attributes,
        )


@dataclass(frozen=True, kw_only=True)
class SohoConfig(ModelConfig):
    """SOHO (CVPR 2021): one encoder over text tokens and visual-dictionary entries.

    Attributes:
        backbone: the CNN, with trained norms.
        semantics: "paper" or "official", for what has no switch of its own: the official neck has a
            linear layer behind the dictionary and no dropout, its padded cells take part in the
            pool and in the dictionary, its maps round down, and its heads have no transform and
            no bias.
        width: features per token, BERT-base's 768.
        num_heads: attention heads, BERT-base's 12.
        ffn_dim: inner features of the feed-forward networks, BERT-base's 3072.
        layers: 3 (ablations) or 12 in the paper.
        vocab_size: WordPiece entries, BERT's 30522.
        max_positions: longest text, in tokens; BERT's 512.
        num_codes: entries of the visual dictionary, K = 2048.
        momentum: weight of the old value in the dictionary's moving average, gamma of Eq. 4 (the
            paper gives no value; published code: 0.4).
        dropout: rate in attention, residual branches and text embeddings, BERT's 0.1.
        norm_first: normalise before each block instead of after it (BERT: after).
        pool: 2x2 max-pool between CNN and dictionary.
        pool_first: pool before the 1x1 convolution (code) instead of after it (paper).
        conv_bn: batch norm behind the 1x1 convolution (code).
        gate: mix the code with the raw feature by a learned softmax gate (code).
        ema_rule: "eq4" (paper: codes not hit stay) or "sum_count_laplace" (code; it also quantises
            with the updated codes).
        codebook_init: "normal" (N(0, 1): the code; the paper's is "randomly initialized") or "data"
            (k-means on the first batches; a random start collapses to a handful of codes when the
            CNN is small).
        normalize_input: parameter-free layer norm in front of the dictionary (neither).
        revival: codes whose moving count of hits per step falls below this are replaced by
            features of the batch; None never (both).
        legacy_square_mask: reproduce the code's valid mask, which takes the height for the width.
        mvm_rate: share of images whose drawn label is masked (code: 0.015; paper: silent, hence 1).
        mvm_shared_position: draw the label at one grid position shared by the batch (code) instead
            of among the labels that the image has (paper).
        mvm_head: "linear" (a layer over the K codes) or "cosine" (code: similarity with the codes).
        mlm_on_negatives: word and visual masking losses on foreign pairs too (code).
        pair_sampling: "2+2" (paper: two own and two foreign texts) or "bernoulli" (code: each of
            four own texts is replaced with probability 1/2).
    """

    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(norm="batch"))
    semantics: Semantics = "paper"
    width: int = 768
    num_heads: int = 12
    ffn_dim: int = 3072
    layers: int = 12
    vocab_size: FromData = 30522
    max_positions: int = 512
    num_codes: int = 2048
    momentum: float = 0.99
    dropout: float = 0.1
    norm_first: bool = False
    pool: bool = True
    pool_first: bool = False
    conv_bn: bool = False
    gate: bool = False
    ema_rule: EmaRule = "eq4"
    codebook_init: CodebookInit = "normal"
    normalize_input: bool = False
    revival: float | None = None
    legacy_square_mask: bool = False
    mvm_rate: float = 1.0
    mvm_shared_position: bool = False
    mvm_head: MvmHead = "linear"
    mlm_on_negatives: bool = False
    pair_sampling: PairSampling = "2+2"

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no model can have."""
        _check_numbers(self, may_be_zero=())
        if self.width % self.num_heads:
            raise ValueError(
                f"SohoConfig: received width {self.width} and {self.num_heads} heads, which do not "
                "divide it; change one of them"
            )

    def build(self) -> "Soho":
        """Builds SOHO, with random weights."""
        from vlp_fast.models.soho import build_soho

        return build_soho(self)


def paper(config: SohoConfig) -> SohoConfig:
    """Returns the configuration with every switch as the paper has it; sizes stay."""
    defaults = SohoConfig()
    switches = {name: getattr(defaults, name) for name in _SWITCHES}
    return replace(config, backbone=replace(config.backbone, freeze_stages=0), **switches)


def official(config: SohoConfig) -> SohoConfig:
    """Returns the configuration with every switch as the published code has it; sizes stay."""
    return replace(
        config,
        backbone=replace(config.backbone, norm="batch", freeze_stages=1),
        semantics="official",
        momentum=0.4,
        pool=True,
        pool_first=True,
        conv_bn=True,
        gate=True,
        ema_rule="sum_count_laplace",
        codebook_init="normal",
        normalize_input=False,
        revival=None,
        legacy_square_mask=True,
        mvm_rate=0.015,
        mvm_shared_position=True,
        mvm_head="cosine",
        mlm_on_negatives=True,
        pair_sampling="bernoulli",
    )


def model_names() -> tuple[str, ...]:
    """Returns the names that `model_config` knows, sorted."""
    return tuple(sorted(_PRESETS))


def model_config(name: str) -> ModelConfig:
    """Returns the configuration of a named model.

    Raises:
        ValueError: for an unknown name; the message lists the names closest to it.
    """
    if name in _PRESETS:
        return _PRESETS[name]
    close = difflib.get_close_matches(name, model_names(), n=3, cutoff=0.0)
    raise ValueError(
        f"model_config: received {name!r}, expected the name of a model, one of "
        f"{len(model_names())}; do you mean {' or '.join(close)}?"
    )


_RATES = ("dropout", "momentum", "mvm_rate")
_SWITCHES = (
    "semantics",
    "momentum",
    "pool",
    "pool_first",
    "conv_bn",
    "gate",
    "ema_rule",
    "codebook_init",
    "normalize_input",
    "revival",
    "legacy_square_mask",
    "mvm_rate",
    "mvm_shared_position",
    "mvm_head",
    "mlm_on_negatives",
    "pair_sampling",
)


def _check_numbers(config: ModelConfig, *, may_be_zero: tuple[str, ...]) -> None:
    kind = type(config).__name__
    for entry in fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            check(config, NOT_NEGATIVE if entry.name in may_be_zero else AT_LEAST_ONE, entry.name)
        if entry.name in _RATES:
            check(config, SHARE, entry.name)
        if entry.name == "revival":
            check(config, NOT_NEGATIVE, entry.name)
    if config.width % 4:
        raise ValueError(
            f"{kind}: received width = {config.width}, expected a multiple of 4 (sine and cosine "
            "of rows and of columns)"
        )


def _soho(depth: int, layers: int) -> SohoConfig:
    return SohoConfig(backbone=BackboneConfig(depth=depth, norm="batch"), layers=layers)


def _e2e_vlp_presets() -> dict[str, ModelConfig]:
    presets: dict[str, ModelConfig] = {}
    for depth in (50, 101, 152):
        for layers in (6, 12):
            backbone = BackboneConfig(depth=depth, freeze_stages=1)
            config = E2EVLPConfig(backbone=backbone, encoder_layers=layers)
            name = f"e2e_vlp_r{depth}_{layers}"
            presets[name] = config
            presets[f"{name}_12h"] = replace(config, num_heads=12, head_dim=24)
            presets[f"{name}_text"] = replace(config, num_heads=12, head_dim=32, ffn_dim=1024)
    return presets


_PRESETS: dict[str, ModelConfig] = {
    "soho_r18_3": _soho(18, 3),
    "soho_r18_3_official": official(_soho(18, 3)),
    "soho_r50_12": _soho(50, 12),
    "soho_r101_12": _soho(101, 12),
    **_e2e_vlp_presets(),
}

"""BERT's names (Hugging Face), into SOHO's text embeddings, Transformer and word head.

Of twelve layers a model of three takes the first three, as the published SOHO does. Not taken: the
pooler; the next-sentence head, unless asked for, because it reads the pooler's output and our
matching head [CLS] itself. BERT's first class is "is next" and our second is "match": asked for,
its rows change places.
"""

from vlp_fast.weights.beside import read_json
from vlp_fast.weights.layout import Asked, Layout, Pairs, Tensors
from vlp_fast.weights.state_file import StateFile

_LAYER = r"encoder\.layer\.(\d+)\."
_OURS = r"encoder.layers.\1."
SPELLINGS: Pairs = (
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
    (r"^bert\.", ""),
)
"""Of before 2019, and of models with heads."""

PAIRS: Pairs = (
    (r"embeddings\.LayerNorm\.(.+)", r"text_embeddings.norm.\1"),
    (r"embeddings\.((?:word|position|token_type)_embeddings\.weight)", r"text_embeddings.\1"),
    (rf"{_LAYER}attention\.self\.query\.(.+)", rf"{_OURS}attention.in_proj_\2@0"),
    (rf"{_LAYER}attention\.self\.key\.(.+)", rf"{_OURS}attention.in_proj_\2@1"),
    (rf"{_LAYER}attention\.self\.value\.(.+)", rf"{_OURS}attention.in_proj_\2@2"),
    (rf"{_LAYER}attention\.output\.dense\.(.+)", rf"{_OURS}attention.out_proj.\2"),
    (rf"{_LAYER}attention\.output\.LayerNorm\.(.+)", rf"{_OURS}norm1.\2"),
    (rf"{_LAYER}intermediate\.dense\.(.+)", rf"{_OURS}ffn.linear1.\2"),
    (rf"{_LAYER}output\.dense\.(.+)", rf"{_OURS}ffn.linear2.\2"),
    (rf"{_LAYER}output\.LayerNorm\.(.+)", rf"{_OURS}norm2.\2"),
)
"""The text embeddings and the Transformer."""

HEADS: Pairs = (
    (r"cls\.predictions\.transform\.dense\.(.+)", r"word_head.transform.dense.\1"),
    (r"cls\.predictions\.transform\.LayerNorm\.(.+)", r"word_head.transform.norm.\1"),
    (r"cls\.predictions\.bias", "word_head.bias"),
    (r"cls\.seq_relationship\.(.+)", r"match_head.\1"),
    (r"cls\.predictions\.decoder\.bias", "word_head.bias"),
    (r"cls\.predictions\.decoder\.weight", "text_embeddings.word_embeddings.weight"),
)
"""The last two are tied to what is named above them."""


def _adapt(values: Tensors, file: StateFile, asked: Asked) -> dict[str, str]:
    reasons = {}
    for name in ("match_head.weight", "match_head.bias"):
        if name in values and asked.next_sentence:
            values[name] = values[name].flip(0)
        elif values.pop(name, None) is not None:
            reasons["match_head"] = "the next-sentence head was not asked for"
    return reasons


def _settings(file: StateFile) -> dict[str, object]:
    config = read_json(file.path.parent / "config.json")
    settings: dict[str, object] = {
        "norm_first": False,
        "activation": config.get("hidden_act", "gelu"),
    }
    heads = config.get("num_attention_heads")
    return settings if heads is None else {**settings, "num_heads": heads}


BERT = Layout(
    name="a BERT",
    mark=r"(?:bert\.)?embeddings\.word_embeddings\.weight",
    systems=("Soho",),
    spellings=SPELLINGS,
    pairs=PAIRS + HEADS,
    adapt=_adapt,
    settings=_settings,
)

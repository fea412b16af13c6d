"""The names of the published SOHO code, into a model of `official(...)`.

Its pre-trained model (ResNet-18, 3 layers) has 196 tensors; that its checkpoint holds the same is
inferred, for none was at hand. `mask_l_fc.weight` is the word embeddings again. A checkpoint of its
question answering has neither dictionary nor gate: they are new then. Its running averages count
each image four times and sum over its eight processes: in the first steps codes move by 4 to 11 %.
"""

from vlp_fast.weights import bert
from vlp_fast.weights.layout import Layout

BERT_VOCABULARY = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
"""SHA-256 of bert-base-uncased's vocab.txt."""

SOHO_OFFICIAL = Layout(
    name="the published SOHO",
    mark=r"language\.bert\..+|neck\.conv\.conv\.weight",
    systems=("Soho",),
    spellings=((r"^language\.bert\.", ""),),
    pairs=(
        *bert.PAIRS,
        (r"mask_l_fc\.weight", "text_embeddings.word_embeddings.weight"),
        (r"(backbone\..+)", r"\1"),
        (r"neck\.conv\.conv\.(.+)", r"projection.\1"),
        (r"neck\.conv\.bn\.(.+)", r"projection_norm.\1"),
        (r"neck\.ln\.(.+)", r"norm.\1"),
        (r"neck\.mask_emb\.weight", "mask_embedding"),
        (r"neck\.vq\.(.+)", r"dictionary.\1"),
        (r"neck\.gate_fc\.conv\.(.+)", r"gate.conv.\1"),
        (r"neck\.gate_fc\.bn\.(.+)", r"gate.norm.\1"),
        (r"neck\.pos_line\.(.+)", r"code_projection.\1"),
        (r"head\.match_class\.(.+)", r"match_head.\1"),
    ),
    settings=lambda file: {"num_heads": 12, "norm_first": False, "activation": "gelu"},
    vocabulary=BERT_VOCABULARY,
)

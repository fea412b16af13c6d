"""DETR's names (published and Hugging Face), into E2E-VLP's CNN, Transformer, queries and boxes.

A published DETR has six encoder layers: of a model of twelve, six are given and six are new. New
are too: everything about words, matching and attributes; and the classes, unless the model's are
COCO's, all of them or some. DETR's class head has a row for each id up to 90 and one of no object.

What weights cannot tell: variants of stride 16 ("dc5") have the same names and shapes, but compute
a map of twice the size. They load, and are then of another CNN.

In a padded batch DETR counts more cells as valid than this model's default does, and its weights
were trained so: `E2EVLPConfig.valid_cells`.
"""

from torch import Tensor

from vlp_fast.weights.beside import read_json
from vlp_fast.weights.coco_classes import COCO_CLASSES
from vlp_fast.weights.layout import Asked, Layout, Pairs, Tensors
from vlp_fast.weights.state_file import StateFile
from vlp_fast.weights.torchvision import HF_RESNET

_ENCODER = r"transformer\.encoder\.layers\.(\d+)\."
_DECODER = r"transformer\.decoder\.layers\.(\d+)\."
PAIRS: Pairs = (
    (rf"{_ENCODER}self_attn\.(.+)", r"encoder.layers.\1.attention.\2"),
    (rf"{_ENCODER}(linear[12]\..+)", r"encoder.layers.\1.ffn.\2"),
    (rf"{_ENCODER}(norm[12]\..+)", r"encoder.layers.\1.\2"),
    (rf"{_DECODER}self_attn\.(.+)", r"decoder.layers.\1.self_attention.\2"),
    (rf"{_DECODER}multihead_attn\.(.+)", r"decoder.layers.\1.cross_attention.\2"),
    (rf"{_DECODER}(linear[12]\..+)", r"decoder.layers.\1.ffn.\2"),
    (rf"{_DECODER}(norm[123]\..+)", r"decoder.layers.\1.\2"),
    (r"transformer\.((?:en|de)coder\.norm\..+)", r"\1"),
    (r"query_embed\.weight", "query_positions.weight"),
    (r"input_proj\.(.+)", r"input_projection.\1"),
    (r"class_embed\.(.+)", r"class_head.\1"),
    (r"bbox_embed\.(.+)", r"box_head.\1"),
    (r"backbone\.0\.body\.(.+)", r"backbone.\1"),
)

HUGGING_FACE: Pairs = (
    (r"^model\.", ""),
    (r"^backbone\.(?:conv_encoder\.)?model\.(?:_backbone\.)?", "backbone.0.body."),
    *HF_RESNET,
    (r"^((?:en|de)coder\.layers\.)", r"transformer.\1"),
    (r"^((?:en|de)coder)\.layernorm\.", r"transformer.\1.norm."),
    (r"^(transformer\.encoder.*)final_layer_norm\.", r"\1norm2."),
    (r"^(transformer\.decoder.*)final_layer_norm\.", r"\1norm3."),
    (r"encoder_attn_layer_norm\.", "norm2."),
    (r"self_attn_layer_norm\.", "norm1."),
    (r"encoder_attn\.", "multihead_attn."),
    (r"\.q_proj\.(weight|bias)$", r".in_proj_\1@0"),
    (r"\.k_proj\.(weight|bias)$", r".in_proj_\1@1"),
    (r"\.v_proj\.(weight|bias)$", r".in_proj_\1@2"),
    (r"\.o_proj\.", ".out_proj."),
    (r"\.(?:mlp\.)?fc([12])\.", r".linear\1."),
    (r"^query_position_embeddings\.", "query_embed."),
    (r"^input_projection\.", "input_proj."),
    (r"^class_labels_classifier\.", "class_embed."),
    (r"^bbox_predictor\.", "bbox_embed."),
)
"""The spelling of either version of Hugging Face's, in the published names."""

COCO_ROWS = 92
NOTE = (
    "in padded batches DETR was trained under another rule for valid cells: "
    "--model.valid-cells detr"
)


def _adapt(values: Tensors, file: StateFile, asked: Asked) -> dict[str, str]:
    name = "input_projection.weight"
    if name in values and values[name].shape[2:] == (1, 1):
        values[name] = values[name].flatten(1)
    rows, reason = _class_rows(values.get("class_head.weight"), asked)
    for name in ("class_head.weight", "class_head.bias"):
        if rows is None:
            values.pop(name, None)
        elif name in values:
            values[name] = values[name][rows]
    return {"class_head": reason} if reason else {}


def _class_rows(weight: Tensor | None, asked: Asked) -> tuple[list[int] | None, str]:
    """Rows of the model's classes and of no object; None, and why, where there are none."""
    if weight is None:
        return None, "not in the file"
    if not asked.classes:
        return None, "no classes were named"
    ids = {name: number for number, name in COCO_CLASSES}
    foreign = [name for name in asked.classes if name not in ids]
    if foreign or weight.shape[0] != COCO_ROWS:
        return None, "its classes are not COCO's"
    return [*(ids[name] for name in asked.classes), COCO_ROWS - 1], ""


def _settings(file: StateFile) -> dict[str, object]:
    config = read_json(file.path.parent / "config.json")
    pre_norm = r"encoder.norm.weight", r"encoder.layernorm.weight"
    return {
        "num_heads": config.get("encoder_attention_heads", 8),
        "norm_first": any(name.endswith(pre_norm) for name in file.tensors),
        "activation": config.get("activation_function", "relu"),
    }


DETR = Layout(
    name="DETR",
    mark=r"transformer\.encoder\.layers\.0\.self_attn\.in_proj_weight",
    systems=("E2EVLP",),
    pairs=PAIRS,
    adapt=_adapt,
    settings=_settings,
    note=NOTE,
)

HUGGING_FACE_DETR = Layout(
    name="a Hugging Face DETR",
    mark=r"(?:model\.)?query_position_embeddings\.weight",
    systems=("E2EVLP",),
    spellings=HUGGING_FACE,
    pairs=PAIRS,
    adapt=_adapt,
    settings=_settings,
    note=NOTE,
)

"""Detection models of transformers: their matcher and criterion are ours, layers together.

A model of transformers computes its loss by `model.loss_function`, which has a setter: an instance
gets ours, and nothing else of it changes.
"""

from functools import partial
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel
from transformers import __version__ as version
from transformers.loss.loss_utils import LOSS_MAPPING

from vlp_fast.swaps.detection_sets import SetLoss
from vlp_fast.swaps.detr_losses import FocalLoss, SoftmaxLoss
from vlp_fast.swaps.loss_probe import Probe, disagreement
from vlp_fast.swaps.lw_detr_loss import GroupedLoss
from vlp_fast.swaps.rt_detr_loss import VarifocalLoss
from vlp_fast.swaps.swap import Change, own, undo_all


class Known(NamedTuple):
    """A loss of transformers that ours equals."""

    ours: type[SetLoss]
    probe: Probe
    words: str


_RT_DETR = Probe(
    is_image_first=True, proposals=("enc_topk_logits", "enc_topk_bboxes"), has_denoising=True
)
_LW_DETR = Probe(proposals=("enc_outputs_class", "enc_outputs_coord"))
KNOWN: dict[str, Known] = {
    "ForObjectDetectionLoss": Known(SoftmaxLoss, Probe(has_no_object=True), "DETR's"),
    "DeformableDetrForObjectDetectionLoss": Known(FocalLoss, Probe(), "focal"),
    "RTDetrForObjectDetectionLoss": Known(VarifocalLoss, _RT_DETR, "varifocal"),
    "LwDetrForObjectDetectionLoss": Known(GroupedLoss, _LW_DETR, "IoU-aware, in groups"),
}
"""By the name of transformers' function."""
OTHERS = {
    "ForSegmentationLoss": "masks are scored, which is not implemented",
    "DeformableDetrForSegmentationLoss": "masks are scored, which is not implemented",
    "RfDetrForSegmentationLoss": "masks are scored, which is not implemented",
    "DFineForObjectDetectionLoss": "D-FINE's distributions of edges are not implemented",
    "Deimv2ForObjectDetectionLoss": "DEIM's matching by several losses is not implemented",
    "GroundingDinoForObjectDetectionLoss": "classes are words of a text, which is not implemented",
}
"""Why losses of the same family are left alone."""


class DetectionLosses:
    """Swaps the loss of a detection model of transformers."""

    def knows(self, module: nn.Module) -> bool:
        """Whether it is a model of transformers with a loss of the DETR family."""
        return isinstance(module, PreTrainedModel) and _name(module) in {*KNOWN, *OTHERS}

    def refusal(self, module: nn.Module) -> str:
        """Why it is left alone."""
        given = vars(module).get("_loss_function")
        if isinstance(given, SetLoss):
            return "its loss runs on vlp_fast already"
        if given is not None or _has_own_property(module):
            return "it has a loss_function of its own"
        name = _name(module)
        if name in OTHERS:
            return OTHERS[name]
        known = KNOWN[name]
        theirs: Any = LOSS_MAPPING[_loss_type(module)]
        reason = disagreement(theirs, known.ours(), module.config, known.probe)
        return f"{reason} (transformers {version})" if reason else ""

    def apply(self, module: nn.Module) -> Change:
        """Sets the instance's loss function."""
        name = _name(module)
        known = KNOWN[name]
        words = f"loss_function: {known.ours.__name__}, {known.words}, all layers at once"
        told = partial(str, f"(loss_function): vlp_fast's {known.ours.__name__}")
        undos = [
            own(module, "extra_repr", told),  # of the instance, for print(model)
            own(module, "_loss_function", known.ours()),  # what the setter of loss_function sets
        ]
        return Change(became=f"{words} (in place of {name})", undo=partial(undo_all, undos))


def _has_own_property(module: nn.Module) -> bool:
    return getattr(type(module), "loss_function", None) is not PreTrainedModel.loss_function


def _loss_type(module: nn.Module) -> str:
    return str(getattr(module, "loss_type", None))


def _name(module: nn.Module) -> str:
    """Of transformers' function; empty if the model's class has none."""
    theirs: Any = LOSS_MAPPING.get(_loss_type(module))
    return getattr(theirs, "__name__", "")

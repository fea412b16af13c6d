"""Which parts of a model are computed as a whole, where its weights are gathered from processes.

Each Transformer layer, and each stage of a CNN: whoever trains them calls them, one behind another.
"""

from collections.abc import Iterator

from torch import nn

from vlp_fast.layers.residual_block import Stage
from vlp_fast.layers.transformer import Encoder, ResidualLayer


def gathered_units(model: nn.Module) -> Iterator[nn.Module]:
    """The modules whose weights may be whole only while they are called; none is in another.

    An encoder's last layer is none: [CLS] alone may be asked of it, which is not its `forward`, and
    behind it the backward pass begins, which would gather it again at once.
    """
    last = {m.layers[-1] for m in model.modules() if isinstance(m, Encoder) and len(m.layers)}
    for module in model.modules():
        if isinstance(module, ResidualLayer | Stage) and module not in last:
            yield module

"""Which options of vector-quantize-pytorch `VectorQuantize` takes, and at which values.

All of them are known by name, so that a program that spells out defaults runs unchanged; a value
that would mean something else than what happens here is refused.
"""

from typing import Any

from torch import Tensor

PLAIN = (type(None), bool, int, float, complex, str, tuple)

# Options of the other package with the values that mean what happens here.
ONLY: dict[str, tuple[Any, ...]] = {
    "heads": (1,),
    "sync_kmeans": (True,),
    "use_cosine_sim": (False,),
    "commitment_use_cross_entropy_loss": (False,),
    "orthogonal_reg_weight": (0,),
    "codebook_diversity_loss_weight": (0,),
    "stochastic_sample_codes": (False,),
    "straight_through": (False,),
    "directional_reparam": (False,),
    "ema_update": (None, True),
    "vq_bridge": (None,),
    "manual_ema_update": (False,),
    "learnable_codebook": (None, False),
    "in_place_codebook_optimizer": (None,),
    "affine_param": (False,),
    "sync_update_v": (0,),
    "route_gradients_to_input": (True,),
}
ONLY_IN_CALLS: dict[str, tuple[Any, ...]] = {
    "indices": (None,),
    "topk": (None,),
    "sample_codebook_temp": (None,),
    "return_loss_breakdown": (False,),
    "codebook_transform_fn": (None,),
    "ema_update_weight": (None,),
    "accum_ema_update": (False,),
    "ema_update": (None, True),
}
# Options that change nothing while the ones above are what they are.
IDLE = {
    "layernorm_after_project_in",
    "orthogonal_reg_active_codes_only",
    "orthogonal_reg_max_codes",
    "codebook_diversity_temperature",
    "sample_codebook_temp",
    "directional_reparam_variance",
    "sync_affine_param",
    "manual_in_place_optimizer_update",
    "affine_param_batch_decay",
    "affine_param_codebook_decay",
}


def check_options(options: dict[str, Any], dim: int) -> None:
    """Refuses arguments of the constructor that are not implemented.

    Raises:
        ValueError: an option has a value that is not implemented here.
        TypeError: there is no such option.
    """
    telling = {name: value for name, value in options.items() if name not in IDLE}
    _refuse_others("VectorQuantize", telling, {**ONLY, "codebook_dim": (None, dim)})


def check_numbers(dim: int, codebook_size: int, decay: float, eps: float) -> None:
    """Refuses numbers out of their range.

    Raises:
        ValueError: as it says.
    """
    if dim < 1 or codebook_size < 1:
        raise ValueError(
            f"VectorQuantize: received {codebook_size} codes of width {dim}, expected at least 1"
        )
    if not 0 <= decay <= 1:
        raise ValueError(f"VectorQuantize: received decay {decay}, expected 0 to 1")
    if not eps >= 0:
        raise ValueError(f"VectorQuantize: received eps {eps}, expected 0 or more rows")


def check_call(options: dict[str, Any]) -> None:
    """Refuses arguments of a call that are not implemented.

    Raises:
        ValueError, TypeError: as above.
    """
    _refuse_others("VectorQuantize.forward", options, ONLY_IN_CALLS)


def _refuse_others(
    function: str, options: dict[str, Any], only: dict[str, tuple[Any, ...]]
) -> None:
    """Raises for options that are unknown, or at values that are not implemented."""
    for name, value in options.items():
        if name not in only:
            raise TypeError(f"{function}: received an unknown argument {name!r}")
        if not (isinstance(value, PLAIN) and value in only[name]):
            expected = " or ".join(map(repr, only[name]))
            raise ValueError(
                f"{function}: received {name}={_in_words(value)}, expected {expected}; use "
                "vector_quantize_pytorch for it"
            )


def _in_words(value: object) -> str:
    """On one line, however large a tensor or module is."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return repr(value) if isinstance(value, PLAIN) else f"a {type(value).__name__}"

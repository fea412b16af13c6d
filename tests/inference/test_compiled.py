"""Compiled layers say the same."""

import numpy as np
import pytest
import torch

import vlp_fast
from tests.inference.conftest import Drawn
from vlp_fast.inference.predictor import Predictor
from vlp_fast.layers import compilation
from vlp_fast.layers.transformer import ResidualLayer


def test_compiled_layers_are_used_and_say_the_same(
    e2e_vlp: Predictor, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    compile_layer = torch.compile

    def counted(function: object, **options: object) -> object:
        compiled = compile_layer(function, dynamic=True, backend="aot_eager")  # type: ignore[call-overload]

        def run(*inputs: object, **more: object) -> object:
            calls.append(1)
            return compiled(*inputs, **more)

        return run

    monkeypatch.setattr(compilation.torch, "compile", counted)
    model = vlp_fast.load("e2e_vlp_small_world", device="cpu", compile=True)
    one, other = (each.detect(drawn.paths[:2], threshold=0) for each in (e2e_vlp, model))
    assert len(calls) == sum(isinstance(m, ResidualLayer) for m in model.trained.model.modules())
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-2)

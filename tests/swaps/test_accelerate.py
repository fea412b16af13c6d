"""What `accelerate` and its report do whatever is swapped, on PyTorch's attention."""

from typing import Any

import pytest
from torch import nn

import vlp_fast
from vlp_fast.errors import InputError
from vlp_fast.swaps.torch_attention import TorchAttention

WIDTH, HEADS = 16, 4


def test_nothing_of_the_model_changes_but_its_classes_and_restore_takes_them_back() -> None:
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 24), 2)
    stack.layers[0].register_forward_hook(lambda *_: None)
    parts = list(stack.named_parameters())
    before = {name: list(vars(module)) for name, module in stack.named_modules()}
    text, keys = repr(stack), list(stack.state_dict())
    report = vlp_fast.accelerate(stack)
    assert list(report.swapped) == [
        "", "layers.0", "layers.0.self_attn", "layers.1", "layers.1.self_attn"
    ]  # fmt: skip
    assert list(stack.state_dict()) == keys
    assert all(dict(stack.named_parameters()).get(name, part) is part for name, part in parts)
    assert "PackedMultiheadAttention" in repr(stack) and isinstance(stack, nn.TransformerEncoder)
    assert "5 of 22 modules run on vlp_fast" in str(report)
    report.restore()
    report.restore()
    assert repr(stack) == text and not report and "restored" in str(report)
    assert {name: list(vars(module)) for name, module in stack.named_modules()} == before
    with pytest.raises(InputError, match="already"):
        vlp_fast.accelerate(stack)
        vlp_fast.accelerate(stack)


def test_an_error_on_the_way_leaves_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 24), 2)
    text, apply = repr(stack), TorchAttention.apply

    def failing(self: TorchAttention, module: nn.Module) -> Any:
        if module is stack.layers[1]:
            raise MemoryError
        return apply(self, module)

    monkeypatch.setattr(TorchAttention, "apply", failing)
    with pytest.raises(MemoryError):
        vlp_fast.accelerate(stack)
    assert repr(stack) == text and "told" not in vars(stack)


def test_restore_tells_of_a_class_that_changed_meanwhile() -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS)
    report = vlp_fast.accelerate(module)
    module.__class__ = type("Sharded", (type(module),), {})
    with pytest.raises(InputError, match="has become Sharded since"):
        report.restore()


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "none of 3 modules is known: 1 Sequential"),
        (lambda x: x, "received a function, expected a torch.nn.Module"),
    ],
)
def test_one_line_where_there_is_nothing_to_do(model: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as raised:
        vlp_fast.accelerate(model)
    assert "\n" not in str(raised.value)


def test_restore_goes_on_where_it_stopped() -> None:
    stack = nn.Sequential(nn.MultiheadAttention(WIDTH, HEADS), nn.MultiheadAttention(WIDTH, HEADS))
    text = repr(stack)
    report = vlp_fast.accelerate(stack)
    ours = type(stack[0])
    stack[0].__class__ = type("Sharded", (ours,), {})
    with pytest.raises(InputError, match="has become Sharded since"):
        report.restore()
    assert list(report.swapped) == ["0"] and type(stack[1]) is nn.MultiheadAttention
    stack[0].__class__ = ours
    report.restore()
    assert repr(stack) == text and not report and "restored" in str(report)


def test_what_is_built_otherwise_is_left_on_one_line() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24)
    del layer.self_attn
    report = vlp_fast.accelerate(layer, strict=False)
    assert "built otherwise" in report.left[""] and "self_attn" in report.left[""]

"""Records that hold tensors compare by identity: `==` of tensors is a tensor, not an answer."""

import dataclasses

import pytest
import torch

from vlp_fast.layers.decoding import DecodingState, LayerCache
from vlp_fast.layers.positions import TablePositions
from vlp_fast.layers.sequences import Spans
from vlp_fast.models.e2e_vlp import Detections
from vlp_fast.models.model import Seen
from vlp_fast.models.soho import VisualTokens

RECORDS = (Spans, TablePositions, LayerCache, DecodingState, Detections, Seen, VisualTokens)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_equal_is_the_same(record: type) -> None:
    names = [field.name for field in dataclasses.fields(record) if field.init]
    first, second = (record(**{name: torch.zeros(2) for name in names}) for _ in range(2))
    assert first == first
    assert first != second
    assert len({first, second, first}) == 2

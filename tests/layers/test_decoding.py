"""Step-wise decoding against the causal pass over whole texts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from vlp_fast.layers.decoding import DecodingState, decode_step, start_decoding
from vlp_fast.layers.sequences import Spans
from vlp_fast.layers.transformer import Decoder, DecoderLayer, LayerConfig
from vlp_fast.ops.packing import make_packing

WIDTH, TEXTS, LENGTH = 12, 3, 5
MEMORY = make_packing([3, 1, 4], [-1] * TEXTS, None)


def small_decoder(*, norm_first: bool = False, dropout: float = 0.0) -> Decoder:
    """Three layers whose parameters are off their start, so that swapped ones show."""
    torch.manual_seed(0)
    config = LayerConfig(
        width=WIDTH, num_heads=3, head_dim=4, ffn_dim=20, dropout=dropout, norm_first=norm_first
    )
    decoder = Decoder([DecoderLayer(config) for _ in range(3)], nn.LayerNorm(WIDTH)).double()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return decoder


def random_rows(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, dtype=torch.float64, generator=generator).requires_grad_()


def whole_pass(decoder: Decoder, x: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
    """The last layer's rows (S, L, D) of texts (S * L, D), all tokens at once."""
    spans = Spans.uniform(TEXTS, LENGTH, x.device)
    layers: Tensor = decoder(x, spans, memory, MEMORY, memory_positions=positions, causal=True)
    return layers[-1].view(TEXTS, LENGTH, WIDTH)


def step_by_step(decoder: Decoder, x: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
    """The same, one token of every text after the other."""
    state = start_decoding(
        decoder, memory, MEMORY, max_length=LENGTH + 2, memory_positions=positions
    )
    tokens = x.view(TEXTS, LENGTH, WIDTH).unbind(1)
    return torch.stack([decode_step(decoder, row, state, i) for i, row in enumerate(tokens)], 1)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Texts, memory and its positions."""
    return random_rows(TEXTS * LENGTH, seed=3), random_rows(8), random_rows(8, seed=2)


@pytest.mark.parametrize("norm_first", [False, True])
def test_step_by_step_equals_the_causal_pass(norm_first: bool) -> None:
    decoder = small_decoder(norm_first=norm_first)
    got = step_by_step(decoder, *inputs())
    torch.testing.assert_close(got, whole_pass(decoder, *inputs()).detach())
    assert not got.requires_grad


@pytest.mark.parametrize("wrap", [torch.compile, checkpoint_wrapper])
def test_wrapped_layers_are_not_passed_over(wrap: Callable[[nn.Module], nn.Module]) -> None:
    decoder = small_decoder()
    expected = step_by_step(decoder, *inputs())
    for number, layer in enumerate(decoder.layers):
        decoder.layers[number] = wrap(layer)
    torch.testing.assert_close(step_by_step(decoder, *inputs()), expected)


def test_no_gradients_are_kept() -> None:
    decoder, (x, memory, positions) = small_decoder(), inputs()
    state = start_decoding(decoder, memory, MEMORY, max_length=LENGTH, memory_positions=positions)
    assert not decode_step(decoder, x[:TEXTS], state, 0).requires_grad
    for cache in state.layers:
        assert not cache.memory.requires_grad
        assert not cache.written.requires_grad


def test_dropout_is_on_in_training_mode_only() -> None:
    decoder = small_decoder(dropout=0.5)
    first, second = (step_by_step(decoder, *inputs()) for _ in range(2))
    assert not torch.equal(first, second)
    decoder.eval()
    torch.testing.assert_close(
        step_by_step(decoder, *inputs()), whole_pass(decoder, *inputs()).detach()
    )


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (-1, "token -1 after 2 of at most 4, expected 0 to 2"),
        (3, "token 3 after 2 of at most 4, expected 0 to 2"),
    ],
)
def test_only_the_next_token_or_a_written_one_is_taken(index: int, said: str) -> None:
    decoder, (x, memory, _) = small_decoder(), inputs()
    state = start_decoding(decoder, memory, MEMORY, max_length=4)
    first = decode_step(decoder, x[:TEXTS], state, 0)
    decode_step(decoder, x[TEXTS : 2 * TEXTS], state, 1)
    with pytest.raises(ValueError, match=said):
        decode_step(decoder, x[:TEXTS], state, index)
    torch.testing.assert_close(decode_step(decoder, x[:TEXTS], state, 0), first)


def test_no_token_is_taken_beyond_the_longest_text() -> None:
    decoder, (x, memory, _) = small_decoder(), inputs()
    state = start_decoding(decoder, memory, MEMORY, max_length=2)
    for index in range(2):
        decode_step(decoder, x[:TEXTS], state, index)
    with pytest.raises(ValueError, match="token 2 after 2 of at most 2, expected 0 to 1"):
        decode_step(decoder, x[:TEXTS], state, 2)


def test_rows_and_lengths_that_do_not_fit_are_refused() -> None:
    decoder, (x, memory, _) = small_decoder(), inputs()
    with pytest.raises(ValueError, match="received max_length 0, expected 1 or more"):
        start_decoding(decoder, memory, MEMORY, max_length=0)
    state = start_decoding(decoder, memory, MEMORY, max_length=2)
    with pytest.raises(
        ValueError, match=r"received x of shape \(2, 12\), expected \(3, D\), one row"
    ):
        decode_step(decoder, x[:2], state, 0)


# Beams

BEAMS = 3
FOLLOWED = torch.tensor(  # of each text and step, the beams that the three go on from
    [[[0, 0, 0], [0, 0, 1], [2, 0, 1]], [[0, 0, 0], [1, 1, 1], [2, 1, 0]], [[0, 0, 0]] * 3]
).transpose(0, 1)


def written_by_beams(
    decoder: Decoder, tokens: list[Tensor], memory: Tensor, positions: Tensor
) -> tuple[list[Tensor], DecodingState]:
    """Rows (S B, D) of each step, and the state behind the last one."""
    state = start_decoding(
        decoder, memory, MEMORY, max_length=6, num_beams=BEAMS, memory_positions=positions
    )
    beams = [None, *FOLLOWED]
    rows = [decode_step(decoder, x, state, i, beams=beams[i]) for i, x in enumerate(tokens)]
    return rows, state


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_beam_goes_on_from_the_tokens_of_the_one_it_follows(norm_first: bool) -> None:
    decoder = small_decoder(norm_first=norm_first)
    memory, positions = random_rows(8), random_rows(8, seed=2)
    tokens = [random_rows(TEXTS * BEAMS, seed=5 + i) for i in range(4)]
    rows, _ = written_by_beams(decoder, tokens, memory, positions)

    of_beams = [x.view(TEXTS, BEAMS, WIDTH) for x in tokens]
    for text in range(TEXTS):
        for beam in range(BEAMS):
            # Its tokens, from the last one back.
            path, at = [of_beams[3][text, beam]], beam
            for step in (2, 1, 0):
                at = int(FOLLOWED[step][text, at])
                path.insert(0, of_beams[step][text, at])
            start = int(MEMORY.cu_seqlens[text])
            own = slice(start, start + MEMORY.lengths[text])
            expected = decoder(
                torch.stack(path),
                Spans.uniform(1, 4, memory.device),
                memory[own],
                Spans.uniform(1, MEMORY.lengths[text], memory.device),
                memory_positions=positions[own],
                causal=True,
            )[-1, -1]
            got = rows[3][text * BEAMS + beam]
            torch.testing.assert_close(got, expected.detach(), rtol=0, atol=1e-12)


def test_beams_move_no_keys_and_share_those_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = small_decoder()
    memory, positions = random_rows(8), random_rows(8, seed=2)
    tokens = [random_rows(TEXTS * BEAMS, seed=5 + i) for i in range(4)]
    _, before = written_by_beams(decoder, tokens[:3], memory, positions)
    _, after = written_by_beams(decoder, tokens, memory, positions)
    for short, long in zip(before.layers, after.layers, strict=True):
        assert torch.equal(short.written[:, :3], long.written[:, :3])
        assert (long.written[:, 3] != 0).any()
        assert (long.written[:, 4:] == 0).all()
        assert long.memory.shape == (8, 2, 3, 4)
    projected = []
    for layer in decoder.layers:
        attention = layer.cross_attention
        project = attention.project_memory
        count = lambda *rows, project=project: (projected.append(len(rows[0])), project(*rows))[1]
        monkeypatch.setattr(attention, "project_memory", count)
    written_by_beams(decoder, tokens, memory, positions)
    assert projected == [8] * len(decoder.layers)


def test_beams_without_a_word_on_whom_they_follow_go_on_by_themselves() -> None:
    decoder, (x, memory, positions) = small_decoder(), inputs()
    alone = step_by_step(decoder, x, memory, positions)
    state = start_decoding(
        decoder, memory, MEMORY, max_length=LENGTH, num_beams=2, memory_positions=positions
    )
    for i, row in enumerate(x.view(TEXTS, LENGTH, WIDTH).unbind(1)):
        out = decode_step(decoder, row.repeat_interleave(2, 0), state, i)
        torch.testing.assert_close(out, alone[:, i].repeat_interleave(2, 0))


def test_beams_that_do_not_fit_are_refused() -> None:
    decoder, (x, memory, _) = small_decoder(), inputs()
    with pytest.raises(ValueError, match="received num_beams 0, expected 1 or more"):
        start_decoding(decoder, memory, MEMORY, max_length=2, num_beams=0)
    state = start_decoding(decoder, memory, MEMORY, max_length=2, num_beams=2)
    with pytest.raises(ValueError, match=r"x of shape \(3, 12\), expected \(6, D\), one row"):
        decode_step(decoder, x[:3], state, 0)
    for beams in (torch.zeros(6, dtype=torch.int64), torch.zeros(3, 2)):
        with pytest.raises(ValueError, match=r"received beams .*, expected \(3, 2\) of"):
            decode_step(decoder, x[:6], state, 0, beams=beams)


def test_spans_are_made_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    uniform = Spans.uniform

    def counted(*sizes: Any) -> Spans:
        made.append(sizes)
        return uniform(*sizes)

    decoder, (x, memory, _) = small_decoder(), inputs()
    state = start_decoding(decoder, memory, MEMORY, max_length=2)
    monkeypatch.setattr(Spans, "uniform", counted)
    decode_step(decoder, x[:TEXTS], state, 0)
    assert len(made) == 2

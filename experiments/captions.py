"""What the captions of a batch take: beam search here, in transformers, and without a cache.

    python experiments/captions.py --pictures 8 --words 20

One thread, float32, random weights, pictures of 25 x 20 cells whose memory is given. The decoders
have the sizes of `e2e_vlp_r50_6`: six layers, width 256, 8 heads, 30,522 words; transformers' is
BART's, whose memory is the output of an encoder. No text ends, so that all are of one length. The
ways take turns; the least CPU time of each is printed, which other work disturbs least.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vlp_fast.layers.beam_search import beam_search
from vlp_fast.models.config import E2EVLPConfig
from vlp_fast.models.e2e_vlp import E2EVLP, build_e2e_vlp
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing, select_sequences

CELLS = (25, 20)
START, END, BEAMS, ALPHA = 101, 102, 4, 0.9
NEVER = -1e4  # added to the logit of the end


class WholePasses:
    """A language model that reads all texts anew for each word."""

    def __init__(self, model: E2EVLP, memory: Tensor, pictures: int) -> None:
        self.model, self.memory, self.pictures = model, memory, pictures
        self.grid = make_grid([CELLS] * pictures, CELLS)
        self.packing = make_packing([0] * pictures, range(pictures), self.grid)

    def start(self, *, num_beams: int, max_length: int) -> tuple[Tensor, Tensor]:
        """Each beam has a copy of its picture's memory."""
        each = [picture for picture in range(self.pictures) for _ in range(num_beams)]
        rows, self.of_beams = select_sequences(self.packing, each)
        self.copies = self.memory[rows]
        texts = torch.full((self.pictures, num_beams, 1), START)
        return self.logits(texts), texts

    def step(self, tokens: Tensor, state: Tensor, beams: Tensor | None) -> tuple[Tensor, Tensor]:
        """The texts themselves are all that is kept."""
        if beams is not None:
            state = state.gather(1, beams[..., None].expand_as(state))
        state = torch.cat([state, tokens[..., None]], dim=2)
        return self.logits(state), state

    def logits(self, texts: Tensor) -> Tensor:
        """Scores all words of all texts, of which the last is used."""
        ids = texts.flatten(0, 1)
        captions = make_packing([ids.shape[1]] * len(ids), [-1] * len(ids), None)
        logits = self.model.caption_logits(
            ids.flatten(), captions, self.copies, self.grid, self.of_beams
        )
        return logits.view(*texts.shape, -1)[:, :, -1]


def ours(pictures: int, words: int) -> dict[str, Callable[[], Any]]:
    """Beam search with the cache and without."""
    model = build_e2e_vlp(E2EVLPConfig(vocab_size=30_522)).eval()
    with torch.no_grad():
        model.caption_head.bias[END] = NEVER  # type: ignore[index]
    uncached = WholePasses(model, torch.randn(pictures * CELLS[0] * CELLS[1], 256), pictures)
    writer = model.writer(uncached.memory, uncached.grid, uncached.packing, start_id=START)
    search = {"end_id": END, "max_length": words, "num_beams": BEAMS, "alpha": ALPHA}
    same = beam_search(writer, **search).ids, beam_search(uncached, **search).ids
    print(f"texts that are the same without a cache: {(same[0] == same[1]).all(1).sum()}")
    return {
        "vlp_fast": lambda: beam_search(writer, **search),
        "vlp_fast, no cache": lambda: beam_search(uncached, **search),
    }


def transformers(pictures: int, words: int) -> Callable[[], Any]:
    """BART's decoder of the same sizes."""
    from transformers import BartConfig, BartForConditionalGeneration
    from transformers.modeling_outputs import BaseModelOutput

    sizes = {"d_model": 256, "decoder_layers": 6, "decoder_attention_heads": 8}
    sizes |= {"decoder_ffn_dim": 2048, "vocab_size": 30_522, "encoder_layers": 1}
    ids = {"decoder_start_token_id": START, "bos_token_id": START, "eos_token_id": END}
    ids |= {"pad_token_id": 0, "forced_eos_token_id": None}
    model = BartForConditionalGeneration(BartConfig(**sizes, **ids)).eval()
    model.final_logits_bias[:, END] = NEVER
    memory = BaseModelOutput(last_hidden_state=torch.randn(pictures, CELLS[0] * CELLS[1], 256))
    options = {"num_beams": BEAMS, "do_sample": False, "length_penalty": ALPHA}
    length = {"max_new_tokens": words, "min_new_tokens": words}
    run = lambda: model.generate(encoder_outputs=memory, **options, **length)
    assert run().shape == (pictures, 1 + words)
    return run


def main() -> None:
    """Take turns and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ways = ours(options.pictures, options.words)
    ways["transformers"] = transformers(options.pictures, options.words)
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(options.turns):
        for name, run in ways.items():
            start = time.process_time()
            run()
            least[name] = min(least[name], time.process_time() - start)
    for name, seconds in least.items():
        print(f"{name:20} {seconds:7.2f} CPU s   {seconds / least['vlp_fast']:5.2f} times")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()

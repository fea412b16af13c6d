"""BLEU, ROUGE-L and CIDEr-D: recorded values of the official code, and the definitions."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_fast.metrics.caption.bleu import bleu
from vlp_fast.metrics.caption.caption_score import judge
from vlp_fast.metrics.caption.cider import cider_d, document_frequencies
from vlp_fast.metrics.caption.corpus import Corpus, Judged, grams
from vlp_fast.metrics.caption.ptb_tokenizer import tokenised
from vlp_fast.metrics.caption.rouge import common_length, rouge_l

GOLDEN = json.loads(Path(__file__).with_name("golden_scores.json").read_bytes())
NAMES = {f"bleu {n}": f"Bleu_{n}" for n in range(1, 5)} | {"rouge l": "ROUGE_L", "cider": "CIDEr"}


def drawn(seed: int, images: int = 12) -> Corpus:
    """Sentences of few words, so that n-grams repeat; some are empty."""
    draw = np.random.default_rng(seed)
    text = lambda: " ".join(draw.choice(list("abcde"), size=draw.integers(0, 9)))
    return Corpus(
        [text() for _ in range(images)],
        [[text() for _ in range(draw.integers(1, 5))] for _ in range(images)],
    )


def near(judged: Judged, values: list[float]) -> None:
    np.testing.assert_allclose([judged.corpus, *judged.images], values, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> dict[str, Any]:
    found = json.loads((shared_data / "metrics/caption_fakecap_x_val2017.json").read_bytes())
    assert isinstance(found, dict)
    return found


def corpus_of(oracle: dict[str, Any], kind: str) -> Corpus:
    ids = [str(image_id) for image_id in oracle["image_ids"]]
    return Corpus(
        [oracle[f"res_{kind}"][i][0] for i in ids], [oracle[f"gts_{kind}"][i] for i in ids]
    )


def test_real_captions_score_as_by_the_official_code(oracle: dict[str, Any]) -> None:
    found = judge(corpus_of(oracle, "tokenized"))
    assert next(iter(found)) == "cider"
    assert found.keys() == NAMES.keys()
    for name, official in NAMES.items():
        near(found[name], [oracle["scores"][official], *oracle["per_image"][official]])


def test_raw_captions_score_alike(oracle: dict[str, Any]) -> None:
    raw = corpus_of(oracle, "raw")
    tokens = Corpus(
        [tokenised(text) for text in raw.candidates],
        [[tokenised(text) for text in texts] for texts in raw.references],
    )
    assert cider_d(tokens).corpus == pytest.approx(oracle["scores"]["CIDEr"], abs=1e-12)
    assert abs(cider_d(raw).corpus - oracle["scores"]["CIDEr"]) > 0.01  # tokens matter


@pytest.mark.parametrize("case", GOLDEN)
def test_recorded_values(case: str) -> None:
    recorded = GOLDEN[case]
    for name, judged in judge(Corpus(recorded["captions"], recorded["references"])).items():
        near(judged, recorded[name])


@pytest.mark.parametrize("seed", range(4))
def test_bleu_by_its_definition(seed: int) -> None:
    corpus = drawn(seed)
    totals = np.zeros((4, 2))
    lengths = np.zeros(2)
    for caption, references in zip(corpus.candidates, corpus.references, strict=True):
        words, others = caption.split(), [text.split() for text in references]
        closest = sorted(map(len, others), key=lambda n: (abs(n - len(words)), n))[0]
        lengths += (len(words), closest)
        for n in range(1, 5):
            own, *rest = (
                Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1))
                for w in (words, *others)
            )
            best = Counter[tuple[str, ...]]()
            for other in rest:
                best |= other
            totals[n - 1] += ((own & best).total(), own.total())
    precision = (totals[:, 0] + 1e-15) / (totals[:, 1] + 1e-9)
    brevity = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    for n, judged in enumerate(bleu(corpus), 1):
        expected = brevity * math.prod(precision[:n]) ** (1 / n)
        assert judged.corpus == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_rouge_l_by_its_definition(seed: int) -> None:
    corpus = drawn(seed)
    expected = []
    for caption, references in zip(corpus.candidates, corpus.references, strict=True):
        words = caption.split(" ")
        common = [(longest_common(words, text.split(" ")), text.split(" ")) for text in references]
        precision = max(n / len(words) for n, _ in common)
        recall = max(n / len(other) for n, other in common)
        both = precision * recall > 0
        expected.append(2.44 * precision * recall / (recall + 1.44 * precision) if both else 0.0)
    near(rouge_l(corpus), [float(np.mean(expected)), *expected])


def longest_common(first: list[str], second: list[str]) -> int:
    if not first or not second:
        return 0
    if first[-1] == second[-1]:
        return 1 + longest_common(first[:-1], second[:-1])
    return max(longest_common(first[:-1], second), longest_common(first, second[:-1]))


def test_the_longest_common_subsequence_of_long_texts() -> None:
    words = [str(i) for i in range(300)]
    assert common_length(words, words) == 300
    assert common_length(words, words[::-1]) == 1
    assert common_length(words[::2], words[::3]) == 50
    assert common_length([], words) == common_length(words, []) == 0


@pytest.mark.parametrize("seed", range(4))
def test_cider_d_by_its_definition(seed: int) -> None:
    corpus = drawn(seed)
    expected = []
    for caption, references in zip(corpus.candidates, corpus.references, strict=True):
        total = 0.0
        for reference in references:
            for n in range(1, 5):
                vocabulary = ngrams(caption, n) | ngrams(reference, n)
                own = np.array([weight(g, ngrams(caption, n), corpus) for g in vocabulary])
                other = np.array([weight(g, ngrams(reference, n), corpus) for g in vocabulary])
                norms = np.linalg.norm(own) * np.linalg.norm(other)
                cosine = np.minimum(own, other) @ other / norms if norms else 0.0
                difference = ngrams(caption, 2).total() - ngrams(reference, 2).total()
                total += cosine * math.exp(-(difference**2) / 72)
        expected.append(10 * total / 4 / len(references))
    near(cider_d(corpus), [float(np.mean(expected)), *expected])


def ngrams(text: str, n: int) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def weight(gram: tuple[str, ...], counts: Counter[tuple[str, ...]], corpus: Corpus) -> float:
    holding = sum(any(gram in ngrams(t, len(gram)) for t in texts) for texts in corpus.references)
    return counts[gram] * math.log(len(corpus) / max(1, holding))


def test_cider_of_a_perfect_caption() -> None:
    texts = ["a man rides a horse", "two red cars", "rain", "the cat sleeps on it all day"]
    images = cider_d(Corpus(texts, [[text] for text in texts])).images
    np.testing.assert_allclose(images, [10, 7.5, 2.5, 10])  # 4, 3 and 1 of the four lengths
    assert cider_d(Corpus(texts[:1], [texts[:1]])).corpus == 0  # log 1


def test_references_that_come_twice_change_no_cider() -> None:
    corpus = drawn(5)
    twice = Corpus(corpus.candidates, [texts * 2 for texts in corpus.references])
    near(cider_d(twice), [cider_d(corpus).corpus, *cider_d(corpus).images])


def test_frequencies_of_other_images() -> None:
    corpus, others = drawn(6), drawn(7, images=40)
    known = document_frequencies(others.reference_grams)
    assert (known.num_images, known.counts["a"]) == (
        40,
        sum(any("a" in text for text in texts) for texts in others.references),
    )
    own = document_frequencies(corpus.reference_grams)
    np.testing.assert_array_equal(cider_d(corpus, own).images, cider_d(corpus).images)
    assert abs(cider_d(corpus, known).corpus - cider_d(corpus).corpus) > 0.01


def test_n_grams_of_a_text() -> None:
    one, two, three, four = grams("a b a b")
    assert (one, two) == ({"a": 2, "b": 2}, {("a", "b"): 2, ("b", "a"): 1})
    assert (three.total(), four.total()) == (2, 1)
    assert [found.total() for found in grams("a")] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("captions", "references", "expected"),
    [
        ([], [], "received 0 captions and references of 0 images"),
        (["a"], [["a"], ["b"]], "received 1 captions and references of 2 images"),
        (["a", "b"], [["a"], []], r"received \[\] as references of caption 1"),
        (["a"], ["a cat"], "received 'a cat' as references of caption 0"),
    ],
)
def test_captions_without_references(captions: Any, references: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Corpus(captions, references)

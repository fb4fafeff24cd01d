from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils.data import DataLoader

from hotlap.errors import ConfigError
from hotlap.workloads.apt.dataset import Padding, Pairs
from hotlap.workloads.apt.pairs import Pair
from hotlap.workloads.apt.vocabulary import BOS, EOS, PAD, Vocabulary

PAIRS = [Pair(f"c{i}", "[EN]", "abcdefghij"[: 1 + i % 10], "甲乙丙丁"[: 1 + i % 4]) for i in range(30)]
VOCABULARY = Vocabulary.of(PAIRS)
DATASET = Pairs(PAIRS, VOCABULARY)


def test_a_sample_is_its_pair() -> None:
    """The source ends with EOS, the target stands between BOS and EOS."""
    source, target = DATASET[7]
    assert VOCABULARY.decode(source.tolist()) == PAIRS[7].prompt
    assert VOCABULARY.decode(target.tolist()) == PAIRS[7].target
    assert (source[-1], target[0], target[-1]) == (EOS, BOS, EOS)


def test_a_sample_depends_on_its_number_alone() -> None:
    """The same pair in every epoch, and no draw from the global generator."""
    state = torch.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(DATASET[7], DATASET[7 + 5 * len(DATASET)], strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_the_documents_padding_is_64_for_input_and_labels() -> None:
    source, target = Padding()([DATASET[0], DATASET[9]])
    assert source.shape == (2, 64)
    assert target[:, :-1].shape == target[:, 1:].shape == (2, 64)
    assert (source[0, len(DATASET[0][0]) :] == PAD).all()


def test_padding_to_the_longest_adds_nothing_to_it() -> None:
    source, target = Padding(None)([DATASET[0], DATASET[9]])
    assert source.shape[1] == max(len(DATASET[0][0]), len(DATASET[9][0]))
    assert target.shape[1] == max(len(DATASET[0][1]), len(DATASET[9][1]))


def test_a_pair_that_is_too_long_is_refused() -> None:
    """It is not cut off without a word."""
    pairs = [Pair("a", "[EN]", "a" * 61, "b"), Pair("b", "[EN]", "a" * 62, "b")]
    with pytest.raises(ConfigError, match=r"'\[EN\] a{62}' -> 'b' has 65 tokens, and max_length is 64"):
        Pairs(pairs, Vocabulary.of(pairs))
    Pairs(pairs[:1], Vocabulary.of(pairs))


def test_batches_of_likes_need_less_padding() -> None:
    """Every batch holds neighbours in length, each pair comes once, and the batches are not in the order of lengths."""
    alike = Pairs(PAIRS, VOCABULARY, by_length=True)
    order = alike.grouped(list(range(29, -1, -1)), 5, torch.Generator().manual_seed(0))
    assert sorted(order) == list(range(30))
    lengths = [sum(map(len, alike[number])) for number in order]
    spans = [(min(lengths[i : i + 5]), max(lengths[i : i + 5])) for i in range(0, 30, 5)]
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(sorted(spans)))
    assert spans != sorted(spans)
    assert DATASET.grouped([3, 1, 2], 2, torch.Generator()) == [3, 1, 2]


@pytest.mark.parametrize("pad_to", [None, 64])
def test_on_the_device_are_the_loaders_batches(pad_to: int | None) -> None:
    """Same pairs, same order, same shape, of a later epoch too, with a smaller batch at the end."""
    pairs = Pairs(PAIRS, VOCABULARY, pad_to=pad_to, whole_set=True)
    numbers = [[60, 77, 89], [61, 62, 63], [64, 65]]
    loaded = list(DataLoader(pairs, batch_sampler=numbers, collate_fn=pairs.collate))
    batches = pairs.on_device(torch.device("cpu"))
    assert batches is not None
    there = list(batches(numbers))
    assert len(loaded) == len(there) == 3
    for expected, batch in zip(loaded, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(expected, batch, strict=True))
    assert DATASET.on_device(torch.device("cpu")) is None

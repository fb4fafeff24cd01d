from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hotlap.workloads.apt.decode import beam, character_error_rate, edit_distance, exact_match, greedy
from hotlap.workloads.apt.model import APT, Writer
from hotlap.workloads.apt.vocabulary import BOS, EOS, PAD

WORDS = st.text("abc", max_size=6)


@functools.cache
def naive(first: str, second: str) -> int:
    """The definition, without a table."""
    if not first or not second:
        return len(first) + len(second)
    if first[0] == second[0]:
        return naive(first[1:], second[1:])
    return 1 + min(naive(first[1:], second), naive(first, second[1:]), naive(first[1:], second[1:]))


@given(WORDS, WORDS)
def test_edit_distance_is_that_of_its_definition(first: str, second: str) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == naive(first, second)


@given(st.lists(st.tuples(WORDS, st.text("abc", min_size=1, max_size=6)), min_size=1, max_size=5))
def test_character_error_rate_counts_edits_per_reference_character(pairs: list[tuple[str, str]]) -> None:
    texts, references = zip(*pairs, strict=True)
    edits = sum(naive(*pair) for pair in pairs)
    assert character_error_rate(texts, references) == edits / len("".join(references))


def test_quality_of_known_texts() -> None:
    assert exact_match(["自行车", "汽车", ""], ["自行车", "火车", "车"]) == pytest.approx(1 / 3)
    assert character_error_rate(["自行车", "汽车", ""], ["自行车", "火车", "车"]) == pytest.approx(2 / 6)
    assert character_error_rate(["很长很长"], ["车"]) == 4


@pytest.fixture
def model() -> Any:
    """Untrained, but not repeating itself as a fresh model does: texts end at different places."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    model = APT(vocabulary_size=9, d_model=16, layers=1, heads=2, d_hidden=32, dropout=0.5, length=8).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    yield model
    torch.set_rng_state(state)


SOURCES = torch.tensor([[4, 5, EOS, PAD], [6, EOS, PAD, PAD], [7, 8, 4, EOS], [5, 5, EOS, PAD]])


def test_beam_of_width_1_is_greedy(model: APT) -> None:
    assert torch.equal(beam(model, SOURCES, width=1), greedy(model, SOURCES))


def test_greedy_takes_the_best_at_each_step(model: APT) -> None:
    """Feeding back what came out, without padding, gives each token again; after EOS there is only padding."""
    texts = greedy(model, SOURCES)
    ends = set()
    for source, text in zip(SOURCES, texts, strict=True):
        end = text.tolist().index(EOS) if EOS in text else len(text)
        ends.add(end)
        assert (text[end + 1 :] == PAD).all()
        for place, token in enumerate(text[: end + 1].tolist()):
            so_far = torch.cat([torch.tensor([BOS]), text[:place]])
            scores = model(source[source != PAD][None], so_far[None])[0, -1]
            scores[[PAD, BOS]] = -torch.inf
            assert token == int(scores.argmax())
    assert len(ends) > 1


@pytest.mark.parametrize("decode", [greedy, functools.partial(beam, width=3)], ids=["greedy", "beam"])
def test_a_row_does_not_depend_on_its_batch(model: APT, decode: Any) -> None:
    together = decode(model, SOURCES)
    for source, text in zip(SOURCES, together, strict=True):
        alone = decode(model, source[source != PAD][None])[0]
        assert text[: len(alone)].tolist() == alone.tolist()
        assert (text[len(alone) :] == PAD).all()


@pytest.mark.parametrize(("width", "length"), [(400, 3), (7, 2)])
def test_a_wide_beam_finds_the_likeliest_text(model: APT, width: int, length: int) -> None:
    """Against every text of at most so many tokens; the second width has room for each beginning just once."""
    memory, mask = model.encode(SOURCES)
    going_on = [token for token in range(9) if token not in (PAD, BOS, EOS)]
    texts = [(*text, EOS) for size in range(length) for text in itertools.product(going_on, repeat=size)]
    texts += itertools.product(going_on, repeat=length)
    best: list[tuple[float, tuple[int, ...]]] = [(-torch.inf, ())] * len(SOURCES)
    for text in texts:
        target = torch.tensor([[BOS, *text[:-1]]] * len(SOURCES))
        scores = model.scores(model.decode(target, memory, mask))
        scores[..., [PAD, BOS]] = -torch.inf
        likelihood = scores.log_softmax(-1)[:, range(len(text)), list(text)].sum(-1).tolist()
        best = [max(old, (new, text)) for old, new in zip(best, likelihood, strict=True)]
    found = beam(model, SOURCES, width=width, length=length)
    for text, (_, expected) in zip(found.tolist(), best, strict=True):
        assert tuple(text[: len(expected)]) == expected
        assert set(text[len(expected) :]) <= {PAD}
    assert found.tolist() != greedy(model, SOURCES, length=length).tolist()


def test_decoding_ends_at_the_longest_length(model: APT) -> None:
    """Of the caller, and of the model."""
    with torch.no_grad():
        model.embedding.weight[EOS] = -10 * model.decode(torch.tensor([[BOS]]), *model.encode(SOURCES[:1]))[0, 0]
    assert greedy(model, SOURCES[:1], length=5).shape == (1, 5)
    assert beam(model, SOURCES[:1], length=5).shape == (1, 5)
    assert greedy(model, SOURCES[:1], length=50).shape == (1, 8)


def test_what_is_kept_of_a_text_gives_the_scores_of_the_whole(model: APT) -> None:
    """Token by token."""
    memory, mask = model.encode(SOURCES)
    writer = Writer(model, memory, mask)
    texts = torch.tensor([[BOS], [BOS], [BOS], [BOS]])
    for step in range(6):
        scores = writer.scores(texts[:, -1])
        whole = model.scores(model.decode(texts, memory, mask)[:, -1])
        torch.testing.assert_close(scores, whole)
        assert scores.std() > 0.1
        texts = torch.cat([texts, torch.tensor([[4 + step % 5], [5], [6 + step % 3], [8]])], dim=1)


def test_rows_that_follow_others(model: APT) -> None:
    """Two beginnings of one source, of which the second goes on twice."""
    source = SOURCES[[0, 0]]
    memory, mask = model.encode(source)
    writer = Writer(model, memory, mask)
    writer.scores(torch.tensor([BOS, BOS]))
    writer.scores(torch.tensor([4, 5]))
    writer.choose(torch.tensor([1, 1]))
    scores = writer.scores(torch.tensor([6, 7]))
    whole = model.scores(model.decode(torch.tensor([[BOS, 5, 6], [BOS, 5, 7]]), memory, mask)[:, -1])
    torch.testing.assert_close(scores, whole)

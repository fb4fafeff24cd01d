from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict

import pytest

from hotlap.errors import ConfigError
from hotlap.workloads.apt.pairs import CONCEPTS, HELD_OUT, TAGS, Pair, real_pairs, split


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return real_pairs()


def test_training_has_the_documents_600_pairs(pairs: list[Pair]) -> None:
    """What is held out comes on top of them."""
    training, held_out = split(pairs)
    assert len(pairs) == CONCEPTS * len(TAGS)
    assert (len(training), len(held_out)) == (600, HELD_OUT)


def test_every_concept_has_all_levels(pairs: list[Pair]) -> None:
    """Each concept gives one pair for each tag, all to the same Chinese name."""
    by_concept: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_concept[pair.concept].append(pair)
    for concept, its in by_concept.items():
        assert [pair.tag for pair in its] == list(TAGS.values())
        assert {pair.target for pair in its} == {concept}


def test_names_are_in_their_own_script(pairs: list[Pair]) -> None:
    """An emoji is one character; the target is Chinese, the Korean name Hangul, and pinyin has a syllable for each."""
    for pair in pairs:
        assert re.fullmatch("[\u4e00-\u9fff]{1,5}", pair.target)
        if pair.tag == "[EMOJI]":
            assert len(pair.source) == 1
        if pair.tag == "[KR]":
            assert re.fullmatch("[\uac00-\ud7a3 ]{1,10}", pair.source)
        if pair.tag == "[PY]":
            assert len(pair.source.split()) == len(pair.target)


def test_a_prompt_has_one_answer(pairs: list[Pair]) -> None:
    """No two concepts share a name in any level: homophones could not be told apart."""
    assert max(Counter(pair.prompt for pair in pairs).values()) == 1


def test_the_choice_depends_on_the_seed_alone(pairs: list[Pair]) -> None:
    """The same seed gives the same concepts and the same division, another seed other ones."""
    assert real_pairs() == pairs
    assert {pair.concept for pair in real_pairs(seed=1)} != {pair.concept for pair in pairs}
    assert set(split(pairs)[1]) == set(split(list(reversed(pairs)))[1])
    assert split(pairs, seed=1)[1] != split(pairs)[1]


def test_fewer_concepts_are_some_of_the_more(pairs: list[Pair]) -> None:
    """A name that changes with a release of the package moves its concept alone, because each has its own rank."""
    assert real_pairs(concepts=10) == pairs[:60]


def test_held_out_concepts_stay_in_training(pairs: list[Pair]) -> None:
    """Each held-out pair is the only one of its concept that is, and never the emoji, which occurs nowhere else."""
    training, held_out = split(pairs)
    assert not set(training) & set(held_out)
    assert set(training) | set(held_out) == set(pairs)
    assert len({pair.concept for pair in held_out}) == len(held_out)
    seen = Counter(pair.concept for pair in training)
    assert {seen[pair.concept] for pair in held_out} == {5}
    assert Counter(pair.tag for pair in held_out) == dict.fromkeys(("[PHRASE]", "[PY]", "[EN]", "[JP]", "[KR]"), 12)


def test_a_pair_that_occurs_twice_is_not_on_both_sides() -> None:
    """A file may repeat itself."""
    pairs = [Pair("sums", "", f"{i} + 1", str(i + 1)) for i in range(24)]
    training, held_out = split(pairs * 2, held_out=4)
    assert (len(training), len(held_out)) == (20, 4)
    assert not set(training) & set(held_out)


def test_too_much_held_out_is_refused(pairs: list[Pair]) -> None:
    """The error says how many can be."""
    with pytest.raises(ConfigError, match=r"held_out is 11, .* only 10 can be held out"):
        split(pairs[:60], held_out=11)


def test_more_concepts_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"concepts is 100000, and emoji has \d+ that suit"):
        real_pairs(concepts=100_000)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypinyin", None)
    with pytest.raises(ConfigError, match="pypinyin, which is not installed"):
        real_pairs()

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from hotlap.workloads.apt.dataset import Padding, Pairs
from hotlap.workloads.apt.pairs import TAGS, Pair
from hotlap.workloads.apt.vocabulary import BOS, EOS, PAD, SPECIAL, UNK, Vocabulary

PAIRS = [Pair(f"c{i}", "[EN]", "abcdefghij"[: 1 + i % 9], "甲乙丙丁"[: 1 + i % 4]) for i in range(24)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_known_text_comes_back(texts: list[str]) -> None:
    """Decoding undoes encoding for every text that the vocabulary was built from, line breaks and tags too."""
    texts = [*texts, "[EN] a\n[PY]b[EN"]
    vocabulary = Vocabulary(texts)
    assert [vocabulary.decode(vocabulary.encode(text)) for text in texts] == texts


def test_a_tag_is_one_token() -> None:
    vocabulary = Vocabulary.of(PAIRS)
    for tag in TAGS.values():
        assert len(vocabulary.encode(tag)) == 1
    assert len(vocabulary.encode("[EN] a")) == 3


def test_the_order_of_the_texts_does_not_matter() -> None:
    """So a vocabulary built again, in another process or from shuffled pairs, gives the same numbers."""
    assert Vocabulary(["ba", "c"]).encode("abc") == Vocabulary(["c", "ab"]).encode("abc")


def test_decoding_ends_at_eos() -> None:
    vocabulary = Vocabulary(["ab"])
    a, b = vocabulary.encode("ab")
    assert vocabulary.decode([BOS, a, PAD, UNK, len(vocabulary) + 5, EOS, b]) == "a\ufffd\ufffd"


def test_asking_does_not_make_it_grow() -> None:
    """An unknown character is UNK, the second time too, and nothing on the object can be set."""
    vocabulary = Vocabulary(["ab"])
    size = len(vocabulary)
    assert vocabulary.encode("éa") == vocabulary.encode("éa") == [UNK, *vocabulary.encode("a")]
    assert len(vocabulary) == size == len(SPECIAL) + len(TAGS) + 2
    assert not hasattr(vocabulary, "__dict__")


def test_workers_give_what_no_worker_gives() -> None:
    """Two real workers meet characters in another order, some of them unknown, and number them as this process does.

    A vocabulary that grows on demand fails here: each worker's copy would number the new characters by itself.
    """
    vocabulary = Vocabulary.of(PAIRS[:9])
    strangers = [Pair(f"s{i}", "[JP]", chr(0x3041 + i), "甲" + chr(0x5000 + i)) for i in range(12)]
    pairs = Pairs([*PAIRS, *strangers], vocabulary)
    batches = {}
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).view(-1, 4).tolist()
    for workers in (0, 2):
        loader = DataLoader(
            pairs,
            batch_sampler=order,
            collate_fn=Padding(None),
            num_workers=workers,
            generator=torch.Generator(),
        )
        batches[workers] = list(loader)
    assert len(batches[0]) == len(batches[2]) == 9
    for here, there in zip(batches[0], batches[2], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    assert any(bool((target == UNK).any()) for _, target in batches[2])
    assert len(vocabulary) == len(Vocabulary.of(PAIRS[:9]))

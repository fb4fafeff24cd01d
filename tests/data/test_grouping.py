"""Orders that put like samples beside each other leave nothing out, and are the same on all ranks."""

from __future__ import annotations

import pytest
import torch

from hotlap.data import GroupedSampler, alike

#: Six sequences of different lengths.
SEQUENCES = [name for name, clips in zip("abcdef", (5, 9, 7, 3, 8, 4), strict=True) for _ in range(clips)]


def groups(order: list[int]) -> list[set[str]]:
    """Sequences in the order in which they come together."""
    found: list[set[str]] = []
    for number in order:
        if not found or (SEQUENCES[number] not in found[-1] and len(found[-1]) == 2):
            found.append(set())
        found[-1].add(SEQUENCES[number])
    return found


def test_two_sequences_at_a_time() -> None:
    """Every clip once, those of two sequences mixed, other ones together in another epoch."""
    sampler = GroupedSampler(SEQUENCES, 2, num_replicas=1, rank=0)
    orders = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(36))
        assert len(groups(orders[-1])) == 3
    assert len({str(groups(order)) for order in orders}) > 1
    changes = sum(SEQUENCES[one] != SEQUENCES[other] for one, other in zip(orders[0], orders[0][1:], strict=False))
    assert changes > 9, "the sequences follow each other"
    assert list(GroupedSampler(SEQUENCES, 2, num_replicas=1, rank=0)) == orders[0]
    assert list(GroupedSampler(SEQUENCES, 2, seed=1, num_replicas=1, rank=0)) != orders[0]


@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_have_the_same_sequences_and_as_many_clips(drop_last: bool) -> None:
    parts = [list(GroupedSampler(SEQUENCES[:-1], num_replicas=4, rank=rank, drop_last=drop_last)) for rank in range(4)]
    assert {len(part) for part in parts} == {8 if drop_last else 9}
    together = [number for row in zip(*parts, strict=True) for number in row]
    assert len(set(together)) == (32 if drop_last else 35)
    assert len(groups(together[:32])) == 3


def test_a_rank_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no rank 2 among 2"):
        GroupedSampler(SEQUENCES, num_replicas=2, rank=2)
    with pytest.raises(ValueError, match="at least 1"):
        GroupedSampler(SEQUENCES, 0)


def test_batches_of_like_length() -> None:
    lengths = torch.randint(1, 50, (103,), generator=torch.Generator().manual_seed(0)).tolist()
    order = alike(list(range(103)), lengths, 10, torch.Generator().manual_seed(0))
    assert sorted(order) == list(range(103))
    spread = [max(part) - min(part) for i in range(0, 100, 10) for part in [[lengths[n] for n in order[i : i + 10]]]]
    assert max(spread) < 12
    firsts = [lengths[order[i]] for i in range(0, 100, 10)]
    assert firsts != sorted(firsts), "batches come by length"

"""What a search keeps of a change, by pairs of blocks that are made up."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from hotlap.records import Change
from hotlap.tune import screening
from hotlap.tune.disturbances import Block, BlockPair
from hotlap.tune.screening import Wanted, screen

CHANGE = Change(name="fast", value="1", title="", numerics="rounding")


class Made:
    """An arm with a process of its own, and how often that was started anew."""

    def __init__(self, changes: list[Change]) -> None:
        self.host, self.changes, self.training, self.first_step = self, changes, None, None
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def warm(self) -> None: ...

    def block(self, seconds: float, steps: int) -> None: ...

    def so_far(self) -> Any:
        return SimpleNamespace(unapplied=[])

    def curve(self) -> list[float | None]:
        return []


def pair(number: int, ratio: float) -> BlockPair:
    a, b = (Block(throughput=each, seconds=0.5, step=0.01, longest=0.01) for each in (1.0, ratio))
    return BlockPair(number=number, a=a, b=b)


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        ([1.3, 1.31, 1.29, 1.3], True),
        ([1.3, 1.31, 0.98, 1.3], True),
        ([1.06, 1.05, 0.97, 0.98], False),
        ([1.2, 1.2, 0.97, 0.98], False),
    ],
    ids=["the same again", "but for one pair", "hardly", "half of it"],
)
def test_what_one_launch_likes_another_has_to_like_too(
    monkeypatch: pytest.MonkeyPatch, second: list[float], kept: bool
) -> None:
    """What differs between launches is alike in all blocks of one, so the blocks of both decide together."""
    arms = {False: Made([]), True: Made([CHANGE])}
    bench: Any = SimpleNamespace(arm=lambda changes: arms[bool(changes)])
    ratios = [1.3, 1.32, 1.28, 1.31, *second]
    monkeypatch.setattr(
        screening,
        "measure_blocks",
        lambda a, b, count, begun: [pair(n, ratios[n]) for n in range(begun, begun + count)],
    )
    monkeypatch.setattr(screening, "warm_by", lambda arm, latest: None)
    wanted = Wanted(least_gain=0.02, least_live_gain=0.02, losses=None)
    trial = screen(bench, [], [CHANGE], wanted, lambda: 100.0, math.inf)
    assert [arm.closed for arm in arms.values()] == [1, 1]
    assert trial.effect is not None
    assert trial.effect.n == 8
    assert (trial.kept, trial.judgement) == ((True, "faster") if kept else (False, "unclear"))
    assert kept or trial.why == "faster in one launch, and not surely in another"

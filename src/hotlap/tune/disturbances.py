"""What disturbed a measurement: drift, stalls, other load, launches of two speeds; each detected, and named.

    blocks of A and B, with what the kernel says of each ──> sentences for the result's warnings
                                                        └──> which pairs of blocks are set apart

A sentence changes no verdict. Setting a pair apart might, so it is bound to a rule that cannot favour an arm: see
``stalled`` and ``statistics.kept``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, median, pstdev

import msgspec
from scipy import special

from hotlap.launch.load import Held
from hotlap.records import UNCOUNTED, Step

#: A stall is a step that is this many times the median one of its block, and takes this share of the block's seconds.
STALL_STEPS = 5.0
STALL_SHARE = 0.2
#: From here on the machine's speed has changed, where the order in time is one that chance gives this seldom.
DRIFT = 0.1
DRIFT_CHANCE = 0.01
#: Pairs that it takes to speak of a drift, and launches to speak of two speeds.
FEWEST = 5
#: Share of the cores from which on another load is worth a sentence.
OTHER_LOAD = 0.1
#: Two speeds are this far apart, and this many times as far as launches of one speed scatter.
SPEEDS_APART = 0.1
SPEEDS_CLEAR = 3.0
#: Stalls that are told one by one; of more, how many there are.
_TOLD = 3


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Some steps of one arm, run without a pause, and what the machine did meanwhile."""

    #: Samples (or steps) per second.
    throughput: float
    #: All steps together, the median one, and the longest one; without validation and checkpoints.
    seconds: float
    step: float
    longest: float
    held: Held = Held()


class BlockPair(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks of A and B next to each other. In a claim, several have the number of one pair of launches."""

    number: int
    a: Block
    b: Block

    @property
    def ratio(self) -> float:
        return self.b.throughput / self.a.throughput


def block_of(steps: Sequence[Step], throughput: float, held: Held | None = None) -> Block:
    """Return what is kept of a block of at least one step."""
    walls = [step.wall - sum(step.phases.get(phase, 0.0) for phase in UNCOUNTED) for step in steps]
    return Block(throughput=throughput, seconds=sum(walls), step=median(walls), longest=max(walls), held=held or Held())


def stalled(pair: BlockPair) -> bool:
    """Whether a block of the pair holds a stall, by the steps of that block alone.

    The rule is the same for both blocks and does not look at the other one, at the ratio, or at which arm is which. So
    where A and B are the same training, exchanging them within a pair changes nothing of what is set apart: what
    remains lies as often above 1 as below.
    """
    return _stall(pair.a) is not None or _stall(pair.b) is not None


def _stall(block: Block) -> float | None:
    """Seconds that the longest step took beyond the median one, None where that is no stall."""
    beyond = block.longest - block.step
    if block.longest >= STALL_STEPS * block.step and beyond >= STALL_SHARE * block.seconds:
        return beyond
    return None


def disturbances(pairs: Sequence[BlockPair], cores: int, apart: Sequence[int] = ()) -> list[str]:
    """Say what disturbed the blocks of a comparison, in the order in which they were measured, a sentence each.

    ``cores`` are those that the training may use; ``apart`` the numbers of pairs that were set apart.
    """
    return [*_drift(pairs), *_stalls(pairs, apart), *_other_load(pairs, cores), *_two_speeds(pairs)]


def _drift(pairs: Sequence[BlockPair]) -> list[str]:
    """By the speed of both arms together, so that it is no matter which of them is faster."""
    levels = [
        median(math.log(each.a.throughput * each.b.throughput) / 2 for each in group)
        for _, group in groupby(pairs, key=lambda pair: pair.number)
    ]
    moved = drift(levels)
    if moved is None:
        return []
    how = "slowed down" if moved < 0 else "became faster"
    return [
        f"the machine {how} by {100 * abs(moved):.0f}% during the measurement (drift); each pair was measured side by "
        "side, so the ratio bears it, but seconds from its beginning and its end cannot be compared"
    ]


def drift(levels: Sequence[float]) -> float | None:
    """By which share the speed moved from the first to the last, by its logarithms in the order of time.

    None where that is no more than chance does, or too little to speak of.
    """
    n = len(levels)
    if n < FEWEST or _chance_of_order(levels) > DRIFT_CHANCE:
        return None
    third = max(2, n // 3)
    moved = math.expm1(median(levels[-third:]) - median(levels[:third]))
    return moved if abs(moved) >= DRIFT else None


def _chance_of_order(values: Sequence[float]) -> float:
    """How seldom independent values lie so far in order of time, either way (Mann 1945, Kendall 1975)."""
    n = len(values)
    score = sum((after > before) - (after < before) for i, before in enumerate(values) for after in values[i + 1 :])
    if score == 0:
        return 1.0
    z = (abs(score) - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return float(2 * special.ndtr(-z))


def _stalls(pairs: Sequence[BlockPair], apart: Sequence[int]) -> list[str]:
    found = [
        (pair.number, name, beyond, block.held)
        for pair in pairs
        for name, block in (("A", pair.a), ("B", pair.b))
        if (beyond := _stall(block)) is not None
    ]
    told = [
        f"pair {number + 1} holds a stall of {beyond:.2g} s in one step of {name}"
        + (" while another load was on the machine" if (held.others or 0) >= 0.5 else "")
        + (": set apart" if number in apart else "")
        for number, name, beyond, held in found[:_TOLD]
    ]
    if len(found) > _TOLD:
        told.append(f"{len(found)} of {2 * len(pairs)} blocks hold a stall, of which the first {_TOLD} are named")
    of_b = sum(name == "B" for _, name, _, _ in found)
    of_a = len(found) - of_b
    more, fewer, name = (of_b, of_a, "B") if of_b > of_a else (of_a, of_b, "A")
    # As a coin that falls so often on one side, in one of 40 cases.
    if more and float(special.bdtr(fewer, more + fewer, 0.5)) < 0.025:
        told.append(
            f"{more} stalls are in blocks of {name} and {fewer} in the other's, so they may be its own: they cost "
            "time in a long training even where the median pair holds none"
        )
    return told


def _other_load(pairs: Sequence[BlockPair], cores: int) -> list[str]:
    def known(name: str, arm: str) -> list[float]:
        values = (getattr(getattr(pair, arm).held, name) for pair in pairs)
        return [value for value in values if value is not None]

    during = {arm: known("others", arm) for arm in "ab"}
    both = [*during["a"], *during["b"]]
    waited = [*known("pressure", "a"), *known("pressure", "b")]
    queued = [*known("queued", "a"), *known("queued", "b")]
    if not both:
        if waited and fmean(waited) >= 2 * OTHER_LOAD:
            return [
                f"something waited for a core in {100 * fmean(waited):.0f}% of the time (/proc/pressure/cpu): close "
                "other programs and measure again"
            ]
        return []
    if fmean(both) < OTHER_LOAD * cores:
        return []
    wait = f", and the trainings' threads waited {fmean(queued):.2g} s for a core in each second" if queued else ""
    told = [
        f"another load held {100 * min(1.0, fmean(both) / cores):.0f}% of the {cores} cores "
        f"({fmean(both):.1f}; {max(both):.1f} in the worst block){wait}: close other programs and measure again"
    ]
    steal = [*known("steal", "a"), *known("steal", "b")]
    if steal and fmean(steal) >= OTHER_LOAD * cores / 2:
        told.append(f"the hypervisor gave {fmean(steal):.1f} cores to other guests (steal in /proc/stat)")
    if during["a"] and during["b"]:
        a, b = fmean(during["a"]), fmean(during["b"])
        if abs(a - b) >= OTHER_LOAD * cores:
            told.append(f"the other load was uneven: {a:.1f} cores while A ran, {b:.1f} while B did")
    return told


def _two_speeds(pairs: Sequence[BlockPair]) -> list[str]:
    """Of launches: several pairs of blocks with the same number."""
    launches = [list(group) for _, group in groupby(pairs, key=lambda pair: pair.number)]
    if len(launches) < FEWEST or len(launches) == len(pairs):
        return []
    told = []
    for name, arm in (("A", "a"), ("B", "b")):
        speeds = sorted(median(getattr(pair, arm).throughput for pair in launch) for launch in launches)
        logs = [math.log(speed) for speed in speeds]
        cut = max(range(2, len(logs) - 1), key=lambda i: logs[i] - logs[i - 1])
        slow, fast = logs[:cut], logs[cut:]
        gap = fast[0] - slow[-1]
        if gap >= SPEEDS_APART and gap >= SPEEDS_CLEAR * max(pstdev(slow), pstdev(fast)):
            slower = 100 * -math.expm1(fmean(slow) - fmean(fast))
            told.append(
                f"two speeds of launches: {len(slow)} of {len(logs)} launches of {name} trained {slower:.0f}% slower "
                "than the others; what differs from launch to launch (memory layout, placement, clocks) is larger than "
                "many an effect, so few pairs can deceive"
            )
    return told

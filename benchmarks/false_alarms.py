"""How often a tuning calls something faster that is not, and finds what is: simulated on recorded noise.

    python benchmarks/false_alarms.py [TUNINGS]

The noise is that of `record_noise.py`: identical trainings on this machine. A simulated tuning draws from it stretches
of neighbours (stationary bootstrap, Politis and Romano, JASA 89, 1994), so that what is alike side by side stays so,
and decides with the functions of ``hotlap.tune``: the no-op arm, looks at each candidate, and the claim of what was
kept, from other pairs, of launches. A true effect is put onto the pairs by multiplication.

    false alarms    candidates that do nothing: how often is one claimed?
    claims          a claim of nothing, made anyway: what the claim does where the search kept the wrong thing
    power           one candidate of 5 % among those: how often is it claimed, after how many pairs and seconds?
    curve           effect by most pairs of launches -> share of claims that say "faster"

For comparison, the curve of noise that is normal and independent, of a known spread.
Writes ``results/false_alarms.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
from machine import RESULTS, keep

from hotlap.records import Judgement
from hotlap.tune.climb import LIKELY
from hotlap.tune.disturbances import Block, BlockPair, stalled
from hotlap.tune.proof import borne_out
from hotlap.tune.statistics import (
    ALPHA,
    MINIMUM_GAIN,
    PLANNED_LOOKS,
    SEARCH_ALPHA,
    SEARCH_HOPELESS,
    SEARCH_LOOKS,
    Pair,
    least_gain,
    sequential,
)
from hotlap.tune.work import NO_OP_PAIRS

#: Candidates of a tuning: as many as a small training has.
CANDIDATES = 8
#: Pairs that a stretch of neighbours has on average.
STRETCH = 6
CLAIMS = 2000
CURVE = 200
SPREADS = (0.01, 0.02, 0.03, 0.04, 0.06)
EFFECTS = (0.0, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)


class Noise(NamedTuple):
    """What identical trainings differed by."""

    name: str
    label: str
    blocks: list[Pair]
    #: Seconds that a pair of blocks takes.
    block_seconds: float
    launches: list[dict[str, Any]]
    #: Blocks of one training by itself.
    alone: list[list[float]]


class Outcome(NamedTuple):
    kept: int
    claimed: bool
    #: The one that helps was kept.
    right: bool
    blocks: int
    launches: int
    seconds: float


def recorded() -> list[Noise]:
    found = []
    for path in sorted((RESULTS / "noise").glob("*.json")):
        record = json.loads(path.read_text())
        for name, training in record["trainings"].items():
            step = training["step_ms"] / 1e3
            rows = [row for row in training["two_processes"] if row is not None]
            pairs = [block_pair(number, row, step) for number, row in enumerate(rows)]
            launches = [
                {"seconds": each["seconds"], "parts": np.array([row[1:3] for row in each["parts"] if row is not None])}
                for each in training["launches"]
            ]
            blocks = [Pair(each.ratio, stalled(each)) for each in pairs]
            seconds = (rows[-1][0] - rows[0][0]) / (len(rows) - 1)
            found.append(
                Noise(name, record["label"], blocks, seconds, launches, [row for row in training["one_process"] if row])
            )
    return found


def block_pair(number: int, row: Sequence[float], step: float) -> BlockPair:
    """Of a row [second, a, b, longest_a, longest_b, others]."""
    a, b = (
        Block(throughput=row[i], seconds=max(0.5, row[i + 2] * step), step=step, longest=row[i + 2] * step)
        for i in (1, 2)
    )
    return BlockPair(number=number, a=a, b=b)


class Machine:
    """Gives pairs as the machine did when it was recorded."""

    def __init__(self, noise: Noise, rng: np.random.Generator) -> None:
        self.noise, self.rng = noise, rng
        self.seconds = 0.0
        self.blocks = self.launches = 0

    def stretches(self, length: int) -> Any:
        """Indexes of a recording of so many: neighbours for a while, then a jump."""
        at = int(self.rng.integers(length))
        while True:
            yield at
            at = int(self.rng.integers(length)) if self.rng.random() < 1 / STRETCH else (at + 1) % length

    def pairs_of_blocks(self, gain: float) -> Any:
        """For ``sequential``; two trainings that live side by side, the luckier one being A or B by chance."""
        order, flip = self.stretches(len(self.noise.blocks)), self.rng.random() < 0.5

        def more(count: int) -> list[Pair]:
            self.blocks += count
            self.seconds += count * self.noise.block_seconds
            taken = [self.noise.blocks[next(order)] for _ in range(count)]
            return [Pair((1 / pair.ratio if flip else pair.ratio) * (1 + gain), pair.stalled) for pair in taken]

        return more

    def claim(self, gain: float, alpha: float, least: float) -> Judgement:
        order = self.stretches(len(self.noise.launches))
        wholes: list[float] = []

        def more(count: int) -> list[Pair]:
            taken = []
            for _ in range(count):
                launch = self.noise.launches[next(order)]
                parts = launch["parts"]
                # Which launch of a pair was the lucky one stays; which of its parts were is drawn again.
                parts = parts[self.rng.integers(len(parts), size=len(parts))] * (1.0, 1 + gain)
                taken.append(Pair(median(parts[:, 1] / parts[:, 0])))
                # Parts hold equally many steps, so their times add up as the inverse of their speeds.
                wholes.append(sum(1 / parts[:, 0]) / sum(1 / parts[:, 1]))
                self.seconds += launch["seconds"]
            self.launches += count
            return taken

        _, judgement = sequential(more, PLANNED_LOOKS, alpha, least)
        return borne_out(judgement, wholes)


def tuning(machine: Machine, gains: Sequence[float]) -> Outcome:
    """The decisions of a tuning with these candidates."""
    twin = machine.pairs_of_blocks(0.0)
    least = least_gain([pair.ratio for pair in twin(NO_OP_PAIRS)], MINIMUM_GAIN)
    kept, unclear = [], {}
    for gain in gains:
        more = machine.pairs_of_blocks(gain)
        seen, judgement = sequential(more, SEARCH_LOOKS, SEARCH_ALPHA, least, hopeless=SEARCH_HOPELESS)
        if judgement == "faster":
            kept.append(gain)
        elif judgement == "unclear" and seen.ratio >= LIKELY:
            unclear[seen.ratio] = gain
    if not kept and unclear:
        kept.append(unclear[max(unclear)])
    blocks = machine.blocks
    claimed = bool(kept) and machine.claim(float(np.prod([1 + gain for gain in kept])) - 1, ALPHA, least) == "faster"
    return Outcome(len(kept), claimed, any(kept), blocks, machine.launches, machine.seconds)


def simulate(noise: Noise, tunings: int, rng: np.random.Generator) -> dict[str, Any]:
    nothing = [tuning(Machine(noise, rng), [0.0] * CANDIDATES) for _ in range(tunings)]
    helps = [tuning(Machine(noise, rng), [0.05, *[0.0] * (CANDIDATES - 1)]) for _ in range(tunings)]
    claims = [Machine(noise, rng).claim(0.0, ALPHA, MINIMUM_GAIN) for _ in range(CLAIMS)]
    ratios = [np.log(median(each["parts"][:, 1] / each["parts"][:, 0])) for each in noise.launches]
    alone = [[row[1], row[2]] for row in noise.alone]
    return {
        "label": noise.label,
        "training": noise.name,
        "spread_of_blocks_in_one_process": round(float(np.std(np.log(alone))), 4),
        "spread_of_block_pairs": round(float(np.std(np.log([pair.ratio for pair in noise.blocks]))), 4),
        "spread_of_launch_pairs": round(float(np.std(ratios)), 4),
        "stalled_block_pairs": round(fmean(pair.stalled for pair in noise.blocks), 3),
        "tunings": tunings,
        "false_claims": sum(each.claimed for each in nothing),
        "false_keeps": sum(each.kept > 0 for each in nothing),
        "forced_claims": CLAIMS,
        "forced_claims_faster": claims.count("faster"),
        "forced_claims_slower": claims.count("slower"),
        "power_5_percent": round(fmean(each.claimed and each.right for each in helps), 3),
        "kept_5_percent": round(fmean(each.right for each in helps), 3),
        "block_pairs": median(each.blocks for each in helps),
        "launch_pairs": median(each.launches for each in helps),
        "seconds": round(median(each.seconds for each in helps)),
        "seconds_of_a_launch_pair": median(each["seconds"] for each in noise.launches),
        "curve": curve_of(noise, rng),
    }


def normal(spread: float, rng: np.random.Generator) -> Noise:
    """Pairs of launches that scatter by ``spread``, and neither know their neighbours nor differ inside."""
    logs = spread * rng.standard_normal(5000)
    launches = [{"seconds": 0.0, "parts": np.array([[1.0, np.exp(log)]] * 6)} for log in logs]
    return Noise("normal", f"{100 * spread:.0f}%", [], 0.0, launches, [])


def curve_of(noise: Noise, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Effect -> most pairs of launches -> share of claims that say "faster" by then."""
    curve = {}
    for gain in EFFECTS:
        found = []
        for _ in range(CURVE):
            machine = Machine(noise, rng)
            if machine.claim(gain, ALPHA, MINIMUM_GAIN) == "faster":
                found.append(machine.launches)
        by = {str(most): round(sum(each <= most for each in found) / CURVE, 3) for most in PLANNED_LOOKS}
        curve[f"{100 * gain:.0f}%"] = by
    return curve


def shares(by: dict[str, float]) -> str:
    return "  ".join(f"{most}: {100 * share:3.0f}%" for most, share in by.items())


def main() -> None:
    tunings = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng = np.random.default_rng(0)
    rows = [simulate(noise, tunings, rng) for noise in recorded()]
    for row in rows:
        print(
            f"{row['label']} {row['training']}: launches scatter by {100 * row['spread_of_launch_pairs']:.1f}%; "
            f"{row['false_claims']} of {tunings} tunings claim what is not, {row['forced_claims_faster']} of {CLAIMS} "
            f"claims of nothing say faster; 5% is found in {100 * row['power_5_percent']:.0f}% "
            f"({row['launch_pairs']:.0f} pairs of launches, {row['seconds']} s)",
            *(f"    {gain:>4}  {shares(by)}" for gain, by in row["curve"].items()),
            sep="\n",
            file=sys.stderr,
        )
    known = {each.label: curve_of(each, rng) for each in (normal(spread, rng) for spread in SPREADS)}
    keep("false_alarms", {"candidates": CANDIDATES, "stretch": STRETCH, "noises": rows, "normal": known})


if __name__ == "__main__":
    main()

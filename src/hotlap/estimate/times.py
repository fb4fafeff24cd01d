"""Step times of counted work: of a GPU of the catalogue by published shares, of this machine by its calibration.

Work ──> timed, with the least, the likely and the most of a card's rates ──> StepTime, estimated
     ──> timed, with this machine's rates and fitted factors              ──> StepTime, estimated, with that error
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from hotlap.estimate.cards import Card
from hotlap.estimate.published import CASES, published
from hotlap.estimate.rates import PARTS, timed
from hotlap.records import Band, Calibration, Rates, StepTime, Work
from hotlap.train.config import TrainConfig

#: What trainings took over what single operators do, and by which factor an estimate may be wrong: fitted on, and for
#: models that were left out (benchmarks/results/estimate/time.md).
FACTORS = dict(zip(PARTS, (0.79, 1.04, 0.96, 1.22), strict=True))
WRONG_BY = 1.7

Timer = Callable[[Work], StepTime]


def on_card(card: Card, *, tf32: bool = False) -> Timer | None:
    """None where the vendor publishes no rates. ``tf32``: whether products of float32 may be in it."""
    rates = [published(card, case, tf32_products=tf32) for case in CASES]
    known = [each for each in rates if each is not None]
    return (lambda work: _of(work, known)) if len(known) == len(rates) else None


def step_time(work: Work, card: Card | None, config: TrainConfig) -> StepTime | None:
    """None where nothing is known of the card's rates."""
    timer = None if card is None else on_card(card, tf32=allows_tf32(config))
    return None if timer is None else timer(work)


def here(calibration: Calibration) -> Timer:
    """This machine's processor."""
    rates = fitted(calibration)

    def timer(work: Work) -> StepTime:
        found = timed(work, rates)
        band = Band(
            least=found.seconds / WRONG_BY, likely=found.seconds, most=found.seconds * WRONG_BY, known="estimated"
        )
        return StepTime(step=band, parts=found.parts, phases=found.phases, kinds=found.kinds)

    return timer


def fitted(calibration: Calibration) -> Rates:
    return msgspec.structs.replace(calibration.rates, factors=FACTORS)


def _of(work: Work, rates: list[Rates]) -> StepTime:
    most, likely, least = (timed(work, each) for each in rates)
    band = Band(least=least.seconds, likely=likely.seconds, most=most.seconds, known="estimated")
    return StepTime(step=band, parts=likely.parts, phases=likely.phases, kinds=likely.kinds, host=likely.host)


def listed(card: Card, config: TrainConfig | None = None) -> Rates | None:
    """What the vendor lists, all of it."""
    return published(card, "listed", tf32_products=allows_tf32(config))


def allows_tf32(config: TrainConfig | None) -> bool:
    return config is not None and config.matmul_precision != "highest"

"""How long a training will take, estimated before it runs, or scaled from a run. Times are seconds."""

from __future__ import annotations

import msgspec

from hotlap.records.effect import SCHEMA
from hotlap.records.rates import Known


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """A number that is measured, derived or estimated; the least and the most that it may be."""

    least: float
    likely: float
    most: float
    known: Known

    def times(self, factor: float) -> Band:
        return Band(least=factor * self.least, likely=factor * self.likely, most=factor * self.most, known=self.known)


class StepTime(msgspec.Struct, frozen=True, kw_only=True):
    """Of one optimizer step with all its micro-batches."""

    step: Band
    #: Of the likely step, on a GPU of the device: convolving, multiplying, moving, calls; by phase; by kind of call.
    parts: dict[str, float]
    phases: dict[str, float]
    kinds: dict[str, float]
    #: What the host takes to launch it all, where it runs ahead of a GPU; the longer of both decides.
    host: float | None = None


class Horizon(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is to train, on all ranks together."""

    #: Of a step.
    samples: int
    #: Samples of an epoch; None: not known, and why.
    epoch_samples: int | None = None
    epoch_from: str = ""
    #: Optimizer steps of the training; None: not known, and why.
    steps: int | None = None
    steps_from: str = ""
    #: Of an hour of one GPU, in any currency, and how many there are.
    price: float | None = None
    ranks: int = 1

    def rate(self, step: float) -> float:
        """Samples/s."""
        return self.samples / step

    def epoch(self, step: float) -> float | None:
        return None if self.epoch_samples is None else step * self.epoch_samples / self.samples

    def whole(self, step: float) -> float | None:
        return None if self.steps is None else step * self.steps

    def cost(self, step: float) -> float | None:
        whole = self.whole(step)
        return None if whole is None else self.cost_of(whole)

    def cost_of(self, seconds: float) -> float | None:
        return None if self.price is None else seconds / 3600 * self.price * self.ranks


class GapRow(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of the step as it was measured, and what its operators need."""

    name: str
    measured: float
    #: At the device's best rate in a large product, and its bandwidth; the longer of both for each operator.
    at_best: float = 0.0
    #: As estimated, with what is reached of those rates, and what calls take.
    expected: float = 0.0


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """What a measured step takes beyond what its work needs."""

    schema: int = SCHEMA
    device: str
    on_gpu: bool
    #: Median of the steady steps, and how many there are.
    step: float
    steps: int
    #: All that is computed, and without what is computed again.
    flops: float
    model_flops: float
    bytes: float
    operators: float
    #: Of the device: FLOP/s by what computes, and bytes a second; and where they are from.
    best_flops: dict[str, float]
    best_bandwidth: float
    best_from: str
    #: Seconds of all operations at these rates, of those that are not computed again, and of all bytes.
    arithmetic: float
    model_arithmetic: float
    moving: float
    rows: list[GapRow]
    #: Where the count is from.
    counted: str
    unknown: list[str] = []

    @property
    def mfu(self) -> float:
        """Model FLOPs utilization: the share of the step that its operations, without recomputation, need at best."""
        return self.model_arithmetic / self.step


class ScaledPart(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    measured: float
    scaled: float
    #: "derived": by the ratio of two estimates; "measured": kept as it is.
    known: Known


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """A measured step on another device."""

    schema: int = SCHEMA
    run: str
    source: str
    target: str
    measured: float
    steps: int
    step: Band
    parts: list[ScaledPart]
    #: Of the estimates of both devices.
    modelled: tuple[Band, Band]
    counted: str
    horizon: Horizon | None = None

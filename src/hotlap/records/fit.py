"""What a training needs of a device's memory, and the cards that have it: estimated before it runs. Sizes are bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from hotlap.records.effect import SCHEMA
from hotlap.records.estimate import Verdict
from hotlap.records.step_time import Horizon, StepTime


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, as an interval and what is likely; no allowance is measured on the card that it is for."""

    name: str
    least: int
    likely: int
    most: int
    source: str


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    step: int
    #: setup, forward, backward, recompute (of what is checkpointed), optimizer
    phase: str
    module: str
    operator: str


class MemoryEstimate(msgspec.Struct, frozen=True, kw_only=True):
    device: Literal["cuda", "cpu"]
    #: Peak of what the tensors need, to the byte.
    requested: int
    #: As torch.cuda.max_memory_allocated and max_memory_reserved count; on a CPU nothing is rounded or reserved.
    allocated: int
    reserved: int | None
    moment: Moment
    #: What lives at the peak, by what it is for.
    categories: dict[str, int]
    #: The activations that live at the peak, by the module that made them; most first.
    holders: dict[str, int]
    #: Peak of each step; setup is 0.
    steps: dict[int, int]
    #: What else the device holds, outside of what is followed.
    allowances: list[Allowance]
    #: Storages that were followed, and the seconds that it took.
    blocks: int
    seconds: float

    @property
    def total(self) -> tuple[int, int, int]:
        """The least, the likely and the most that the device has to have free."""
        held = self.allocated if self.reserved is None else self.reserved
        least, likely, most = (
            sum(getattr(each, name) for each in self.allowances) for name in ("least", "likely", "most")
        )
        return held + least, held + likely, held + most


class LargestBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The largest micro-batch that fits even where all allowances are taken up; 0: not even one sample."""

    batch_size: int
    #: The peak of allocated memory by the micro-batch that was gone through.
    allocated: dict[int, int]
    #: The last one that was predicted from others, and its peak as predicted.
    predicted: tuple[int, int] | None = None
    #: The training can have no larger one.
    is_limit: bool = False


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What of a configuration its memory depends on most."""

    #: Which parts are computed again in backward: off, on, attention, FFN, both.
    checkpointing: str
    precision: str
    optimizer: str


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """The same training in another setting, at the same micro-batch."""

    setting: Setting
    allocated: int
    reserved: int
    verdict: Verdict
    #: What a step's operations take at the card's peak; None: its rates are not known.
    seconds_at_peak: float | None = None
    #: Estimated; that of an optimizer in 8 bits is not told from the other's. None: the card's rates are not known.
    time: StepTime | None = None
    #: The largest micro-batch that fits, from two that were gone through; nobody went through this one. None: of a CPU.
    largest: int | None


class CardFit(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    memory: int
    verdict: Verdict
    #: As in ``Variant``; None: the script's micro-batch cannot be changed.
    largest: int | None
    time: StepTime | None = None


class ScriptStep(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be known of a script's step that was gone through, beside its memory."""

    #: Steps, and of its optimizers those that took no part in them.
    steps: int
    optimizers: list[str]
    late: int = 0
    #: Values that the script read and that were made up, by the line of the script.
    answers: dict[str, int] = {}
    #: Calls of torch.save, which did nothing.
    saves: int = 0
    #: Why no other micro-batch was gone through.
    fixed: str | None = None


class TrainingEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a configuration, or a script, fits."""

    schema: int = SCHEMA
    #: Of a configuration, or the script's name.
    workload: str
    script: ScriptStep | None = None
    batch_size: int
    accumulation_steps: int
    #: One sample, as the shapes of its tensors.
    sample: list[list[int]]
    ranks: int
    #: Numbers that are trained.
    parameters: int
    setting: Setting
    memory: MemoryEstimate
    #: Floating-point operations of a step on one GPU; those of what torch has no formula for are not in it.
    flops: float
    #: Optimizer steps, where the configuration says how many; 0: as many as its epochs have.
    steps: int = 0
    #: The card that it is for and its memory; None where all of the catalogue are asked about.
    card: str | None = None
    capacity: int | None = None
    verdict: Verdict | None = None
    #: Peak of what is reserved on this card, where cached memory is given back when there is no more; ``memory`` has
    #: what would be reserved were there no end. None: it does not fit, or no card is asked about.
    reserved: int | None = None
    #: The step that was gone through has the perceptual loss, as one of so many steps has.
    perceptual_every: int = 1
    #: As in ``Variant``.
    seconds_at_peak: float | None = None
    time: StepTime | None = None
    #: What there is to train; None: nobody asked.
    horizon: Horizon | None = None
    largest: LargestBatch | None = None
    variants: list[Variant] = []
    cards: list[CardFit] = []
    #: The configuration says so, and the estimate is of what runs without.
    compiled: bool = False
    seconds: float

"""The timeline of the training thread: the moments at which the innermost span changed.

    time   ─┬────────┬───────┬─────────┬─────┬──────────┬─────┬───────────┬───
    kind    │ data 1 │ batch │ forward │ gap │ backward │ gap │ optimizer │ gap ...

It has no holes, so nothing is missed and nothing is counted twice. ``cut`` takes a stretch out of it, which
``attribution`` makes a step of. Everything here is plain arithmetic on numbers that were handed in, so the
tests need neither torch nor a clock.
"""

from __future__ import annotations

GAP = "gap"
#: A gap that begins with a batch that a loader has just handed over.
BATCH = "batch"
#: A wait for a loader; "data 3" names the loader.
DATA = "data "
#: A wait that the script marked itself.
MARKED = "data 0"
FORWARD = "forward"
#: A call of a model without gradients or in eval mode: what it was for shows in what follows.
EVALUATION = "evaluation"
#: A call of a model that nobody trains, after one that is trained.
FROZEN = "frozen"
#: A call of a model that returned one number.
SCALAR = "scalar"
BACKWARD = "backward"
#: ``autograd.grad``: a backward that may be part of a loss.
GRAD = "grad"
RECOMPUTE = "recompute"
OPTIMIZER = "optimizer"
#: What belongs to the optimizer without being its step: ``zero_grad``, a gradient scaler.
TIDY = "tidy"
VALIDATION = "validation"
LOSS = "loss"
PAUSED = "paused"

#: Spans inside which nothing else is told apart.
OPAQUE = frozenset(
    {
        DATA,
        EVALUATION,
        FROZEN,
        VALIDATION,
        RECOMPUTE,
        TIDY,
        LOSS,
        PAUSED,
        "checkpoint",
        "logging",
        "gradient_clip",
        "gradient_sync",
        "host_to_device",
    }
)


class Stretch:
    """A closed piece of a timeline: ``times`` has one entry more than ``kinds``, the end."""

    __slots__ = ("kinds", "samples", "times")

    def __init__(self, times: list[float], kinds: list[str], samples: list[int | None]) -> None:
        self.times = times
        self.kinds = kinds
        #: Samples of each batch, in the order of the marks called ``BATCH``.
        self.samples = samples


class Timeline:
    """Spans of one thread. ``push`` returns whether the span counts; only then ``pop`` it."""

    __slots__ = ("kinds", "samples", "stack", "times")

    def __init__(self, now: float) -> None:
        self.times: list[float] = [now]
        self.kinds: list[str] = [GAP]
        self.samples: list[int | None] = []
        self.stack: list[str] = []

    def opaque(self) -> bool:
        return bool(self.stack) and self.stack[-1] in OPAQUE

    def push(self, now: float, kind: str) -> bool:
        stack = self.stack
        if stack and stack[-1] in OPAQUE:
            return False
        stack.append(kind)
        self.times.append(now)
        self.kinds.append(kind)
        return True

    def push_data(self, now: float, loader: str) -> bool:
        """``loader``: DATA and its number."""
        counts = self.push(now, DATA)
        if counts:
            self.kinds[-1] = loader
        return counts

    def pop(self, now: float) -> None:
        stack = self.stack
        stack.pop()
        self.times.append(now)
        self.kinds.append(stack[-1] if stack else GAP)

    def pop_batch(self, now: float, samples: int | None) -> None:
        """End a wait for a loader that handed a batch over."""
        self.samples.append(samples)
        self.times.append(now)
        self.kinds.append(BATCH)
        self.stack.pop()
        if self.stack:
            self.times.append(now)
            self.kinds.append(self.stack[-1])

    def batch(self, now: float, loader: str, samples: int | None) -> None:
        """A loader has handed a batch over inside a wait that the script marked itself, and that goes on."""
        if self.stack and self.stack[-1] == DATA:
            self.kinds[-1] = loader
            self.samples.append(samples)
            self.times += (now, now)
            self.kinds += (BATCH, MARKED)

    def rename_last(self, old: str, new: str) -> None:
        """Call the span that has just ended by another name, now that more is known of it."""
        if len(self.kinds) > 1 and self.kinds[-2] == old:
            self.kinds[-2] = new

    def unwind(self, depth: int, now: float) -> None:
        """End spans that were left by an exception, down to ``depth`` open ones."""
        while len(self.stack) > depth:
            self.pop(now)

    def pause(self, now: float) -> None:
        """Begin a span that counts wherever it happens."""
        self.stack.append(PAUSED)
        self.times.append(now)
        self.kinds.append(PAUSED)

    def mark(self, now: float) -> int:
        """Make a mark here, where nothing changes, and return its index."""
        self.times.append(now)
        self.kinds.append(self.stack[-1] if self.stack else GAP)
        return len(self.kinds) - 1

    def cut(self, index: int, now: float) -> Stretch:
        """Take the marks before ``index`` out; the rest stays."""
        return self.cut_all([index], now)[0]

    def cut_all(self, indexes: list[int], now: float) -> list[Stretch]:
        """Take the stretches that end at these marks out, in order; the rest stays."""
        times, kinds, samples = self.times, self.kinds, self.samples
        taken = []
        start = batches = 0
        for index in indexes:
            own = kinds[start:index]
            before, batches = batches, batches + own.count(BATCH)
            until = times[start : index + 1] if index < len(times) else [*times[start:], now]
            taken.append(Stretch(until, own, samples[before:batches]))
            start = index
        self.times, self.kinds = times[start:] or [now], kinds[start:] or [self.stack[-1] if self.stack else GAP]
        self.samples = samples[batches:]
        return taken

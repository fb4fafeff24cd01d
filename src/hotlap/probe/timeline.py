"""The timeline of the training thread: the moments at which the innermost span changed.

    time   ─┬────────┬───────┬─────────┬─────┬──────────┬─────┬───────────┬───
    kind    │ data 1 │ batch │ forward │ gap │ backward │ gap │ optimizer │ gap ...

It has no holes, so nothing is missed and nothing is counted twice. A stretch of it becomes a step
(``attribution``). Times are integer nanoseconds. Everything here is plain arithmetic on numbers that
were handed in, so the tests need neither torch nor a clock.

What runs in every step writes its marks into the lists itself, as ``push`` and ``pop`` would (``hooks``): a call
between two operators of a training costs several times what it costs in a loop, because its code has left the
processor's caches.
"""

from __future__ import annotations

#: Times are nanoseconds.
SECOND = 1_000_000_000

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
#: A call of a model in training mode without gradients: on no batch of a loader, it makes data (a rollout, a picture).
SAMPLING = "sampling"
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
#: Waiting for other ranks: inside backward, in a model that brings its buffers in line, or by itself.
SYNC = "gradient_sync"
PAUSED = "paused"

#: Spans inside which nothing else is told apart.
OPAQUE = frozenset(
    {
        DATA,
        EVALUATION,
        SAMPLING,
        FROZEN,
        VALIDATION,
        RECOMPUTE,
        TIDY,
        LOSS,
        PAUSED,
        "checkpoint",
        "logging",
        "gradient_clip",
        SYNC,
        "host_to_device",
    }
)


class Timeline:
    """Spans of one thread. ``push`` returns whether the span counts; only then ``pop`` it."""

    __slots__ = ("kinds", "samples", "stack", "times")

    def __init__(self, now: int) -> None:
        self.times: list[int] = [now]
        self.kinds: list[str] = [GAP]
        self.samples: list[int | None] = []
        self.stack: list[str] = []

    def opaque(self) -> bool:
        return bool(self.stack) and self.stack[-1] in OPAQUE

    def push(self, now: int, kind: str) -> bool:
        stack = self.stack
        if stack and stack[-1] in OPAQUE:
            return False
        stack.append(kind)
        self.times.append(now)
        self.kinds.append(kind)
        return True

    def push_data(self, now: int, loader: str) -> bool:
        """``loader``: DATA and its number."""
        counts = self.push(now, DATA)
        if counts:
            self.kinds[-1] = loader
        return counts

    def pop(self, now: int) -> None:
        stack = self.stack
        stack.pop()
        self.times.append(now)
        self.kinds.append(stack[-1] if stack else GAP)

    def pop_batch(self, now: int, samples: int | None) -> None:
        """End a wait for a loader that handed a batch over."""
        self.samples.append(samples)
        self.times.append(now)
        self.kinds.append(BATCH)
        self.stack.pop()
        if self.stack:
            self.times.append(now)
            self.kinds.append(self.stack[-1])

    def batch(self, now: int, loader: str, samples: int | None) -> None:
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

    def unwind(self, depth: int, now: int) -> None:
        """End spans that were left by an exception, down to ``depth`` open ones."""
        while len(self.stack) > depth:
            self.pop(now)

    def pause(self, now: int) -> None:
        """Begin a span that counts wherever it happens."""
        self.stack.append(PAUSED)
        self.times.append(now)
        self.kinds.append(PAUSED)

    def mark(self, now: int) -> int:
        """Make a mark here, where nothing changes, and return its index."""
        self.times.append(now)
        self.kinds.append(self.stack[-1] if self.stack else GAP)
        return len(self.kinds) - 1

    def cut(self, index: int, now: int) -> None:
        """Take the marks before ``index`` out; the rest stays."""
        batches = self.kinds[:index].count(BATCH)
        del self.times[:index], self.kinds[:index], self.samples[:batches]
        if not self.kinds:
            self.times.append(now)
            self.kinds.append(self.stack[-1] if self.stack else GAP)

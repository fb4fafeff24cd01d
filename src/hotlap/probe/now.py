"""The state of a recording that every step touches, close together."""

from __future__ import annotations


class Now:
    """What every step reads and writes.

    In slots it is a few lines of the processor's caches. Between two operators of a training what the probe touched in
    the last step is not there any more, so a step costs what it touches rather than what it computes.
    """

    __slots__ = (
        "after_optimizer",
        "attend",
        "backward_since",
        "begun",
        "clock",
        "closed",
        "depth",
        "fed",
        "forward_since",
        "frozen",
        "in_backward",
        "inner_losses",
        "looking",
        "losses",
        "optimizers",
        "plain",
        "record",
        "save_by",
        "scaled",
        "size",
        "sizes",
        "sizing",
        "step_losses",
        "step_sizes",
        "stepped",
        "steps",
        "thread",
        "timeline",
        "watched",
    )

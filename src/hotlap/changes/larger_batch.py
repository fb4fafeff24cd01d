"""A larger effective batch, with the learning rate rescaled to it. Another training: fewer, larger steps.

    SGD    rate x k        Goyal et al. 2017, "Accurate, Large Minibatch SGD" (arXiv:1706.02677), section 2.1
    Adam   rate x sqrt(k)  Krizhevsky 2014, "One weird trick" (arXiv:1404.5997), section 5, from the variance of the
                           gradient; Malladi et al. 2022 (arXiv:2205.10287) for Adam and RMSprop

for a batch that is k times as large. Both hold up to some batch size only, and the linear rule needs a warm-up. The
rule for Adam would change its betas and epsilon as well; those stay.
"""

from __future__ import annotations

import math

from hotlap.changes.situation import Situation
from hotlap.records import Change

_LINEAR = frozenset({"SGD"})
_SQUARE_ROOT = frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad"})
_TIMES = (2, 4)


def propose(situation: Situation) -> list[Change]:
    if not situation.has("batch_size", "lr"):
        return []
    size, rate, kind = situation.key("batch_size"), situation.key("lr"), situation.facts.optimizer
    if kind not in _LINEAR | _SQUARE_ROOT or rate <= 0:
        return []
    accumulated = situation.key("accumulation_steps") or 1
    changes = []
    for times in _TIMES:
        factor = times if kind in _LINEAR else math.sqrt(times)
        rescaled = float(f"{rate * factor:.6g}")
        rule = "linearly" if kind in _LINEAR else "by the square root"
        changes.append(
            Change(
                name="effective_batch",
                value=str(size * times * accumulated),
                title=f"batches of {size * times} with a learning rate of {rescaled:g}",
                numerics="trajectory",
                # With accumulation as it is, said so that it takes the place of another split of the batch.
                edits={"batch_size": size * times, "lr": rescaled}
                | ({"accumulation_steps": accumulated} if situation.key("accumulation_steps") else {}),
                bound=situation.bound(
                    "forward", "loss", "backward", "recompute", "gradient_sync", "gradient_clip", "optimizer", "other"
                ),
                note=f"{times} times the batch and its memory, the rate rescaled {rule} for {kind}; schedules that "
                "count steps see fewer of them",
            )
        )
    return changes

"""How torch's own optimizers update the parameters: fused, group by group (foreach), or tensor by tensor (loop)."""

from __future__ import annotations

from typing import Literal

from hotlap.records import Facts

Implementation = Literal["fused", "foreach", "loop"]

#: Optimizers of torch with a fused implementation, and those with foreach.
FUSED = frozenset({"Adam", "AdamW", "SGD", "Adagrad"})
FOREACH = FUSED | {"RMSprop", "NAdam", "RAdam", "Adamax", "Adadelta", "ASGD", "Rprop"}


def implementation(facts: Facts) -> Implementation | None:
    """Return what the script has set, or else torch's default; None where it is not known.

    The default is that of ``torch.optim.optimizer._default_to_fused_or_foreach`` for plain parameters: foreach on CUDA,
    a loop on a CPU. It counts only where neither was set: fused off by the script's own word is a loop everywhere.
    """
    if facts.optimizer_fused:
        return "fused"
    if facts.optimizer_foreach is not None:
        return "foreach" if facts.optimizer_foreach else "loop"
    if facts.optimizer not in FOREACH:
        return None
    if facts.optimizer_fused is False:
        return "loop"
    by_device: dict[str, Implementation] = {"cpu": "loop", "cuda": "foreach"}
    return by_device.get((facts.device or "").partition(":")[0])


def is_default(facts: Facts) -> bool:
    return facts.optimizer_fused is None and facts.optimizer_foreach is None

"""What a step computes and moves, operator by operator, whatever machine it runs on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """Operators that do the same amount of the same in the same phase."""

    #: forward (with the loss), backward, recompute (of what is checkpointed), gradient_clip, optimizer; of a step that
    #: was watched also data_wait and other, as in ``PHASES``
    phase: str
    #: As in ``probe.counting``: product, batched, convolution, ..., elementwise, ..., view.
    kind: str
    dtype: str
    #: Of one call: floating-point operations, 2 for each multiply-add; bytes that are read and written.
    flops: float = 0.0
    bytes: float = 0.0
    #: On which a rate depends: the middle side of a product, the fewer channels of a convolution, a head's numbers.
    width: int = 0
    count: float = 1.0


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Of one step on one device."""

    calls: list[Calls]
    #: Operators that are in no list: their bytes are counted, and their arithmetic is not.
    unknown: list[str] = []

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]], unknown: Iterable[str]) -> Work:
        """Of rows as ``probe.counting`` has them: the fields of ``Calls`` in their order."""
        return cls(
            calls=[Calls(**dict(zip(Calls.__struct_fields__, row, strict=True))) for row in rows],
            unknown=sorted(unknown),
        )

    @property
    def flops(self) -> float:
        return sum(each.flops * each.count for each in self.calls)

    @property
    def bytes(self) -> float:
        return sum(each.bytes * each.count for each in self.calls)

    @property
    def operators(self) -> float:
        return sum(each.count for each in self.calls)

    def times(self, factor: float) -> Work:
        """So many of all but the optimizer's."""
        calls = [
            each if each.phase == "optimizer" else msgspec.structs.replace(each, count=each.count * factor)
            for each in self.calls
        ]
        return Work(calls=calls, unknown=self.unknown)

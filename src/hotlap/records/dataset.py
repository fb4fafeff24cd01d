"""What is known about the data set that a training's loader reads."""

from __future__ import annotations

import msgspec


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Seen in the loader's settings and in its first batches. Every field may be unknown."""

    #: Samples in it; None where it does not say, or yields them in a stream.
    length: int | None = None
    #: Whether torch's own function stacks the samples to a batch.
    stacked: bool | None = None
    #: Whether a batch could be made by one indexing of tensors or arrays that hold all samples.
    indexed: bool | None = None
    #: Batches that were looked at.
    batches: int = 0
    #: Bytes of a sample's tensors in a batch (mean).
    sample_bytes: float | None = None
    #: Whether the batches seen held nothing but tensors, with samples of one shape in all of them.
    alike: bool | None = None
    #: Share of the positions in the sequences of a batch that are padding in all of its rows (mean).
    padding: float | None = None

"""What calibration measured on the machine that trains."""

from __future__ import annotations

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Ratios of throughput on the training's device, measured on typical shapes; None where not measured."""

    #: bfloat16 against float32, matrix products.
    bf16_matmul_speedup: float | None = None
    #: bfloat16 against float32, convolutions.
    bf16_conv_speedup: float | None = None
    #: channels_last against contiguous, convolutions.
    channels_last_conv_speedup: float | None = None
    #: Bytes of memory of the training's GPU.
    device_memory: float | None = None

"""What torch and the environment were told besides the training itself, and whether it got through."""

from __future__ import annotations

import msgspec


class Switches(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe saw of them. Every field may be unknown."""

    #: How often it was looked once the training was warm, and in how many of these looks each was on.
    looks: int = 0
    anomaly: int = 0
    profiler: int = 0
    #: Variables that are meant for debugging, as ``NAME=value``.
    environment: list[str] = []
    #: Tensors of parameters, by dtype.
    dtypes: dict[str, int] = {}
    #: Modules that computed the loss, with the parameters that they have inside: those that were called after another
    #: one and returned one number, or that nobody trains.
    loss_modules: dict[str, int] = {}
    #: Calls of gradient clipping in a step.
    clip_calls: int | None = None
    #: Calls of a trained module in eval mode, with gradients, before anything of a step.
    graded_evaluations: int = 0
    #: Scale of an enabled gradient scaler when the training was warm, and when last looked at.
    scale_first: float | None = None
    scale_last: float | None = None
    #: Of the CUDA device in use.
    capability: tuple[int, int] | None = None
    tf32_matmul: bool | None = None
    tf32_convolutions: bool | None = None
    deterministic: bool | None = None
    #: How many times as long as in float32 a small product takes in float16 on the CPU, where the training uses that.
    float16_slowdown: float | None = None

"""What a GPU holds beside the tensors of a training: the driver's context, and the workspace of libraries."""

from __future__ import annotations

import msgspec

MIB = 2**20


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, as an interval and what is likely; no allowance is measured on the card that it is for."""

    name: str
    least: int
    likely: int
    most: int
    source: str


_CONTEXT = Allowance(
    name="context of CUDA and its kernels",
    least=250 * MIB,
    likely=450 * MIB,
    most=700 * MIB,
    source="estimated: it depends on driver, card and the libraries that are loaded",
)
_CUDNN = Allowance(
    name="workspace of cuDNN",
    least=0,
    likely=64 * MIB,
    most=1024 * MIB,
    source="estimated: it depends on the algorithm that is chosen for each convolution; 0 without convolutions",
)


def allowances(capability: tuple[int, int] | None = None) -> list[Allowance]:
    """For a card of a compute capability; None: any."""
    return [_CONTEXT, _cublas(capability), _CUDNN]


def _cublas(capability: tuple[int, int] | None) -> Allowance:
    """One for the thread that goes forward and one for autograd's, which has a handle of its own."""
    usual, hopper = 2 * 4 * MIB + 8 * 16 * 2**10, 32 * MIB
    each = hopper if capability is not None and capability[0] >= 9 else usual
    return Allowance(
        name="workspace of cuBLAS",
        least=each,
        likely=2 * each,
        most=2 * (hopper if capability is None else each),
        source="default of CUBLAS_WORKSPACE_CONFIG in PyTorch: :4096:2:16:8 (8,519,680 bytes), 32 MiB on Hopper; one "
        "for each thread that multiplies",
    )

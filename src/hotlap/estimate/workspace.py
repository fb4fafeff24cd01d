"""What a GPU holds beside the tensors of a training: the driver's context, and the workspace of libraries."""

from __future__ import annotations

from hotlap.records import Allowance

MIB = 2**20


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


def kept_by_driver(memory: int) -> Allowance:
    """Of a card's nominal memory."""
    least, likely, most = (round(share * memory) for share in (0.005, 0.015, 0.025))
    return Allowance(
        name="kept by the driver",
        least=least,
        likely=likely,
        most=most,
        source="what PyTorch's out-of-memory errors name as the total capacity: 23.61 to 23.68 GiB of the 24 of an RTX "
        "4090, 31.51 of 32, 7.80 of 8",
    )


def of_ranks(gradients: int) -> list[Allowance]:
    """What DistributedDataParallel and NCCL add, of so many bytes of gradients."""
    return [
        Allowance(
            name="buckets of DistributedDataParallel",
            least=gradients,
            likely=gradients,
            most=gradients,
            source="as large as the gradients, which are copied into them (gradient_as_bucket_view is off)",
        ),
        Allowance(
            name="buffers of NCCL",
            least=0,
            likely=256 * MIB,
            most=1024 * MIB,
            source="estimated: it depends on the number of GPUs, their connections and NCCL's version",
        ),
    ]


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

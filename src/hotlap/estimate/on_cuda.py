"""What a step does otherwise on CUDA than on the CPU on which it is imitated, above autograd.

autocast                 CUDA's lists take the place of the CPU's: which operators go in low precision, which in float32
torch.autocast("cuda")   is meant, and not left out because there is no card
attention                without dropout, which CUDA's fused kernels do on the way and a CPU's only with all scores
is_cuda                  of the workloads' own networks: yes

The lists are those of ATen/autocast_mode.h. What of them a version of torch does not have is left out, and what has a
rule for the CPU alone has none here.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.amp.autocast_mode import autocast

from hotlap.estimate.imitation import CannotBeTraced

_aten = torch.ops.aten


def _names(text: str) -> list[str]:
    return text.split()


LOW_PRECISION = _names("""
    _convolution.deprecated _convolution conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d.input
    conv_transpose3d.input convolution cudnn_convolution cudnn_convolution_transpose prelu addmm addmv addr matmul
    einsum mm mv linalg_vecdot linear addbmm baddbmm bmm chain_matmul linalg_multi_dot _thnn_fused_lstm_cell
    _thnn_fused_gru_cell lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell _scaled_dot_product_flash_attention
    scaled_dot_product_attention
""")
FLOAT32 = _names("""
    acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow.Tensor_Scalar pow.Tensor_Tensor
    pow.Scalar softplus layer_norm native_layer_norm rms_norm group_norm frobenius_norm.dim nuclear_norm
    nuclear_norm.dim cosine_similarity poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss
    kl_div l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss multilabel_margin_loss soft_margin_loss
    triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp
    upsample_nearest1d _upsample_nearest_exact1d upsample_nearest2d _upsample_nearest_exact2d upsample_nearest3d
    _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d
    upsample_bicubic2d _upsample_bicubic2d_aa
""")
#: These convert as they read, where nothing else was asked for, so that no converted input is there.
FLOAT32_RESULT = _names("""
    prod prod.dim_int softmax.int log_softmax.int cumprod cumsum linalg_vector_norm linalg_matrix_norm
    linalg_matrix_norm.str_ord sum sum.dim_IntList
""")
#: The same, in another overload.
NORMS = {"norm.Scalar": "norm.ScalarOpt_dtype", "norm.ScalarOpt_dim": "norm.ScalarOpt_dim_dtype"}
#: In the widest type among their tensors.
PROMOTED = _names("addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add")
REFUSED = ["binary_cross_entropy"]

_SOFTMAX = {"softmax.int": _aten._softmax.default, "log_softmax.int": _aten._log_softmax.default}
_ATTENTION = _aten.scaled_dot_product_attention.default
#: Networks that are hotlap's own.
_WORKLOADS = "hotlap.workloads."
Kernel = Callable[..., Any]


@contextmanager
def on_cuda() -> Iterator[None]:
    """Inside, imitated tensors of the CPU are computed with as CUDA's would be."""
    kernels = _Kernels()
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]  # of torch
    clear, usual = torch.clear_autocast_cache, autocast.__init__
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning only once for all operators")
            for name, kernel in kernels.all():
                library.impl(name, kernel, "AutocastCPU")  # type: ignore[no-untyped-call]
            library.impl("scaled_dot_product_attention", _without_dropout, "AutogradCPU")  # type: ignore[no-untyped-call]
        torch.clear_autocast_cache = kernels.clear_after(clear)
        autocast.__init__ = _whichever_is_meant(usual)  # type: ignore[method-assign]
        with _workloads_see_cuda():
            yield
    finally:
        torch.clear_autocast_cache, autocast.__init__ = clear, usual  # type: ignore[method-assign]
        library._destroy()  # type: ignore[no-untyped-call]


class _Kernels:
    """Of autocast, in the place of those for the CPU."""

    def __init__(self) -> None:
        #: Weights in low precision, kept until the outermost autocast ends; their originals keep their ids taken.
        self._casts: dict[int, tuple[Tensor, Tensor]] = {}

    def all(self) -> Iterator[tuple[str, Kernel]]:
        cuda, cpu = _ruled("AutocastCUDA"), _ruled("AutocastCPU")
        for names, made in (
            (LOW_PRECISION, self._in_low_precision),
            (FLOAT32, self._in_float32),
            (FLOAT32_RESULT, self._with_float32_result),
            (NORMS, self._norm),
            (PROMOTED, self._promoted),
            (REFUSED, self._refused),
        ):
            for name in names:
                if name in cuda:
                    yield name, made(name)
        for name in cpu - cuda:
            yield name, torch.library.fallthrough_kernel

    def clear_after(self, usual: Callable[[], None]) -> Callable[[], None]:
        def clear() -> None:
            self._casts.clear()
            usual()

        return clear

    def _in_low_precision(self, name: str) -> Kernel:
        return self._in(name, lambda args: torch.get_autocast_dtype("cpu"))

    def _in_float32(self, name: str) -> Kernel:
        return self._in(name, lambda args: torch.float32)

    def _promoted(self, name: str) -> Kernel:
        def widest(args: Any) -> torch.dtype:
            low = torch.get_autocast_dtype("cpu")
            return torch.float32 if any(each.dtype != low for each in _eligible(args)) else low

        return self._in(name, widest)

    def _in(self, name: str, dtype_of: Callable[[Any], torch.dtype]) -> Kernel:
        operator = _operator(name)

        def kernel(*args: Any, **kwargs: Any) -> Any:
            with torch._C._DisableAutocast():
                dtype = dtype_of([*args, *kwargs.values()])
                args = tuple(self._cast(each, dtype) for each in args)
                kwargs = {key: self._cast(each, dtype) for key, each in kwargs.items()}
                return operator(*args, **kwargs)

        return kernel

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._cast(each, dtype) for each in value]
        if not _is_eligible(value) or value.dtype == dtype:
            return value
        is_weight = value.requires_grad and value.is_leaf and not value._is_view() and value.dtype == torch.float32
        if not is_weight or dtype == torch.float32 or not torch.is_autocast_cache_enabled():
            return value.to(dtype)
        if id(value) not in self._casts:
            self._casts[id(value)] = value, value.to(dtype)
        return self._casts[id(value)][1]

    def _with_float32_result(self, name: str) -> Kernel:
        operator = _operator(name)
        at = [each.name for each in operator._schema.arguments].index("dtype")

        def kernel(*args: Any, **kwargs: Any) -> Any:
            with torch._C._DisableAutocast():
                asked = kwargs.get("dtype") is not None or (len(args) > at and args[at] is not None)
                if asked or not _is_eligible(args[0]):
                    return operator(*args, **kwargs)
                if name in _SOFTMAX and args[0].dtype == torch.float16:
                    return _SOFTMAX[name](args[0], args[1], True)
                return operator(*args[:at], **kwargs | {"dtype": torch.float32})

        return kernel

    def _norm(self, name: str) -> Kernel:
        operator = _operator(NORMS[name])

        def kernel(tensor: Tensor, *args: Any) -> Any:
            with torch._C._DisableAutocast():
                dtype = torch.float32 if _is_eligible(tensor) else tensor.dtype
                return operator(tensor, *args, dtype=dtype)

        return kernel

    def _refused(self, name: str) -> Kernel:
        def kernel(*args: Any, **kwargs: Any) -> Any:
            raise CannotBeTraced(
                f"CUDA's autocast refuses {name}, so the training would end with an error on a card: give logits to "
                "torch.nn.functional.binary_cross_entropy_with_logits, or leave autocast for this loss"
            )

        return kernel


def _without_dropout(*args: Any, **kwargs: Any) -> Any:
    """Attention, made of other operators."""
    at = 4  # of dropout_p
    if len(args) > at:
        args = (*args[:at], 0.0, *args[at + 1 :])
    else:
        kwargs = kwargs | {"dropout_p": 0.0}
    return _ATTENTION.decompose(*args, **kwargs)


@contextmanager
def _workloads_see_cuda() -> Iterator[None]:
    """Not by a mode for functions: none is active where checkpointing computes again, inside of backward."""
    usual = torch._C.TensorBase.is_cuda.__get__  # type: ignore[attr-defined]  # of a property in C

    def is_cuda(tensor: Tensor) -> bool:
        asking = sys._getframe(1).f_globals.get("__name__", "")
        return bool(asking.startswith(_WORKLOADS) or usual(tensor))

    shadowed = vars(Tensor).get("is_cuda")  # an estimate inside of another
    Tensor.is_cuda = property(is_cuda)  # type: ignore[assignment]
    try:
        yield
    finally:
        if shadowed is None:
            del Tensor.is_cuda
        else:
            Tensor.is_cuda = shadowed


def _whichever_is_meant(usual: Callable[..., None]) -> Callable[..., None]:
    """Autocast's own beginning, for the CPU where CUDA is asked for, because imitated tensors are there."""

    @functools.wraps(usual)
    def began(self: autocast, device_type: str, dtype: torch.dtype | None = None, *args: Any, **kwargs: Any) -> None:
        if device_type == "cuda":
            dtype = torch.get_autocast_dtype("cuda") if dtype is None else dtype
            usual(self, "cpu", dtype, *args, **kwargs)
        else:
            usual(self, device_type, dtype, *args, **kwargs)

    return began


def _is_eligible(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64


def _eligible(value: Any) -> Iterator[Tensor]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _eligible(each)
    elif _is_eligible(value):
        yield value


def _operator(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(_aten, packet), overload or "default")


@functools.cache
def _ruled(key: str) -> frozenset[str]:
    """Operators that autocast has a rule for."""
    names = torch._C._dispatch_get_all_op_names()
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return frozenset(name.removeprefix("aten::") for name in names if name.startswith("aten::") and has(name, key))

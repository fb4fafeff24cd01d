"""Count what operators compute and move: operations by formula, bytes by the tensors that go in and out.

    aten.addmm(bias, a, b) -> out    product: 2 m n k operations; bias + a + b + out bytes; width: the middle of m, n, k
    aten.add(a, b) -> out            elementwise: a + b + out bytes
    aten.transpose(a)                view: nothing but the call

Torch's formulas are used where it has one; for a CPU's fused attention and for recurrent layers there are formulas
here. All other arithmetic counts as none: it is hidden behind the bytes, see ``KINDS`` for what is told apart.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

#: By the operator's name without "_backward", "_foreach_" and the "_" of those that write in place.
KINDS: dict[str, str] = {
    "product": "mm addmm addmv mv _addmm_activation linear mkldnn_linear",
    "batched": "bmm baddbmm",
    "convolution": "convolution _convolution cudnn_convolution mkldnn_convolution",
    "attention": (
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention _flash_attention_forward "
        "_efficient_attention_forward"
    ),
    "recurrent": "mkldnn_rnn_layer _cudnn_rnn",
    "heavy": (
        "exp expm1 gelu tanh sigmoid silu mish softmax _softmax _log_softmax _safe_softmax log log1p log2 pow sin "
        "cos erf softplus elu atan2 log_sigmoid log_sigmoid_forward binary_cross_entropy "
        "binary_cross_entropy_with_logits"
    ),
    "random": "bernoulli uniform normal randn rand randint randperm native_dropout exponential randn_like rand_like",
    "normalization": (
        "native_layer_norm native_batch_norm native_group_norm _native_batch_norm_legit cudnn_batch_norm "
        "_fused_rms_norm _batch_norm_with_update batch_norm"
    ),
    "reduction": (
        "sum mean linalg_vector_norm norm amax amin max min argmax argmin any all var var_mean std cumsum "
        "logsumexp nll_loss nll_loss_forward nll_loss2d nll_loss2d_forward mse_loss l1_loss smooth_l1_loss topk "
        "sort embedding_dense index_add index_put scatter_add segment_reduce count_nonzero"
    ),
    "copy": (
        "clone copy _to_copy cat stack constant_pad_nd flip repeat roll slice select zeros new_zeros zeros_like "
        "ones new_ones ones_like full full_like fill zero where masked_fill tril triu arange scalar_tensor "
        "slice_scatter select_scatter im2col col2im pixel_shuffle pixel_unshuffle reflection_pad2d "
        "replication_pad2d lift reflection_pad1d replication_pad1d native_channel_shuffle eye one_hot as_strided "
        "diagonal unfold"
    ),
    "gather": "index index_select embedding gather scatter take masked_select nonzero",
    "sampling": (
        "grid_sampler_2d grid_sampler_3d upsample_bilinear2d upsample_nearest2d upsample_bicubic2d "
        "upsample_trilinear3d upsample_nearest3d upsample_linear1d upsample_nearest1d _upsample_bicubic2d_aa "
        "_upsample_bilinear2d_aa deform_conv2d"
    ),
    "pooling": (
        "max_pool2d_with_indices avg_pool2d avg_pool3d max_pool3d_with_indices _adaptive_avg_pool2d "
        "adaptive_max_pool2d _adaptive_avg_pool3d"
    ),
    "view": (
        "_unsafe_view empty empty_like new_empty new_empty_strided empty_strided lift_fresh detach alias "
        "_local_scalar_dense is_same_size _reshape_alias resize set sym_size sym_numel sym_stride item "
        "_record_function_enter_new _record_function_exit record_stream is_pinned _assert_async"
    ),
}
_KIND = {name: kind for kind, names in KINDS.items() for name in names.split()}
#: Where the operations of a call are in its row: phase, kind, type, operations, bytes, width, how many.
FLOPS = 3
#: Only written, whatever was there.
_WRITE_ONLY = frozenset({"zero_", "fill_", "normal_", "uniform_", "bernoulli_", "_foreach_zero_"})


class Count:
    """Calls by phase, kind, type, operations, bytes and width."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._formulas = importlib.import_module("torch.utils.flop_counter").flop_registry
        self._pointwise = getattr(torch.Tag, "pointwise", None)
        self._kinds: dict[Any, tuple[str, str]] = {}
        self.calls: Counter[tuple[str, str, str, int, int, int]] = Counter()
        self.unknown: set[str] = set()
        #: An operator that could not be counted, so that the rest is not the whole.
        self.failed: str | None = None

    def restart(self) -> None:
        self.calls.clear()
        self.unknown.clear()

    def add(self, function: Any, args: Any, kwargs: Any, out: Any, phase: str) -> None:
        known = self._kinds.get(function)
        if known is None:
            known = self._kinds[function] = self._kind(function)
        name, kind = known
        if kind == "view":
            self.calls[phase, kind, "", 0, 0, 0] += 1
            return
        inputs = list(_tensors(self._torch, args))
        outputs = list(_tensors(self._torch, out))
        written = sum(map(_bytes, outputs))
        if out is None and args and isinstance(args[0], (list, tuple)):  # _foreach_ in place
            written = sum(_bytes(each) for each in args[0])
        if name.startswith("_fused_"):
            written = sum(_bytes(each) for group in (args[0], *args[2:5]) for each in group)
        if name in _WRITE_ONLY:
            read = 0
        elif kind == "gather":  # of a table it reads what it returns
            read = written
        else:
            read = sum(map(_bytes, inputs))
            if name == "copy_":
                read -= _bytes(inputs[0])
        first = next((each for each in inputs + outputs if each.dtype.is_floating_point), None)
        dtype = "" if first is None else str(first.dtype).removeprefix("torch.")
        width = 0
        if kind in ("product", "batched", "convolution", "convolution_backward"):
            kind, width = _shape(name, kind, args)
        elif kind == "attention":
            width = int(inputs[0].shape[-1])
        self.calls[phase, kind, dtype, self._flops(function, name, args, kwargs, out), read + written, width] += 1

    def lines(self) -> list[list[Any]]:
        """The calls as rows that ``records.work.Calls`` is made from, the count last."""
        return [[*key, count] for key, count in self.calls.items()]

    def _kind(self, function: Any) -> tuple[str, str]:
        packet = str(function._overloadpacket)
        namespace, _, name = packet.partition(".")
        base = name.removeprefix("_foreach_").removesuffix("_backward_data").removesuffix("_backward").rstrip("_")
        kind = _KIND.get(base) or _KIND.get(name)
        if kind == "convolution" and "backward" in name:
            return name, "convolution_backward"
        if kind is not None and not (kind == "copy" and _is_view(function)):
            return name, kind
        if _is_view(function) or namespace in ("profiler", "prim"):
            return name, "view"
        known = self._pointwise in function.tags or name.startswith(("_foreach_", "_fused_")) or "backward" in name
        if not known:
            self.unknown.add(packet)
        return name, "elementwise"

    def _flops(self, function: Any, name: str, args: Any, kwargs: Any, out: Any) -> int:
        formula = self._formulas.get(function._overloadpacket)
        if formula is not None:
            return int(formula(*args, **kwargs, out_val=out))
        if name.startswith("_scaled_dot_product_flash_attention_for_cpu"):
            backward = name.endswith("backward")
            query, key = args[1:3] if backward else args[:2]
            batch, heads, length, size = query.shape
            forward = 4 * batch * heads * length * key.shape[-2] * size
            # As torch counts fused attention's: five products for two, the scores once more among them.
            return int(forward * 5 // 2) if backward else int(forward)
        if name.startswith("mkldnn_rnn_layer"):
            x, of_input, of_hidden = args[:3]
            forward = 2 * prod(x.shape[:2]) * (of_input.numel() + of_hidden.numel())
            return int(forward * (2 if "backward" in name else 1))
        if name in ("_cudnn_rnn", "_cudnn_rnn_backward"):
            x, weights = args[0], args[1]
            forward = 2 * prod(x.shape[:2]) * sum(each.numel() for each in weights if each.dim() > 1)
            return int(forward * (2 if "backward" in name else 1))
        return 0


def _shape(name: str, kind: str, args: Any) -> tuple[str, int]:
    """The kind, and how wide it is: one narrow side of three makes a product wait for its bytes, two make it slow."""
    if kind in ("product", "batched"):
        one, other = args[1:3] if name in ("addmm", "baddbmm", "addmv", "_addmm_activation") else args[:2]
        return kind, int(sorted((one.shape[-2], one.shape[-1], other.shape[-1]))[1])
    x, weight = args[1:3] if kind == "convolution_backward" else args[:2]
    groups = int(args[9] if kind == "convolution_backward" else args[8])
    last = kind if x.dim() != 4 else kind + "_last" * (_is_last(x) or _is_last(weight))
    return last, int(min(weight.shape[0] // groups, weight.shape[1]))


def _is_last(x: Any) -> bool:
    """Whether it lies channels last, and in no other way."""
    return x.shape[1] > 1 and x.stride(1) == 1 and not x.is_contiguous()


def _is_view(function: Any) -> bool:
    returned = function._schema.returns
    return bool(returned) and all(each.alias_info is not None and not each.alias_info.is_write for each in returned)


def _bytes(tensor: Any) -> int:
    """Of the numbers that there are: an expanded tensor has one in many places."""
    return int(min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()))


def _tensors(torch: Any, value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(torch, each)


def mode(count: Count, phase: Callable[[], str]) -> Any:
    """A dispatch mode that calls what is called, and counts it; real tensors, nothing computed otherwise."""
    dispatch = importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode

    class Counting(dispatch):  # type: ignore[misc, valid-type]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            out = function(*args, **kwargs)
            try:
                count.add(function, args, kwargs, out, phase())
            except Exception:  # of a kind of tensor without strides or storage: it is the script's step that goes on
                count.failed = str(function._overloadpacket)
            return out

    return Counting()

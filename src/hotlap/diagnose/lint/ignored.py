"""Keys that are set, and that nothing reads as the others stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hotlap.diagnose.lint.base import ConfigRule, Setup, shown
from hotlap.records import ConfigFinding


class WithoutGpu(ConfigRule):
    code = "CONFIG09"
    title = "A setting for GPUs, and no GPU"
    meaning = "Pinned memory makes copies to a GPU faster, and cuDNN chooses convolutions on one. A CPU has neither."
    evidence_needed = "`pin_memory` or `cudnn_benchmark`, with `device: cpu` in the file or `--gpu none`."
    remedy = "The key taken back, or a GPU."
    limits = "Silent where it is not said what the training will run on."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        if setup.on_cpu:
            for key in ("pin_memory", "cudnn_benchmark"):
                if setup.get(key):
                    yield self.finding(setup, [f"{setup.says(key)}, and no GPU."], "It has no effect.", {key: False})


class _Reader(NamedTuple):
    #: Keys that are read only where ``key`` ``reads`` its value.
    keys: tuple[str, ...]
    key: str
    reads: Callable[[Any], bool]
    #: What would have them read.
    wanted: Any


def _is(value: Any) -> Callable[[Any], bool]:
    return lambda other: other == value


_ATTENTION = ("heads", "adaptive_chunk", "max_batch_tokens", "chunk_size", "chunk_shape")
_READERS = (
    _Reader(("momentum",), "optimizer", _is("sgd"), "sgd"),
    _Reader(("mixed_precision_dtype",), "use_mixed_precision", bool, True),
    _Reader(("compile_mode",), "compile_model", bool, True),
    _Reader(
        ("perceptual_backbone", "perceptual_layers", "perceptual_weight", "perceptual_every"),
        "use_perceptual",
        bool,
        True,
    ),
    _Reader(("cache_size_gb",), "use_ram_cache", bool, True),
    _Reader(("scale",), "task", _is("super_resolution"), "super_resolution"),
    _Reader(("noise_sigma",), "task", _is("denoise"), "denoise"),
    _Reader(
        ("log1p", *(f"{kind}_{each}" for kind in ("fuse", "spike") for each in _ATTENTION)), "use_spikes", bool, True
    ),
    _Reader(("fuse_max_batch_tokens",), "fuse_adaptive_chunk", bool, True),
    _Reader(("spike_max_batch_tokens",), "spike_adaptive_chunk", bool, True),
    _Reader(("film", "film_dir"), "data_dir", _is(None), None),
    _Reader(("concepts",), "data_file", _is(None), None),
    _Reader(("group_by_length",), "pad_to_max_length", _is(False), False),
)


class NothingReads(ConfigRule):
    code = "CONFIG10"
    title = "A key is set, and nothing reads it"
    meaning = (
        "The key belongs to something that is switched off, or to another choice than was made. Who set it expects an "
        "effect that does not come. (A key that does not exist at all is refused when the file is read.)"
    )
    evidence_needed = (
        "A key with another value than it has by itself, and the key that decides whether it is read: `momentum` and "
        "the optimizer, `grad_scale` and float16, `perceptual_*` and `use_perceptual`, `cache_size_gb` and "
        "`use_ram_cache`, keys of the spike branch and `use_spikes`, `patience` and a training that ends before, ..."
    )
    remedy = "Take it out, or switch on what reads it."
    limits = "A key that is written with the value that it has anyway is no finding."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        if setup.workload is None:
            return
        for keys, reader, reads, wanted in _READERS:
            if reader not in setup.values or reads(setup.get(reader)):
                continue
            for key in keys:
                if setup.chosen(key):
                    yield self.finding(
                        setup,
                        [f"{setup.says(key)}, and {setup.says(reader)}."],
                        "It has no effect.",
                        {key: setup.defaults[key]},
                        f"Or {setup.place(reader)}: {shown(wanted)}, if it was meant to count.",
                    )
        yield from self._grad_scale(setup)
        yield from self._patience(setup)

    def _grad_scale(self, setup: Setup) -> Iterator[ConfigFinding]:
        half = setup.get("use_mixed_precision") and setup.get("mixed_precision_dtype") == "float16"
        if not half and setup.chosen("grad_scale"):
            yield self.finding(
                setup,
                [f"{setup.says('grad_scale')}, and gradients are scaled in float16 alone."],
                "It has no effect.",
                {"grad_scale": setup.defaults["grad_scale"]},
                f"Or {setup.place('use_mixed_precision')}: true and {setup.place('mixed_precision_dtype')}: float16.",
            )

    def _patience(self, setup: Setup) -> Iterator[ConfigFinding]:
        patience, every, steps = setup.get("patience"), setup.get("validate_every"), setup.steps
        # It takes one validation to have a best one.
        if patience and every and steps and (patience + 1) * every >= steps:
            yield self.finding(
                setup,
                [
                    f"{setup.says('patience')} validations without a better one, {setup.says('validate_every')}, and "
                    f"the training has {steps} steps."
                ],
                "It ends before patience could end it.",
                {"patience": 0},
                f"Or validate at least every {max(1, steps // (patience + 2))} steps.",
            )

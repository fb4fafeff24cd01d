"""What ran, and on what: the rows of the page that describe rather than judge."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hotlap.records import DataParallel, Dataset, Environment, Facts, Switches, ThreadUse
from hotlap.report import text
from hotlap.report.secrets import mask

#: Fields of ``Facts`` in the order of the page, with their words.
_FACTS = {
    "device": "Device",
    "world_size": "Ranks",
    "threads": "Threads",
    "parameters": "Parameters",
    "parameter_tensors": "Parameter tensors",
    "parameter_dtype": "Type of the parameters",
    "autocast": "Autocast of the script",
    "channels_last": "Channels last",
    "convolutions": "Convolutions",
    "batch_norms": "Batch normalizations",
    "compiled": "Compiled",
    "repeated_blocks": "Repeated blocks of the model",
    "input_shapes": "Shapes of the model's input in the first steps",
    "matmul_precision": "Precision of float32 products",
    "cudnn_benchmark": "Convolutions chosen by trying",
    "cuda_allocator": "Settings of the allocator on a GPU",
    "graph_breaks": "Graph breaks of compiled code",
    "recompile_limit": "Compilations of a function at most",
    "module_calls": "Calls of modules per step",
    "checkpointing": "Activation checkpointing",
    "optimizer": "Optimizer",
    "optimizer_foreach": "Optimizer with foreach",
    "optimizer_fused": "Fused optimizer",
    "optimizer_bits": "Bits of the optimizer's state",
    "optimizer_options": "Options of the optimizer",
    "weight_decay": "Weight decay",
    "zeroed_gradients": "Gradients filled with zeros",
    "blocks": "Blocks that could be recomputed",
    "importable": "Libraries that could be used",
    "batch_size": "Batch size",
    "micro_batches": "Micro-batches of a step",
    "data_parallel": "Data parallel model",
    "page_faults": "Page faults per step",
    "steady_faults": "Page faults of the training thread in most steps",
    "page_fault_seconds": "A page fault",
    "system_seconds": "Kernel time per step",
    "gc_seconds": "Garbage collection per step",
    "gc_collections": "Collections per step",
    "gc_full": "Full collections per step",
    "cpu_seconds": "Processor time per step",
    "thread_seconds": "Processor time of the training thread per step",
    "queue_seconds": "Wait for a core per step",
    "counted_seconds": "Seconds per step while this was counted",
    "idle_cores": "Idle cores of the machine",
    "thread_use": "Threads of the process",
    "voluntary_switches": "Cores given up per step",
    "involuntary_switches": "Cores taken away per step",
    "major_faults": "Page faults per step that read from a disk",
    "allocator": "Allocator",
    "huge_pages": "Huge pages unasked",
    "peak_memory": "Peak memory of the process",
    "peak_device_memory": "Peak memory of the device",
    "probe_seconds": "Cost of the probe per step",
    "switches": "Switches of torch and the environment",
    "applied": "Changes that the script applies with hotlap.apply",
}

#: Of them, those of the data side.
_DATA_FACTS = {
    "workers": "Loader workers",
    "prefetch_factor": "Prefetch factor",
    "persistent_workers": "Persistent workers",
    "pin_memory": "Pinned memory",
    "iterable_dataset": "Iterable data set",
    "fetch_uses_rng": "Fetching draws random numbers",
    "samples_use_rng": "Samples draw random numbers",
    "fetch_seconds": "Fetching one batch",
    "fetch_samples_seconds": "Of it, having the samples",
    "fetch_collate_seconds": "Of it, collating them",
    "fetch_cpu_seconds": "Of it, on a core",
    "fetch_queue_seconds": "Of it, ready and without a core",
    "decode_seconds": "Of it, decoding pictures",
    "decoded_again_share": "Share of the decoded pictures that had been decoded before",
    "decoded_bytes": "Size of those that had not, decoded",
    "send_seconds": "A worker's sending of one batch",
    "sent_bytes": "Size of what it sends",
    "receive_seconds": "Receiving one batch from a worker",
    "head_of_line_share": "Share of the wait for workers in which a later batch was there",
    "batches_behind": "Later batches there during such a wait",
    "dataset": "Data set",
}

_COUNTS = (
    "weight_decay",
    "idle_cores",
    "gc_collections",
    "gc_full",
    "voluntary_switches",
    "involuntary_switches",
    "batches_behind",
)


def facts_rows(facts: Facts) -> tuple[list[tuple[str, str]], list[str]]:
    """Return what is known about the training but its data side, and the words for what is not."""
    return _rows(facts, _FACTS)


def data_rows(facts: Facts) -> tuple[list[tuple[str, str]], list[str]]:
    """Return what is known about the data side, and the words for what is not."""
    return _rows(facts, _DATA_FACTS)


def _rows(facts: Facts, fields: Mapping[str, str]) -> tuple[list[tuple[str, str]], list[str]]:
    rows, unknown = [], []
    for field, words in fields.items():
        value = getattr(facts, field)
        if value is None or value in (Switches(), Dataset(), {}, []):
            unknown.append(words)
        else:
            rows.append((words, _fact(field, value)))
    return rows, unknown


def environment_rows(environment: Environment) -> list[tuple[str, str]]:
    """Return the machine and its software, row by row; of the finer points only those that are known."""
    gpus = environment.gpus
    rows = [
        ("GPU", ", ".join(gpus) or "none seen"),
        ("CPU", environment.cpu or text.NA),
        ("Cores for the process", str(environment.cores)),
        ("Memory", text.size(environment.memory)),
        ("Load when it began", text.figure(environment.load)),
        ("Platform", environment.platform or text.NA),
        ("Python", environment.python),
        ("PyTorch", environment.torch or text.NA),
        ("hotlap", environment.hotlap),
    ]
    return rows + [(words, shown) for words, shown in _finer(environment) if shown]


def _finer(environment: Environment) -> list[tuple[str, str]]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:g}"

    def size(value: int | None) -> str:
        return "" if value is None else text.size(value)

    def switch(value: bool | None) -> str:
        return "" if value is None else _fact("", value)

    return [
        ("Physical cores of the machine", number(environment.physical_cores)),
        ("Cores of the machine", number(environment.machine_cores)),
        ("Cores at once (cgroup)", number(environment.cpu_quota)),
        ("Waiting for a core in the minute before", _share(environment.pressure)),
        ("Memory limit (cgroup)", size(environment.memory_limit)),
        ("Memory free when it began", size(environment.memory_available)),
        ("Kernel", environment.kernel),
        ("Governor of the clocks", environment.governor or ""),
        ("Boost of the clocks", switch(environment.boost)),
        ("Virtual machine", switch(environment.virtual)),
        ("Huge pages", environment.huge_pages or ""),
        ("CUDA of PyTorch", environment.cuda or ""),
        ("GPU driver", environment.driver or ""),
        ("Variables", ", ".join(mask([f"{name}={value}" for name, value in environment.variables.items()]))),
    ]


def _share(value: float | None) -> str:
    return "" if value is None else text.percent(value)


def machine(facts: Facts, environment: Environment) -> str:
    """Return the machine in one line."""
    counts = {name: environment.gpus.count(name) for name in environment.gpus}
    gpus = ", ".join(name if count == 1 else f"{count} × {name}" for name, count in counts.items())
    device = gpus or environment.cpu or "CPU n/a"
    parts = [device, text.plural(environment.cores, "core"), f"torch {environment.torch or text.NA}"]
    if facts.world_size > 1:
        parts.append(f"{facts.world_size} ranks")
    return ", ".join(parts)


def _fact(field: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (Switches, Dataset, DataParallel)):
        usual = type(value)()
        seen = {name: it for name, it in msgspec.structs.asdict(value).items() if it != getattr(usual, name)}
        return ", ".join(f"{name.replace('_', ' ')}: {_switch(it)}" for name, it in seen.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={it}" for name, it in value.items())
    if isinstance(value, ThreadUse):
        others = "".join(f", {each.name} {text.seconds(each.running)} per step" for each in value.python)
        return f"{value.wanting:.2g} at once want a core{others}"
    if field.startswith("peak_") and isinstance(value, int):
        return text.size(value)
    if isinstance(value, float):
        if field.endswith("_faults"):
            return f"{value:,.0f}"
        if field.endswith("_bytes"):
            return text.size(value)
        if field.endswith("_share"):
            return text.percent(value)
        counts = field in _COUNTS
        return text.figure(value) if counts else text.seconds(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _switch(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} ({count:,})" for name, count in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return text.figure(value) if isinstance(value, float) else str(value)

"""Each rule speaks up on its planted record, and is silent on the nearest healthy one."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import msgspec
import pytest
from distributed_cases import CASES as DISTRIBUTED
from planted import HEALTHY, SHORT, device, looped, model, run, steps
from planted_memory import GB, MEMORY, points, ramp, random_sizes, sized, stairs

from hotlap.diagnose import Machine, catalogue, diagnose, explain, rule
from hotlap.diagnose.docs import PAGE, page
from hotlap.errors import UsageError
from hotlap.records import (
    Compilation,
    Dataset,
    Finding,
    LoaderStart,
    PythonThread,
    Run,
    Sampled,
    SampledLine,
    SampledPhase,
    Switches,
    Sync,
    Syncs,
    ThreadUse,
)

FAST = Machine(bf16_matmul_speedup=1.8, bf16_conv_speedup=2.0, channels_last_conv_speedup=1.3)
INFORMATION = {each.code for each in catalogue() if each.information}
SLOW = Machine(bf16_matmul_speedup=0.7, bf16_conv_speedup=0.9, channels_last_conv_speedup=1.0)


def found(planted: Run, machine: Machine | None = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in diagnose(planted, machine).findings}


def planted(*, machine: Machine | None = None, **arguments: Any) -> dict[str, Finding]:
    return found(run(**arguments), machine)


def switches(**values: Any) -> dict[str, Any]:
    return {"switches": Switches(**values)}


def losses(*values: float) -> dict[str, Any]:
    """Steps with these losses."""
    made = steps([HEALTHY] * len(values))
    return {"recorded": [msgspec.structs.replace(step, loss=loss) for step, loss in zip(made, values, strict=True)]}


FALLING = [1 / (i + 1) for i in range(40)]
AMPERE = {"device": "cuda:0", "switches": Switches(capability=(8, 0), tf32_matmul=False, tf32_convolutions=True)}
SCALED = {"autocast": "float16", "switches": Switches(scale_first=65536.0, scale_last=256.0)}
WAIT = {"data_wait": 0.1}
#: Nothing stands out: neither computing nor anything beside it.
FLAT = {"phases": {"loss": 0.019, "other": 0.019, "gradient_clip": 0.009, "forward": 0.02, "backward": 0.03}}
TINY_CALLS = {"facts": {"module_calls": 2000}, "micro_batches": 8}
RESTARTS = steps([{**HEALTHY, "data_wait": 3.0 if i in (50, 100) else 0.001} for i in range(120)])
STALLS = steps([{**HEALTHY, "other": 3.0 if i in (50, 100) else 0.003} for i in range(120)])
WAITS = [{**HEALTHY, "data_wait": 3.0 if i in (50, 100) else 0.001} for i in range(120)]
MIXED = steps([{**row, "other": 5.0} if i in (20, 60, 80) else row for i, row in enumerate(WAITS)])


def reads(*seconds: float, what: str = "item()", watched: int = 4, seen: int = 4) -> Syncs:
    """Return a line for each of ``seconds``."""
    lines = [
        Sync(file="/train.py", line=40 + i, function="train", what=what, count=3.0, seconds=each, seen=seen)
        for i, each in enumerate(seconds)
    ]
    return Syncs(watched=watched, lines=lines)


def sampled(*lines: tuple[str, int, str | None, int, float], phase: str = "other") -> Sampled:
    """Return lines of the working directory: file, number, what is called there, samples and seconds."""
    made = [
        SampledLine(
            file=f"/{file}", line=line, function="train", called=called, phase=phase, samples=samples, seconds=seconds
        )
        for file, line, called, samples, seconds in sorted(lines, key=lambda line: -line[4])
    ]
    whole = SampledPhase(samples=sum(line.samples for line in made), seconds=sum(line.seconds for line in made))
    return Sampled(steps=4, phases={phase: whole}, lines=made)


CUDA = {"device": "cuda", "module_calls": 40}
#: Half of them in the thread that trains.
FAULTS = {"page_faults": 20000.0, "steady_faults": 10000.0, "page_fault_seconds": 2e-6, "system_seconds": 0.04}
TINY_BATCH = {"batch_size": 1, "module_calls": 2000}
#: A worker's batch of 100 MB, which torch puts together.
LARGE = {
    "workers": 1,
    "fetch_seconds": 0.15,
    "fetch_samples_seconds": 0.01,
    "fetch_collate_seconds": 0.14,
    "send_seconds": 0.02,
    "sent_bytes": 1e8,
    "receive_seconds": 0.01,
    "dataset": Dataset(stacked=True),
}
IN_TURN = {"workers": 4, "fetch_seconds": 0.2, "head_of_line_share": 0.9, "batches_behind": 1.5}
CROWD = {"threads": 8, "workers": 4, "fetch_seconds": 0.05, "cpu_seconds": 0.75, "queue_seconds": 0.03}


def used(running: float = 0.05, ready: float = 0.001, python: float = 0.0, **fields: Any) -> ThreadUse:
    """Return the threads of a step of 100 ms, with another Python thread that computes for so long."""
    others = [PythonThread(name="Thread-1 (parse)", running=python, ready=0.0)]
    return ThreadUse(
        **{"wall": 0.1, "running": running, "ready": ready, "wanting": 1.0, "at_work": 1, "python": others, **fields}
    )


#: Torch shares each operator among 16 threads of which 8 can run.
TOO_MANY = {"threads": 16, "workers": 0, "thread_use": used(0.06, 0.03, wanting=12.0)}
LOCKED = {"workers": 0, "thread_use": used(0.02, python=0.08, lock_wait=0.005)}
ONE_THREAD = {"threads": 1, "workers": 0, "cpu_seconds": 0.1, "queue_seconds": 0.001, "idle_cores": 6.8}
EPOCHS = [{**HEALTHY, "data_wait": 0.5 if i % 20 == 10 else 0.001} for i in range(120)]
#: Each epoch has 20 steps, and begins with a wait for new workers.
STARTS = [
    LoaderStart(t=0, seconds=0.3, first_batch=0.2, step=i, loader="data 1", workers=2, fresh=True)
    for i in range(10, 120, 20)
]
NO_WORKERS = [msgspec.structs.replace(each, workers=0, fresh=False) for each in STARTS]
GROWING = {
    name: steps([{**HEALTHY, name: HEALTHY.get(name, 0.0) + 0.0003 * i} for i in range(200)])
    for name in ("loss", "backward", "logging")
}
SLOWING = steps([{name: seconds * (1 + 0.005 * i) for name, seconds in HEALTHY.items()} for i in range(200)])
LARGER = [msgspec.structs.replace(step, samples=8 + step.i // 10) for step in GROWING["loss"]]
STEP_UP = steps([{**HEALTHY, "loss": 0.008 if i < 123 else 0.05} for i in range(200)])


def compiled(*at: int, seconds: float = 2.0, reason: str | None = "0/0: len(flags) == 1") -> dict[str, Any]:
    """A healthy run of 60 steps that compiles in step 0, and again in these."""
    rows = [{**HEALTHY, "forward": seconds if i in (0, *at) else HEALTHY["forward"]} for i in range(60)]
    times = [Compilation(t=0, seconds=seconds - 0.04, step=0, what="forward (net.py:3)")]
    times += [Compilation(t=0, seconds=seconds - 0.04, step=i, what="forward (net.py:3)", reason=reason) for i in at]
    return {"recorded": steps(rows), "facts": {"compiled": True}, "happened": {"compilations": times}}


EVEN_BLOCKS = model([1.0] * 6)
CELL = {"stages": looped(300)}
SLOW_BLOCK = model([1.0, 1.0, 10.0, 1.0])
RECOMPUTED = model([1.0] * 6, recompute=True)
CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "DATA01": (
        {"phases": WAIT, "facts": {"workers": 0, "fetch_seconds": 0.099}},
        [{"facts": {"workers": 0}}, {"phases": WAIT, "facts": {"workers": 4, "fetch_seconds": 0.3}}],
    ),
    "DATA02": (
        {"phases": WAIT, "facts": {"workers": 1, "fetch_seconds": 0.19}},
        [{"facts": {"workers": 1}}, {"phases": WAIT, "facts": {"workers": 0}}],
    ),
    "DATA03": (
        {"phases": WAIT, "facts": {"workers": 16, "fetch_seconds": 0.09}, "cores": 2},
        [
            {"phases": WAIT, "facts": {"workers": 2, "fetch_seconds": 0.09}, "cores": 2},
            {"facts": {"workers": 16}, "cores": 2},
        ],
    ),
    "DATA04": (
        {"recorded": RESTARTS, "facts": {"persistent_workers": False}},
        [
            {"recorded": RESTARTS, "facts": {"workers": 0, "persistent_workers": False}},
            {"recorded": RESTARTS[:90], "facts": {"persistent_workers": False}},
            {"recorded": STALLS, "facts": {"persistent_workers": False}},
            {"recorded": MIXED, "facts": {"persistent_workers": False}},
        ],
    ),
    "DATA05": (
        {"facts": {"dataset": Dataset(batches=3, padding=0.5)}},
        [
            {"facts": {"dataset": Dataset(batches=3, padding=0.15)}},
            {"facts": {"dataset": Dataset(batches=3)}},
            {"phases": {"other": 100.0}, "facts": {"dataset": Dataset(batches=3, padding=0.5)}},
        ],
    ),
    "DATA06": (
        {"phases": WAIT, "facts": LARGE},
        [
            {"facts": LARGE},
            {"phases": WAIT, "facts": {**LARGE, "workers": 0}},
            {"phases": WAIT, "facts": {**LARGE, "sent_bytes": 5e5}},
            # Something is computed for so many bytes.
            {"phases": WAIT, "facts": {**LARGE, "sent_bytes": 5e6}},
            {"phases": WAIT, "facts": {**LARGE, "dataset": Dataset(stacked=False)}},
            {"phases": WAIT, "facts": {**LARGE, "fetch_samples_seconds": 0.14, "fetch_collate_seconds": 0.01}},
            # By the means of its parts nothing would have to be waited for.
            {"phases": WAIT, "facts": {**LARGE, "workers": 4}},
            {"phases": WAIT, "facts": {**LARGE, "send_seconds": None}},
        ],
    ),
    "DATA07": (
        {"phases": WAIT, "facts": IN_TURN},
        [
            {"facts": IN_TURN},
            {"phases": WAIT, "facts": {**IN_TURN, "head_of_line_share": 0.3}},
            {"phases": WAIT, "facts": {**IN_TURN, "head_of_line_share": None}},
            # Too slow together, too many, or with nothing to do.
            {"phases": WAIT, "facts": {**IN_TURN, "fetch_seconds": 0.7}},
            {"phases": WAIT, "facts": {**IN_TURN, "workers": 16}, "cores": 2},
            {"phases": WAIT, "facts": {**IN_TURN, "fetch_seconds": 0.01}},
        ],
    ),
    "BATCH01": (
        TINY_CALLS,
        [
            {**TINY_CALLS, "micro_batches": 1},
            {"facts": {"module_calls": 400}, "micro_batches": 8},
            {"facts": {"module_calls": None}, "micro_batches": 8},
        ],
    ),
    "HOST01": (
        {"facts": CUDA, "syncs": reads(0.06, 0.01)},
        [
            {"facts": CUDA},
            {"facts": CUDA, "syncs": reads(0.001)},
            # The device is never without work: what is waited for would have to be computed all the same.
            {"facts": CUDA, "syncs": reads(0.099)},
            {"facts": CUDA, "syncs": reads(0.06, watched=1, seen=1)},
            {"facts": CUDA, "syncs": reads(0.06, seen=1)},
            {"syncs": reads(2e-6, 3e-6)},
            {"syncs": reads(0.03, what="x[mask]")},
            # On a CPU what Python does around the reads is no wait for them.
            {"phases": {"other": 0.05}, "syncs": reads(*[1e-5] * 20)},
        ],
    ),
    "HOST02": (
        {"facts": {"gc_seconds": 0.02, "gc_collections": 3.0, "gc_full": 0.2}},
        [
            {"facts": {"gc_seconds": 0.002, "gc_collections": 3.0, "gc_full": 0.0}},
            {"facts": {"gc_seconds": 0.0, "gc_collections": 0.0}},
            {"facts": {"gc_seconds": None}},
        ],
    ),
    "HOST09": (
        CELL,
        [
            {"stages": looped(10)},
            {"stages": looped(300, nodes=4.5)},
            {"stages": looped(300, beside=1.0)},
            {"stages": looped(300, nodes=0)},
            {**CELL, "facts": {"device": "cuda"}},
            {**CELL, "phases": {"loss": 0.5}},
            {"stages": EVEN_BLOCKS},
            {"stages": SLOW_BLOCK},
            {},
        ],
    ),
    "HOST03": (
        {"facts": TINY_BATCH},
        [
            {"facts": {**TINY_BATCH, "batch_size": 8}},
            {"facts": {**TINY_BATCH, "batch_size": None}},
            {"facts": {**TINY_BATCH, "module_calls": 300}},
            {"facts": {**TINY_BATCH, "module_calls": None}},
            {"facts": {**TINY_BATCH, "compiled": True}},
            {"facts": TINY_BATCH, "micro_batches": 4},
        ],
    ),
    "HOST04": (
        {"facts": CROWD},
        [
            {"facts": {**CROWD, "queue_seconds": 0.005}},
            {"facts": {**CROWD, "queue_seconds": None}},
            {"facts": {**CROWD, "cpu_seconds": 0.3}},
            {"facts": {**CROWD, "cpu_seconds": None}},
            {"facts": {**CROWD, "threads": 4}},
            # As many threads as cores; threads that no operator of the model is large enough for; on a GPU.
            {"facts": {**TOO_MANY, "threads": 8}},
            {"facts": {**TOO_MANY, "thread_use": used(0.09, wanting=1.1)}},
            {"facts": {**TOO_MANY, "device": "cuda"}},
            {"facts": TOO_MANY, "phases": {"other": 0.3}},
        ],
    ),
    "HOST05": (
        {"facts": ONE_THREAD},
        [
            {"facts": {**ONE_THREAD, "threads": 6}},
            {"facts": ONE_THREAD, "cores": 1},
            {"facts": {**ONE_THREAD, "workers": 6, "idle_cores": 0.5}},
            {"facts": {**ONE_THREAD, "world_size": 6, "idle_cores": 2.0}},
            {"facts": {**ONE_THREAD, "idle_cores": None}},
            {"facts": {**ONE_THREAD, "device": "cuda"}},
            {"facts": {**ONE_THREAD, "module_calls": 200}},
            {"facts": {**ONE_THREAD, "queue_seconds": 0.03}},
            {"facts": {**ONE_THREAD, "cpu_seconds": 0.5}},
            {"facts": ONE_THREAD, "phases": {"loss": 0.09}},
        ],
    ),
    "HOST07": (
        {"facts": CUDA, "happened": {"device": device(0.2)}},
        [
            {"facts": CUDA},
            {"happened": {"device": device(0.2)}},
            # The device is at work all the time, or all the time but for a little.
            {"facts": CUDA, "happened": {"device": device(1.0, dry=0.0)}},
            {"facts": CUDA, "happened": {"device": device(0.95)}},
            # The host is ahead at most marks.
            {"facts": CUDA, "happened": {"device": device(0.2, dry=0.5)}},
            # How long the device works is not known: it may be as long as the host.
            {"facts": CUDA, "happened": {"device": device(1.0, known=0.1)}},
        ],
    ),
    "HOST08": (
        {"facts": LOCKED},
        [
            {"facts": {**LOCKED, "thread_use": None}},
            # It only sleeps; it lets go of the lock while it computes; no one has tried.
            {"facts": {**LOCKED, "thread_use": used(0.02, python=0.001, lock_wait=0.005)}},
            {"facts": {**LOCKED, "thread_use": used(0.02, python=0.025, lock_wait=60e-6)}},
            {"facts": {**LOCKED, "thread_use": used(0.075, python=0.08, lock_wait=60e-6)}},
            {"facts": {**LOCKED, "thread_use": used(0.02, python=0.08)}},
            # The training thread runs all the time, or waits for a core, or for workers.
            {"facts": {**LOCKED, "thread_use": used(0.095, python=0.08, lock_wait=0.005)}},
            {"facts": {**LOCKED, "thread_use": used(0.02, 0.075, python=0.08, lock_wait=0.005)}},
            {
                "facts": {**LOCKED, "workers": 2, "thread_use": used(0.02, python=0.08, lock_wait=0.005)},
                "phases": {"data_wait": 0.3},
            },
            # The GPU is at work all the time.
            {"facts": {**LOCKED, **CUDA}, "happened": {"device": device(1.0, dry=0.0)}},
        ],
    ),
    "PRECISION01": (
        {"machine": FAST},
        [
            {"machine": None},
            {"machine": Machine()},
            {"machine": SLOW},
            {"machine": FAST, "facts": {"autocast": "bfloat16"}},
            {"machine": FAST, "facts": {"parameter_dtype": "bfloat16"}},
            {"machine": FAST, "facts": {"parameter_dtype": None}},
        ],
    ),
    "PRECISION02": (
        {"facts": switches(dtypes={"float64": 60})},
        [{"facts": switches(dtypes={"float32": 60})}, {"facts": switches(dtypes={"float32": 60, "float64": 2})}],
    ),
    "PRECISION03": (
        {"facts": {"autocast": "float16", **switches(float16_slowdown=12.0)}},
        [
            {"facts": {"autocast": "float16"}},
            {"facts": {"autocast": "float16", **switches(float16_slowdown=0.9)}},
            {"facts": {"autocast": "float16", "device": "cuda:0", **switches(float16_slowdown=12.0)}},
        ],
    ),
    "PRECISION04": (
        {"facts": AMPERE},
        [
            {"facts": {**AMPERE, "switches": Switches(capability=(7, 5), tf32_matmul=False)}},
            {"facts": {**AMPERE, "switches": Switches(capability=(8, 0), tf32_matmul=True)}},
            {"facts": {**AMPERE, "switches": Switches(capability=(8, 0))}},
            {"facts": {**AMPERE, "convolutions": 20}},
            {"facts": {**AMPERE, "autocast": "bfloat16"}},
            {"facts": {**AMPERE, "parameter_dtype": "bfloat16"}},
        ],
    ),
    "PRECISION05": (
        {"facts": SCALED},
        [
            {"facts": {**SCALED, "switches": Switches(scale_first=65536.0, scale_last=32768.0)}},
            {"facts": {**SCALED, "switches": Switches(scale_first=65536.0, scale_last=131072.0)}},
            {"facts": SCALED, "n": 200},
        ],
    ),
    "LAYOUT01": (
        {"machine": FAST, "facts": {"convolutions": 12}},
        [
            {"machine": FAST},
            {"facts": {"convolutions": 12}},
            {"machine": SLOW, "facts": {"convolutions": 12}},
            {"machine": FAST, "facts": {"convolutions": 12, "channels_last": True}},
            {"machine": FAST, "facts": {"convolutions": 12, "channels_last": None}},
        ],
    ),
    "COPY01": (
        {"phases": {"host_to_device": 0.02}, "facts": {"device": "cuda:0", "pin_memory": False}},
        [{"phases": {"host_to_device": 0.002}, "facts": {"device": "cuda:0"}}, {"phases": {"host_to_device": 0.02}}],
    ),
    "LOSS01": (
        {"phases": {"loss": 0.09}},
        [{"phases": {"loss": 0.02}}, {"phases": {"loss": 0.09}, "micro_batches": 400}],
    ),
    "CLIP01": (
        {"phases": {"gradient_clip": 0.03}},
        [
            {"phases": {"gradient_clip": 0.008}},
            {"recorded": steps([{**SHORT, "gradient_clip": 0.2e-3}] * 300)},
        ],
    ),
    "MEMORY01": (
        {"facts": FAULTS},
        [
            {"facts": {**FAULTS, "steady_faults": 500.0}},
            {"facts": {**FAULTS, "page_fault_seconds": 0.2e-6}},
            {"facts": {**FAULTS, "system_seconds": 0.001}},
            {"facts": {**FAULTS, "device": "cuda"}},
            {"facts": {**FAULTS, "allocator": "kept"}},
            {"facts": {**FAULTS, "allocator": "replaced"}},
            {"facts": {**FAULTS, "steady_faults": None}},
            {"facts": {**FAULTS, "page_fault_seconds": None}},
            {"facts": {**FAULTS, "system_seconds": None}},
        ],
    ),
    **MEMORY,
    "OPTIMIZER01": (
        {"phases": {"optimizer": 0.05}},
        [{}, {"phases": {"optimizer": 0.05}, "facts": {"optimizer_fused": True}}],
    ),
    "CHECKPOINT01": (
        {"phases": {"recompute": 0.03}},
        [
            {"phases": {"recompute": 0.002}},
            {"phases": {"recompute": 0.03}, "facts": {"peak_memory": 9 * 2**30}},
            {"phases": {"recompute": 0.03}, "facts": {"peak_memory": None}},
            {"phases": {"recompute": 0.03}, "memory": None},
            {"phases": {"recompute": 0.03}, "facts": {"device": "cuda:0", "peak_device_memory": 2**30}},
        ],
    ),
    "LOOP01": ({"phases": {"validation": 0.02}}, [{"phases": {"validation": 0.004}}]),
    "LOOP02": ({"phases": {"checkpoint": 0.02}}, [{"phases": {"checkpoint": 0.002}}]),
    "LOOP03": ({"phases": {"logging": 0.02}}, [{"phases": {"logging": 0.002}}]),
    "LOOP08": ({"phases": {"sampling": 0.06}}, [{"phases": {"sampling": 0.01}}, {}]),
    **DISTRIBUTED,
    "LOOP05": (
        {"recorded": steps(EPOCHS), "happened": {"loader_starts": STARTS}, "facts": {"persistent_workers": False}},
        [
            {"recorded": steps(EPOCHS)},
            {"recorded": steps([HEALTHY] * 120), "happened": {"loader_starts": STARTS}},
            {"recorded": steps(EPOCHS), "happened": {"loader_starts": STARTS[:1]}},
        ],
    ),
    "LOOP06": (
        {"recorded": GROWING["loss"]},
        [
            {"recorded": SLOWING},
            {"recorded": GROWING["loss"][:60]},
            {"recorded": GROWING["loss"][::8]},
            {"recorded": LARGER},
            {"recorded": STEP_UP},
            {"recorded": GROWING["loss"][::-1]},
            {"recorded": GROWING["backward"], "seen": sized(points(lambda part: GB), stairs, 200)},
        ],
    ),
    "COMPILE01": (
        compiled(20, 30, 40, 50, seconds=1.0),
        [compiled(1, 2), compiled(2, 5), compiled(20, 22), compiled(50), compiled(20, 30, 50, reason=None)],
    ),
    "NUMERICS01": (
        losses(*FALLING, math.nan, math.nan, math.inf),
        [losses(*FALLING), losses(*FALLING, math.inf, 0.02), losses(*FALLING, math.inf, math.inf)],
    ),
    "NUMERICS02": (
        losses(*FALLING, *[0.5] * 30),
        [losses(*FALLING, *[0.5] * 29), losses(*[0.0] * 60), losses(*[0.5, 0.25] * 30)],
    ),
    "CONFIG01": (
        {"facts": switches(looks=3, anomaly=3)},
        [{"facts": switches(looks=3, anomaly=1)}, {"facts": switches()}],
    ),
    "CONFIG02": (
        {"facts": switches(looks=3, profiler=3)},
        [{"facts": switches(looks=3, profiler=1)}, {"facts": switches()}],
    ),
    "CONFIG03": (
        {"facts": switches(environment=["TORCH_LOGS=+dynamo"])},
        [
            {"facts": switches(environment=["CUDA_LAUNCH_BLOCKING=1", "TORCH_DISTRIBUTED_DEBUG=DETAIL"])},
            {"facts": switches(deterministic=True)},
        ],
    ),
    "CONFIG04": (
        {"facts": switches(graded_evaluations=8), "phases": {"validation": 0.003}},
        [{"facts": switches(graded_evaluations=8)}, {"phases": {"validation": 0.003}}],
    ),
    "OTHER01": (
        {"phases": {"other": 0.05}},
        [
            {"phases": {"other": 0.02}},
            {"phases": {"other": 0.05}, "facts": {"probe_seconds": 0.045}},
            {"happened": {"sampled": sampled(("train.py", 40, "step", 30, 0.003))}},
        ],
    ),
    "MEASURE01": ({"n": 3}, [{"n": 20}]),
    "COMPUTE01": ({}, [{"phases": {"optimizer": 0.05}}, {"phases": {"loss": 0.09}}]),
    "HEALTHY01": (FLAT, [{}, {"phases": {"optimizer": 0.05}}]),
    "HOST06": (
        {"facts": {"queue_seconds": 0.03, "cpu_seconds": 0.1, "involuntary_switches": 4.0}},
        [
            {"facts": {"queue_seconds": 0.003, "cpu_seconds": 0.1}},
            {"facts": {"cpu_seconds": 0.1}},
            {"facts": CROWD},
            # The process's own threads wait for one another.
            {"facts": {"queue_seconds": 0.03, "cpu_seconds": 0.1, "thread_use": used(wanting=12.0)}},
            {"facts": {"queue_seconds": 0.03, "cpu_seconds": 0.1, "thread_use": used(at_work=9)}},
            {"facts": {**LOCKED, "queue_seconds": 0.03, "cpu_seconds": 0.1}},
        ],
    ),
    "LOOP04": (
        {"recorded": steps([HEALTHY] * 40, t=60.0)},
        [{"recorded": steps([HEALTHY] * 40, t=10.0)}, {"recorded": steps([HEALTHY] * 700, t=60.0)}],
    ),
    "LOOP07": ({"recorded": STEP_UP}, [{"recorded": GROWING["loss"]}, {"recorded": STEP_UP[120:140]}, {"n": 200}]),
    "LOOP09": (
        {"recorded": GROWING["backward"], "seen": sized(points(lambda part: GB), stairs, 200)},
        [
            {"recorded": GROWING["backward"]},
            {"n": 200, "seen": sized(points(lambda part: GB), stairs, 200)},
            {"recorded": GROWING["backward"], "seen": sized(points(lambda part: GB), random_sizes, 200)},
            {"recorded": GROWING["backward"], "seen": sized(points(lambda part: GB, n=8), stairs, 200)},
        ],
    ),
    "COMPILE02": (
        compiled(seconds=10.0),
        [compiled(seconds=3.0), {"recorded": steps([{**HEALTHY, "forward": 10.0}] + [HEALTHY] * 59)}],
    ),
    "COMPUTE02": (
        {"stages": SLOW_BLOCK},
        [
            {},
            {"stages": EVEN_BLOCKS},
            {"stages": SLOW_BLOCK, "phases": {"loss": 0.2}},
            {"stages": SLOW_BLOCK, "n": 3},
        ],
    ),
    "CHECKPOINT02": (
        {"stages": RECOMPUTED, "phases": {"recompute": 0.03}},
        [
            {"stages": EVEN_BLOCKS},
            {"stages": EVEN_BLOCKS, "phases": {"recompute": 0.03}},
            {"stages": RECOMPUTED, "phases": {"recompute": 0.001}},
            {"phases": {"recompute": 0.03}},
        ],
    ),
    "MEASURE02": ({"facts": {"probe_seconds": 0.002}}, [{"facts": {"probe_seconds": 0.0005}}, {}]),
}


def test_every_rule_has_its_case() -> None:
    assert list(CASES) == [each.code for each in catalogue()]


@pytest.mark.parametrize("code", CASES)
def test_a_rule_speaks_up_on_its_planted_record(code: str) -> None:
    finding = planted(**CASES[code][0])[code]
    assert finding.evidence
    assert finding.remedy
    assert finding.bound == pytest.approx(1 / (1 - finding.share))


@pytest.mark.parametrize(("code", "healthy"), [(code, each) for code, (_, near) in CASES.items() for each in near])
def test_a_rule_is_silent_on_the_nearest_healthy_record(code: str, healthy: dict[str, Any]) -> None:
    assert code not in planted(**healthy)


@pytest.mark.parametrize("code", [code for code in CASES if code not in INFORMATION])
def test_a_planted_cause_is_the_only_complaint(code: str) -> None:
    machine = Machine(channels_last_conv_speedup=1.3) if code == "LAYOUT01" else CASES[code][0].get("machine")
    assert set(planted(**{**CASES[code][0], "machine": machine})) == {code}


@pytest.mark.parametrize("facts", [{"workers": None}, {"workers": 0, "fetch_seconds": 30e-6}])
def test_a_clean_loop_of_one_millisecond_gets_no_complaint(facts: dict[str, Any]) -> None:
    assert set(planted(recorded=steps([SHORT] * 300), facts=facts)) <= INFORMATION - {"MEASURE01"}


@pytest.mark.parametrize("seed", range(20))
def test_jitter_and_stalls_of_a_busy_machine_are_not_complained_about(seed: int) -> None:
    chance = random.Random(seed)
    rows = []
    for _ in range(300):
        row = {name: seconds * max(0.5, chance.gauss(1, 0.1)) for name, seconds in SHORT.items()}
        if chance.random() < 0.03:
            row[chance.choice(list(row))] += chance.expovariate(1 / 4e-3)
        rows.append(row)
    assert set(planted(recorded=steps(rows), facts={"workers": 0, "fetch_seconds": 20e-6})) <= INFORMATION


def test_a_wait_is_named_although_no_loader_was_seen() -> None:
    finding = planted(phases=WAIT, facts={"workers": None, "fetch_seconds": None})["DATA01"]
    assert finding.changes == []
    assert any("No loader" in sentence for sentence in finding.evidence)


def test_a_fetch_shorter_than_the_handover_from_a_worker_needs_no_worker() -> None:
    short = {**SHORT, "data_wait": 0.3e-3}
    assert "DATA01" not in planted(recorded=steps([short] * 300), facts={"workers": 0, "fetch_seconds": 0.3e-3})


def test_when_every_core_has_a_worker_the_advice_is_a_cheaper_fetch() -> None:
    finding = planted(phases=WAIT, facts={"workers": 2, "fetch_seconds": 0.4}, cores=2)["DATA02"]
    assert finding.changes == []
    assert finding.remedy.startswith("Make fetching cheaper")
    assert any("num_workers=2, prefetch_factor=2" in sentence for sentence in finding.evidence)


def test_the_advice_on_workers_counts_cores_and_what_would_keep_up() -> None:
    finding = planted(phases=WAIT, facts={"workers": 1, "fetch_seconds": 0.29}, cores=8)["DATA02"]
    assert "up to 3 " in finding.remedy
    finding = planted(phases=WAIT, facts={"workers": 1, "fetch_seconds": 0.99}, cores=4)["DATA02"]
    assert "up to 4 " in finding.remedy
    assert "10 would be needed" in finding.remedy


SLOW_STORAGE = {"workers": 2, "fetch_seconds": 0.4, "fetch_cpu_seconds": 0.01, "fetch_queue_seconds": 0.002}


def test_workers_that_mostly_wait_may_be_more_than_the_cores() -> None:
    finding = planted(phases=WAIT, facts=SLOW_STORAGE, cores=2)["DATA02"]
    assert "workers" in finding.changes
    assert finding.remedy.startswith("Use more workers, up to 5: they mostly wait")
    assert any("wants a core for 3.0 %" in sentence for sentence in finding.evidence)
    finding = planted(phases=WAIT, facts={**SLOW_STORAGE, "fetch_seconds": 4.0}, cores=2)["DATA02"]
    assert "up to 8: " in finding.remedy
    assert "Make the storage answer faster"[1:] in finding.remedy
    many = {**SLOW_STORAGE, "workers": 8, "fetch_seconds": 1.6}
    finding = planted(phases=WAIT, facts=many, cores=2)["DATA02"]
    assert finding.changes == []
    assert "mostly wait" in finding.remedy


@pytest.mark.parametrize("cpu", [{"fetch_cpu_seconds": 0.38}, {"fetch_cpu_seconds": 0.1, "fetch_queue_seconds": 0.28}])
def test_workers_that_compute_or_wait_for_a_core_would_take_turns(cpu: dict[str, Any]) -> None:
    finding = planted(phases=WAIT, facts={**SLOW_STORAGE, **cpu}, cores=2)["DATA02"]
    assert finding.changes == []
    assert "more workers would take turns" in finding.remedy


PARTS = {"fetch_seconds": 1.6, "fetch_samples_seconds": 1.2, "fetch_collate_seconds": 0.4}
COLLATED = {"fetch_seconds": 1.6, "fetch_samples_seconds": 0.4, "fetch_collate_seconds": 1.2}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("facts", "words", "remedy"),
    [
        ({**SLOW_STORAGE, **PARTS}, "Most of it is waiting for the samples", "ake the storage answer faster"),
        ({**PARTS, "fetch_cpu_seconds": 1.5}, "Most of it is computing the samples", "ake fetching cheaper"),
        (COLLATED, "Most of it is putting the samples together", "ake putting the batch together cheaper"),
        (PARTS, "its samples 1.2 s, collating 400 ms", "ake fetching cheaper"),
    ],
)
def test_the_slow_part_of_a_fetch_is_named_with_its_remedy(
    workers: int, facts: dict[str, Any], words: str, remedy: str
) -> None:
    finding = planted(phases=WAIT, facts={**facts, "workers": workers}, cores=2)["DATA02" if workers else "DATA01"]
    assert any(words in sentence for sentence in finding.evidence), finding.evidence
    assert remedy in finding.remedy


DECODED = {**PARTS, "fetch_cpu_seconds": 1.5, "decode_seconds": 0.9, "decoded_again_share": 0.75}


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_that_are_decoded_again_are_named_with_the_remedy(workers: int) -> None:
    """Where decoding is most of having the samples; else it is not what makes fetching slow."""
    code = "DATA02" if workers else "DATA01"
    finding = planted(phases=WAIT, facts={**DECODED, "workers": workers}, cores=2)[code]
    assert "Decoding pictures takes 900 ms of that; 75 % of them had been decoded before." in finding.evidence
    assert "decode each picture once and keep it in memory" in finding.remedy
    assert "cache_decoded" in finding.changes
    for facts in ({"decode_seconds": 0.3}, {"decoded_again_share": 0.0}):
        finding = planted(phases=WAIT, facts={**DECODED, **facts, "workers": workers}, cores=2)[code]
        assert "decode each picture once" not in finding.remedy
        assert not any("had been decoded before" in sentence for sentence in finding.evidence)


def test_two_workers_or_pictures_that_are_kept_decoded() -> None:
    facts = {**DECODED, "workers": 0, "fetch_seconds": 0.099, "fetch_samples_seconds": 0.09, "decode_seconds": 0.08}
    facts |= {"fetch_collate_seconds": 0.009, "fetch_cpu_seconds": 0.099}
    remedy = planted(phases=WAIT, facts=facts)["DATA01"].remedy
    assert "would keep up. Or make fetching cheaper: decode each picture once" in remedy


def test_large_batches_may_be_fetched_in_the_loop_where_that_is_shorter() -> None:
    finding = planted(phases={"data_wait": 0.16}, facts=LARGE)["DATA06"]
    assert "num_workers=0" in finding.remedy
    assert finding.changes == ["shared_batches", "workers"]
    assert any("588 MB a second" in sentence for sentence in finding.evidence)
    shared = planted(phases={"data_wait": 0.1}, facts=LARGE)["DATA06"]
    assert "more workers, up to 8" in shared.remedy


def test_batches_that_are_received_slowly_are_waited_for_although_the_workers_are_ahead() -> None:
    received = {**LARGE, "workers": 8, "receive_seconds": 0.09}
    assert "DATA06" in planted(phases=WAIT, facts=received)
    assert "DATA06" not in planted(phases=WAIT, facts={**received, "pin_memory": True})


def test_a_way_that_is_long_for_want_of_a_core_is_one_all_the_same() -> None:
    assert "DATA06" in planted(phases=WAIT, facts={**LARGE, "sent_bytes": 1.2e7, "fetch_queue_seconds": 0.1})


def test_a_rare_wait_behind_one_batch_says_that_others_were_ready() -> None:
    facts = {"persistent_workers": True, "head_of_line_share": 0.8, "batches_behind": 3.0}
    assert any("a later batch was ready" in each for each in planted(recorded=RESTARTS, facts=facts)["DATA04"].evidence)


def test_workers_that_sleep_take_no_core_from_the_training() -> None:
    crowd = {**CROWD, "threads": 6, "cpu_seconds": 0.63, "fetch_seconds": 0.08}
    assert "HOST04" in planted(facts=crowd)
    assert "HOST04" not in planted(facts={**crowd, "fetch_cpu_seconds": 0.001, "fetch_queue_seconds": 0.0})


def test_workers_that_take_the_cores_to_decode_the_same_pictures_may_keep_them() -> None:
    crowd = {**CROWD, "threads": 6, "cpu_seconds": 0.63, "fetch_seconds": 0.08}
    again = {**crowd, "fetch_samples_seconds": 0.07, "fetch_collate_seconds": 0.01, "fetch_cpu_seconds": 0.08}
    again |= {"decode_seconds": 0.06, "decoded_again_share": 0.9}
    finding = planted(facts=again)["HOST04"]
    assert "cache_decoded" in finding.changes
    assert "keep what they have decoded" in finding.remedy
    assert "cache_decoded" not in planted(facts={**again, "decoded_again_share": 0.0})["HOST04"].changes


def test_few_steps_have_no_bound_beyond_all_reason() -> None:
    rows = [{"data_wait": 0.064, "forward": 20e-6, "backward": 20e-6}] * 4
    assert planted(recorded=steps(rows), facts=SLOW_STORAGE, cores=2)["DATA02"].bound == pytest.approx(10)


def test_workers_that_are_fast_enough_but_uneven_are_told_to_work_ahead() -> None:
    finding = planted(phases={"data_wait": 0.03}, facts={"workers": 4, "fetch_seconds": 0.08})["DATA02"]
    assert finding.changes == ["prefetch", "any_order"]
    facts = {"workers": 4, "fetch_seconds": 0.08, "persistent_workers": False}
    assert "persistent_workers" in planted(phases={"data_wait": 0.03}, facts=facts)["DATA02"].changes


def test_workers_for_a_fetch_that_takes_nothing_cost_more_than_they_bring() -> None:
    wait = {**SHORT, "data_wait": 0.5e-3}
    finding = planted(recorded=steps([wait] * 300), facts={"workers": 1, "fetch_seconds": 20e-6})["DATA03"]
    assert finding.seconds == pytest.approx(0.48e-3)
    assert "num_workers=0" in finding.remedy


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_workers_that_deliver_in_bursts_are_slow_and_not_noise(workers: int) -> None:
    rows = [{**HEALTHY, "data_wait": 0.1 * workers if i % workers == 0 else 0.0005} for i in range(60)]
    codes = planted(recorded=steps(rows), facts={"workers": workers, "fetch_seconds": 0.19 * workers})
    assert set(codes) == {"DATA02"}


def test_threads_that_outnumber_the_cores_come_before_what_they_slow_down() -> None:
    """All of the arithmetic may be waiting of threads for one another, and no other program is blamed for it."""
    facts = {**TOO_MANY, "queue_seconds": 0.03, "cpu_seconds": 0.1}
    result = diagnose(run(phases={"optimizer": 0.03}, facts=facts))
    assert [finding.code for finding in result.findings] == ["HOST04", "OPTIMIZER01"]
    assert result.findings[0].seconds == pytest.approx(0.123)
    assert "torch.set_num_threads(8)" in result.findings[0].remedy
    assert "cannot be told" in " ".join(result.findings[0].evidence)


def test_a_python_thread_comes_before_the_phases_in_which_the_training_waits_for_it() -> None:
    result = diagnose(run(phases={"loss": 0.05, "other": 0.04}, facts={**LOCKED, "queue_seconds": 0.03}))
    assert [finding.code for finding in result.findings] == ["HOST08", "LOSS01", "OTHER01"]
    assert "`Thread-1 (parse)` computes for 80 %" in " ".join(result.findings[0].evidence)


def test_a_wait_for_a_core_is_the_share_of_the_time_in_which_it_was_counted() -> None:
    """Stalls make the counted steps longer than the steady ones: no wait is longer than its step."""
    finding = planted(facts={"queue_seconds": 0.3, "counted_seconds": 1.0, "cpu_seconds": 1.0})["HOST06"]
    assert finding.share == pytest.approx(0.3)
    assert "keeps 1.2 of 8 cores" in " ".join(finding.evidence)
    assert planted(facts={"queue_seconds": 0.3, "cpu_seconds": 0.1})["HOST06"].seconds <= 0.1


def test_a_quarter_of_a_millisecond_of_python_is_ordinary_in_the_shortest_step() -> None:
    short = {"forward": 0.2e-3, "backward": 0.2e-3}
    assert "OTHER01" not in planted(recorded=steps([{**short, "other": 0.2e-3}] * 300))
    assert "OTHER01" in planted(recorded=steps([{**short, "other": 0.4e-3}] * 300))


def test_on_a_cpu_a_read_costs_what_it_takes_and_nothing_waits() -> None:
    finding = planted(phases={"other": 0.05}, syncs=reads(0.01, 0.002))["HOST01"]
    assert finding.seconds == pytest.approx(0.012)
    assert "wait" not in f"{finding.title} {finding.remedy} {finding.evidence}"
    assert "wait" in planted(facts=CUDA, syncs=reads(0.06))["HOST01"].title


SLOW_LINE = ("train.py", 48, "np.savez", 24, 0.04)


def test_lines_that_no_phase_explains_are_named_with_their_part_of_it() -> None:
    lines = sampled(SLOW_LINE, ("data.py", 7, None, 5, 0.008), ("train.py", 50, "x.sum", 1, 0.002))
    finding = planted(phases={"other": 0.05}, happened={"sampled": lines})["OTHER01"]
    assert finding.evidence[1:] == [
        "train.py:48, in train: `np.savez`, about 40 ms of a step (80 % of 30 samples).",
        "data.py:7, in train, about 8 ms of a step (16 % of 30 samples).",
    ]
    assert not finding.remedy.startswith("Name the suspects")


def test_calls_of_one_line_are_named_together() -> None:
    lines = sampled(("train.py", 21, "p.norm", 10, 0.02), ("train.py", 21, "p.quantile", 20, 0.03))
    finding = planted(phases={"other": 0.05}, happened={"sampled": lines})["OTHER01"]
    assert "train.py:21, in train: `p.quantile`, `p.norm`, about 50 ms of a step" in finding.evidence[1]


@pytest.mark.parametrize(
    "lines",
    [
        # Too few samples, steps that are not like the usual ones, another phase, many lines.
        sampled(("train.py", 48, "np.savez", 9, 0.045)),
        sampled(("train.py", 48, "np.savez", 20, 0.002)),
        sampled(SLOW_LINE, phase="loss"),
        sampled(*(("train.py", 40 + i, None, 3, 0.003) for i in range(16))),
    ],
)
def test_lines_are_named_only_where_the_samples_show_them(lines: Sampled) -> None:
    finding = planted(phases={"other": 0.05}, happened={"sampled": lines})["OTHER01"]
    assert not any("train.py" in sentence for sentence in finding.evidence)
    assert finding.remedy.startswith("Name the suspects")


def test_reads_are_named_beside_the_lines_where_a_device_may_be_waited_for() -> None:
    arguments = {"phases": {"other": 0.05}, "syncs": reads(0.001), "happened": {"sampled": sampled(SLOW_LINE)}}
    read = "Tensors are read"
    assert not any(read in sentence for sentence in planted(**arguments)["OTHER01"].evidence)
    assert any(read in sentence for sentence in planted(**arguments, facts=CUDA)["OTHER01"].evidence)


def test_a_loss_in_the_scripts_own_code_is_told_with_its_lines() -> None:
    lines = {"sampled": sampled(("train.py", 12, "pairs", 20, 0.04), phase="loss")}
    evidence = planted(phases={"loss": 0.05}, happened=lines)["LOSS01"].evidence
    assert any(sentence.startswith("train.py:12, in train: `pairs`") for sentence in evidence)
    called = planted(phases={"loss": 0.05}, happened=lines, facts=switches(loss_modules={"MSELoss": 0}))["LOSS01"]
    assert not any("train.py" in sentence for sentence in called.evidence)


def test_the_micro_batch_finding_fades_out_above_the_dispatch_size() -> None:
    """Forward takes 40 ms: the seconds at stake fall without a jump as the calls become longer."""
    at_stake = []
    for calls in range(800, 430, -10):
        finding = planted(facts={"module_calls": calls}, micro_batches=8).get("BATCH01")
        at_stake.append(finding.seconds if finding else 0.0)
    assert at_stake[0] == pytest.approx(0.085 * 7 / 8)
    assert at_stake[-1] == 0.0
    assert max(a - b for a, b in itertools.pairwise(at_stake)) < 0.01


def test_a_call_on_a_gpu_may_take_longer_before_it_counts_as_work() -> None:
    facts = {"module_calls": 450, "device": "cuda:0"}
    assert "BATCH01" in planted(facts=facts, micro_batches=8)
    assert "BATCH01" not in planted(facts={**facts, "device": "cpu"}, micro_batches=8)


def test_a_gpu_with_free_memory_needs_no_checkpointing() -> None:
    facts = {"device": "cuda:0", "peak_device_memory": 4 * 2**30, "peak_memory": 15 * 2**30}
    machine = Machine(device_memory=24 * 2**30)
    assert "CHECKPOINT01" in planted(phases={"recompute": 0.03}, facts=facts, machine=machine)


def test_an_optimizer_without_a_fused_form_is_not_told_to_use_it() -> None:
    finding = planted(
        phases={"optimizer": 0.05}, facts={"optimizer": "Lion", "optimizer_foreach": True, "optimizer_fused": None}
    )["OPTIMIZER01"]
    assert finding.changes == []
    assert "fused=True" not in finding.remedy


LEFT = {"optimizer_foreach": None, "optimizer_fused": None}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "Fused is off; implementation: a loop over tensors."),
        ({"optimizer_foreach": True}, "Fused is off; implementation: foreach."),
        (LEFT, "Fused is off; implementation: a loop over tensors, torch's default here."),
        ({**LEFT, "device": "cuda:0"}, "Fused is off; implementation: foreach, torch's default here."),
        (
            {**LEFT, "device": "cuda:0", "optimizer": "RMSprop"},
            "Fused is off; implementation: foreach, torch's default here.",
        ),
        ({**LEFT, "device": "cuda:0", "optimizer_fused": False}, "Fused is off; implementation: a loop over tensors."),
        ({**LEFT, "device": "xpu"}, "Fused is off; implementation: not known."),
        ({**LEFT, "optimizer": "Lion"}, "Fused is not known to be on; implementation: not known."),
    ],
)
def test_the_implementation_in_use_is_torch_s_default_where_the_script_set_none(
    facts: dict[str, Any], words: str
) -> None:
    finding = planted(phases={"optimizer": 0.05}, facts=facts)["OPTIMIZER01"]
    assert words in finding.evidence
    assert "loop" not in finding.title


def test_foreach_is_recommended_where_there_is_no_fused_form_and_a_loop_is_in_use() -> None:
    for where, changes in (("cpu", ["optimizer"]), ("cuda:0", [])):
        facts = {**LEFT, "optimizer": "RMSprop", "device": where}
        finding = planted(phases={"optimizer": 0.05}, facts=facts)["OPTIMIZER01"]
        assert finding.changes == changes
        assert ("foreach=True" in finding.remedy) == bool(changes)


def test_what_is_set_already_is_not_recommended() -> None:
    finding = planted(facts={"compiled": True, "autocast": "bfloat16"})["COMPUTE01"]
    assert finding.changes == []
    assert "compile" not in finding.remedy
    assert planted(machine=SLOW)["COMPUTE01"].changes == ["compile"]


def test_a_rare_evaluation_counts_with_its_share_of_all_steps() -> None:
    rows = [HEALTHY] * 50
    rows[30] = {**HEALTHY, "validation": 5.0}
    finding = planted(recorded=steps(rows))["LOOP01"]
    assert finding.share == pytest.approx(0.5)
    assert finding.seconds == pytest.approx(0.1)


def test_many_slow_workers_that_deliver_in_rare_bursts_are_found() -> None:
    """Every 36th step is rare enough to be set apart, and is the whole trouble."""
    rows = [{**HEALTHY, "data_wait": 9.0 if i % 36 == 35 else 0.001} for i in range(360)]
    facts = {"workers": 36, "fetch_seconds": 12.0, "persistent_workers": True}
    finding = planted(recorded=steps(rows), facts=facts, cores=36)["DATA04"]
    assert finding.share > 0.6
    assert finding.remedy.startswith("Make fetching cheaper")
    assert finding.changes == []


def test_persistent_workers_are_not_recommended_where_they_are_on() -> None:
    finding = planted(recorded=RESTARTS, facts={"persistent_workers": True})["DATA04"]
    assert finding.changes == ["prefetch", "any_order"]
    assert "persistent" not in finding.remedy


def test_waits_of_restarted_workers_are_spread_over_all_steps() -> None:
    """They are outliers, which the mean step leaves out: the share counts them in."""
    finding = planted(**CASES["DATA04"][0])["DATA04"]
    assert finding.seconds == pytest.approx(2 * 2.999 / 120)
    assert finding.share == pytest.approx(finding.seconds / (0.1 + finding.seconds))


def test_what_a_loader_s_start_takes_is_one_finding_and_not_the_workers_too() -> None:
    """Epochs of three steps: the start is in the mean step, and the ordinary waits are short."""
    rows = [{**HEALTHY, "data_wait": 0.5 if i % 3 == 0 else 0.001} for i in range(120)]
    starts = [msgspec.structs.replace(STARTS[0], step=i) for i in range(0, 120, 3)]
    facts = {"persistent_workers": False, "fetch_seconds": 0.01}
    codes = planted(recorded=steps(rows), happened={"loader_starts": starts}, facts=facts)
    assert set(codes) == {"LOOP05"}
    assert codes["LOOP05"].share == pytest.approx(0.499 / 3 / (0.1 + 0.499 / 3), rel=0.01)


def test_the_advice_on_a_loader_s_start_knows_its_workers() -> None:
    for happened, words in ((STARTS, "persistent_workers=True"), (NO_WORKERS, "order of the samples")):
        arguments = {"recorded": steps(EPOCHS), "happened": {"loader_starts": happened}}
        assert words in planted(**arguments)["LOOP05"].remedy
    woken = [msgspec.structs.replace(each, fresh=False) for each in STARTS]
    finding = planted(recorded=steps(EPOCHS), happened={"loader_starts": woken})["LOOP05"]
    assert finding.changes == []
    assert "persist already" in finding.remedy


@pytest.mark.parametrize(("phase", "words"), [("backward", "detach"), ("logging", "Append")])
def test_steps_that_get_slower_name_the_phase_that_grows(phase: str, words: str) -> None:
    finding = planted(recorded=GROWING[phase])["LOOP06"]
    assert words in finding.remedy
    assert any(f"`{phase}` grew" in sentence for sentence in finding.evidence)
    assert finding.seconds == pytest.approx(0.03, rel=0.1)


def test_a_long_run_that_gets_slower_is_seen_in_a_part_of_its_steps() -> None:
    rows = [{**HEALTHY, "loss": 0.008 + 3e-6 * i} for i in range(40_000)]
    assert planted(recorded=steps(rows))["LOOP06"].seconds == pytest.approx(0.06, rel=0.1)


def test_where_steps_change_their_pace_is_known_to_the_step() -> None:
    assert any("Until step 123 " in sentence for sentence in planted(recorded=STEP_UP)["LOOP07"].evidence)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("0/0: tensor 'x' size mismatch at index 0. expected 8, actual 9", "dynamic=True"),
        ("0/0: GLOBAL_STATE changed: grad_mode", "with and without gradients"),
        ("0/0: self.factor == 2", "pass it as a tensor"),
        ("0/0: something else", "TORCH_LOGS"),
    ],
)
def test_the_remedy_against_recompilation_goes_by_its_reason(reason: str, words: str) -> None:
    assert words in planted(**compiled(20, 40, reason=reason))["COMPILE01"].remedy


def test_a_function_that_torch_gave_up_compiling_is_named() -> None:
    case = compiled(10, 20, 30, 40, 45, 50, 55)
    facts = {**case["facts"], "recompile_limit": 8, "graph_breaks": 1}
    evidence = " ".join(planted(**{**case, "facts": facts})["COMPILE01"].evidence)
    assert "at its limit of 8 torch runs it uncompiled" in evidence
    assert "at 1 graph break." in evidence


@pytest.mark.parametrize("seconds", [1e-3, 2e-3, 10e-3])
@pytest.mark.parametrize("seed", range(10))
def test_a_machine_that_wanders_is_no_training_that_gets_slower(seed: int, seconds: float) -> None:
    chance = random.Random(seed)
    rows, pace = [], 1.0
    for _ in range(400):
        pace = min(2.0, max(0.7, pace * chance.gauss(1.0, 0.03)))
        rows.append({name: seconds / 1e-3 * s * pace * chance.gauss(1, 0.05) for name, s in SHORT.items()})
    codes = planted(recorded=steps(rows), facts={"workers": 0, "fetch_seconds": 20e-6})
    assert not codes.keys() & {"LOOP05", "LOOP06", "LOOP07", "COMPILE01"}


def test_growth_beyond_that_of_the_inputs_is_named_all_the_same() -> None:
    """Backward takes more than twice as long for inputs that are a fifth larger; a log does not depend on them."""
    fifth = sized(points(lambda part: GB), lambda part: 1000 * (1 + 0.2 * part), 200)
    assert any(
        "too little to be the reason" in each
        for each in planted(recorded=GROWING["backward"], seen=fifth)["LOOP06"].evidence
    )
    assert "LOOP06" in planted(recorded=GROWING["logging"], seen=sized(points(lambda part: GB), stairs, 200))


def test_a_trend_is_no_noise() -> None:
    """Steps that get twice as slow without jitter; jitter on top is told by itself."""
    rows = [{**HEALTHY, "forward": 0.01 + 0.003 * i} for i in range(60)]
    assert "MEASURE01" not in planted(recorded=steps(rows))
    chance = random.Random(1)
    noisy = [{**row, "forward": row["forward"] * chance.uniform(0.1, 1.9)} for row in rows]
    evidence = " ".join(
        planted(recorded=steps(noisy), seen=sized(points(lambda part: GB), ramp, 60))["MEASURE01"].evidence
    )
    assert "from the steps around each" in evidence


def test_a_curriculum_whose_phases_grow_alike_is_no_noise() -> None:
    rows = [{name: seconds * (1 + 0.05 * i) for name, seconds in HEALTHY.items()} for i in range(60)]
    codes = planted(recorded=steps(rows), seen=sized(points(lambda part: GB), ramp, 60))
    assert "MEASURE01" not in codes
    assert "LOOP09" in codes


def test_scattered_steps_say_so_until_there_are_enough_of_them() -> None:
    rows = [{**HEALTHY, "forward": 0.02 + 0.01 * (i * 7 % 10)} for i in range(30)]
    assert "MEASURE01" in planted(recorded=steps(rows))
    assert "MEASURE01" not in planted(recorded=steps(rows * 30))


def test_from_few_steps_only_what_is_plain_to_see_is_named() -> None:
    assert "DATA01" not in planted(phases={"data_wait": 0.02}, facts={"workers": 0}, n=3)
    assert "DATA01" in planted(phases={"data_wait": 0.3}, facts={"workers": 0}, n=3)


def test_findings_come_by_seconds_at_stake_and_information_last() -> None:
    planned = run(phases={"validation": 0.3, "optimizer": 0.05, "data_wait": 0.1}, facts={"workers": 0}, n=4)
    codes = [finding.code for finding in diagnose(planned).findings]
    assert codes == ["LOOP01", "MEASURE01"]
    planned = run(phases={"validation": 0.3, "optimizer": 0.05, "data_wait": 0.1}, facts={"workers": 0})
    codes = [finding.code for finding in diagnose(planned).findings]
    assert codes == ["LOOP01", "DATA01", "OPTIMIZER01"]


def test_explain_takes_any_case_and_is_markdown() -> None:
    assert explain("data01") == explain(" DATA01 ")
    for each in catalogue():
        assert explain(each.code).startswith(f"## {each.code}: {each.title}\n")
        assert rule(each.code) is each
        assert not set("{}") & set(explain(each.code))


def test_explain_suggests_the_nearest_code() -> None:
    with pytest.raises(UsageError, match=r"no finding 'DATA1'; did you mean 'DATA01'\?"):
        explain("DATA1")
    with pytest.raises(UsageError, match="`hotlap explain` lists them"):
        explain("?")


def test_the_page_of_findings_is_current() -> None:
    """When it is not: python -m hotlap.diagnose.docs."""
    assert PAGE.read_text() == page()


@pytest.mark.parametrize(
    ("facts", "seconds"),
    [
        ({}, 0.02),
        ({"page_faults": 20000.0}, 0.02),
        ({"system_seconds": 0.015}, 0.015),
        ({"page_fault_seconds": 1e-3, "steady_faults": 20.0}, 0.02),
        ({"steady_faults": 90000.0, "system_seconds": 0.4}, 0.09),
    ],
)
def test_page_faults_take_what_those_of_the_training_thread_are_measured_to_take(
    facts: dict[str, Any], seconds: float
) -> None:
    """Of a step of 100 ms: no more than the kernel took, and never all of the step."""
    assert planted(facts={**FAULTS, **facts})["MEMORY01"].seconds == pytest.approx(seconds)


def test_a_thread_that_takes_turns_with_the_training_is_named_even_if_the_lock_was_free() -> None:
    """A try always comes at the same point of a step, where the other thread may have made all that it can."""
    finding = diagnose(run(facts={**LOCKED, "thread_use": used(0.02, python=0.08, lock_wait=60e-6)})).findings[0]
    assert finding.code == "HOST08"
    assert any("may wait for what they make" in line for line in finding.evidence)

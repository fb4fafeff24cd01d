"""The estimated peak of scripts that nobody has prepared against the real peak of the same scripts, on the CPU.

    python benchmarks/estimate/script.py [--only WORD]

Each is estimated as `hotlap estimate --gpu cpu -- python SCRIPT` does, and then runs by itself, in another process, to
the end of the same step, while torch's profiler records every allocation and release of the CPU's allocator. What was
given out before the first forward of the training (data sets, above all) is taken out, and the networks, their buffers,
the batch, and what the inputs of that forward lie in (a data set on the device) are put in: an estimate is of those.
Its loaders have no workers in either. Writes ``results/estimate/script.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from machine import RESULTS, circumstances, sentence

from hotlap.estimate.script.cycles import Cycles
from hotlap.estimate.script.loaders import watch
from hotlap.estimate.scripts import Asked, estimate_script_here
from hotlap.estimate.tracker import tensors_in
from hotlap.launch import environment

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20
MEDIAN, WORST = 0.03, 0.10
SCRIPTS = {
    "dates, LSTMs": "benchmarks/scripts/dates_seq2seq.py",
    "digits, deep": "benchmarks/scripts/digits_deep.py",
    "rotations": "benchmarks/scripts/rotations.py",
    "source, GPT": "benchmarks/scripts/source_gpt.py",
    "denoising, U-Net": "benchmarks/scripts/unet_denoise.py",
    "nothing helps": "benchmarks/scripts/nothing_helps.py",
    "GAN": "tests/probe/scripts/gan.py",
    "accumulation": "tests/probe/scripts/accumulation.py",
    "checkpointing": "tests/probe/scripts/recomputed.py",
    "packed sequences": "tests/probe/scripts/packed.py",
}


class Over(BaseException):
    """The step is over."""


class Real:
    """Stands for what imitates, where nothing is imitated: it is told when a step begins."""

    on_card = True

    def __init__(self) -> None:
        self.began: int | None = None
        self.there = 0
        self._batch: list[Any] = []
        self.inputs: list[Any] = []
        self.blocks = [0]

    def timeline(self) -> Real:
        return self

    @contextmanager
    def fetching(self) -> Iterator[None]:
        yield

    def received(self, batch: Any) -> None:
        self._batch = list(tensors_in(batch))

    def next_step(self) -> None:
        if self.began is None:
            held = {each.untyped_storage()._cdata: each.untyped_storage().nbytes() for each in [*_of_all_modules()]}
            known = [*self._batch, *self.inputs]
            held |= {each.untyped_storage()._cdata: each.untyped_storage().nbytes() for each in known}
            self.there = sum(held.values())
            self.began = time.time_ns()

    def found(self, step: Any = None) -> None:
        raise Over

    def stop(self, words: str, at: str | None = None) -> None:
        raise SystemExit(words)


def _of_all_modules() -> Iterator[torch.Tensor]:
    for each in gc.get_objects():
        if issubclass(type(each), torch.nn.Module):
            for tensor in (*each._parameters.values(), *each._buffers.values()):
                if tensor is not None:
                    yield tensor


def real_peak(script: str) -> int:
    real: Any = Real()
    cycles = Cycles(real, real)
    cycles._found = real.found  # type: ignore[method-assign]
    watch(cycles, real, None)
    inside: list[Any] = []

    def enters(module: Any, args: Any) -> None:
        if not inside and torch.is_grad_enabled() and torch._C._current_graph_task_id() == -1:
            real.inputs = list(tensors_in(args))
            cycles.forward(args)
        inside.append(module)

    def leaves(module: Any, args: Any, out: Any) -> None:
        inside.pop()

    torch.nn.modules.module.register_module_forward_pre_hook(enters)
    torch.nn.modules.module.register_module_forward_hook(leaves, always_call=True)
    sys.argv = [script]
    sys.path.insert(0, str(Path(script).parent))
    watched = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    with watched as profiler, suppress(Over):
        runpy.run_path(script, run_name="__main__")
    assert profiler.profiler is not None
    waiting, sizes = list(profiler.profiler.kineto_results.experimental_event_tree()), []
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.name == "[memory]":
            sizes.append((event.start_time_ns, event.extra_fields.total_allocated))
    sizes.sort()
    before = [size for at, size in sizes if at < real.began]
    after = [size for at, size in sizes if at >= real.began]
    return int(max(after) - before[-1] + real.there)


def compared(script: str) -> dict[str, Any]:
    asked = Asked([sys.executable, "-W", "ignore", script], environment())
    known = estimate_script_here(asked, memory=2**60, timer=None, machine="")
    command = [sys.executable, "-W", "ignore", __file__, "--one", script]
    with tempfile.TemporaryDirectory() as elsewhere:  # for what the script writes
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=elsewhere)
    if done.returncode:
        raise SystemExit(f"{script}: {done.stderr[-2000:]}")
    real = json.loads(done.stdout.splitlines()[-1])
    return {
        "script": os.path.relpath(script, ROOT),
        "estimated": known.memory.allocated,
        "real": real,
        "error": known.memory.allocated / real - 1,
        "seconds": known.seconds,
        "moment": f"step {known.memory.moment.step}, {known.memory.moment.phase}",
    }


def page(figures: dict[str, Any]) -> str:
    lines = [
        "# Memory of scripts: estimated against real peaks",
        "",
        sentence(figures),
        "",
        "Peaks of the first steps of scripts as they are, on the CPU, MiB. *Estimated*: by `hotlap estimate --gpu cpu "
        "-- python SCRIPT`. *Real*: what torch's profiler says of the CPU's allocator in the same steps, without what "
        "was given out before them, and with the networks, the batch, and what the first inputs lie in. Seconds: "
        "of the estimate.",
        "",
        "| script | estimated | real | error | seconds | peak in |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in figures["scripts"].items():
        sizes = " | ".join(f"{row[way] / MIB:.2f}" for way in ("estimated", "real"))
        named = f"{name} (`{row['script']}`)"
        lines.append(f"| {named} | {sizes} | {row['error']:+.2%} | {row['seconds']:.1f} | {row['moment']} |")
    lines += [
        "",
        f"Median error {figures['median_error']:.2%} (asked: 3 %), worst {figures['worst_error']:.2%} (10 %).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="scripts with this word in their name; nothing is written")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        torch.set_num_threads(1)
        print(real_peak(args.one))
        return
    rows: dict[str, Any] = {}
    for name, script in SCRIPTS.items():
        if args.only not in name:
            continue
        rows[name] = row = compared(str(ROOT / script))
        sizes = ", ".join(f"{way} {row[way] / MIB:.3f}" for way in ("estimated", "real"))
        print(f"{name}: {sizes} MiB, {row['error']:+.2%}", file=sys.stderr)
    errors = [abs(row["error"]) for row in rows.values()]
    figures = circumstances() | {
        "scripts": rows,
        "median_error": statistics.median(errors),
        "worst_error": max(errors),
    }
    if args.only:
        return
    folder = RESULTS / "estimate"
    (folder / "script.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "script.md").write_text(page(figures))
    print(page(figures))
    sys.exit(figures["median_error"] > MEDIAN or figures["worst_error"] > WORST)


if __name__ == "__main__":
    main()

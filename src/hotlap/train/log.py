"""The record of a training: ``log.jsonl`` for programs, and lines for people on stderr.

The lines are our own, or those of the project that VRT-Spike comes from.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import RunError
from hotlap.train.config import TrainConfig, VrtSpikeConfig
from hotlap.train.health import Health
from hotlap.train.ranks import Ranks

_GB = 2**30
_MB = 2**20


class Log:
    """Appends one JSON object a line, the settings first; a line that was cut off by a crash is dropped on resume.

    Rank 0 alone writes.
    """

    def __init__(self, folder: Path, config: TrainConfig, total: int, start: int, ranks: Ranks) -> None:
        self._total = total
        self._width = 0
        self._began = time.monotonic()
        self._start = start
        self._ranks = ranks
        self._documents = isinstance(config, VrtSpikeConfig) and config.log_format == "documents"
        self._last: Health | None = None
        path = self._path = folder / "log.jsonl"
        self._output_dir = config.path("output_dir")
        # What a reader has to know to tell how long a step took, `hotlap read` among them.
        division = {
            "batch_size": config.batch_size,
            "accumulation_steps": config.accumulation_steps,
            "ranks": ranks.world,
        }
        settings = _json_line({"step": 0, **division, "total_steps": total})
        try:
            kept = _lines_until(path, start) if start and path.exists() else b""
            self._file = path.open("wb") if ranks.first else None
            if self._file is not None:
                self._file.write(kept)
                self._file.write(b"" if _last_settings(kept) == settings else settings)
                (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")
        except OSError as error:
            raise RunError(
                f"cannot write {path} ({error.strerror}): choose another {config.path('output_dir')}"
            ) from None
        if not self._documents:
            said = ", ".join(f"{name} {value}" for name, value in division.items())
            self.say(f"a step: {said}; total_steps {total}")
        elif ranks.first:
            self._line(f"[train] batch_size: {config.batch_size}, world_size: {ranks.world}")
            self._line(f"[train] Gradient accumulation steps: {config.accumulation_steps}")
            self._line("[train] data_time is the wait for the loader; samples/s is of whole steps on all ranks")

    def write(self, step: int, **values: Any) -> None:
        self._append({"step": step, **values})
        if self._ranks.first:
            self._show(step, values)

    def failed(self, step: int) -> None:
        """The loss of this step is no number."""
        self._append({"step": step, "loss": None})
        if self._documents and self._ranks.first:
            self._line(f"[WARNING] Step {step}: NaN/Inf detected in loss! loss=nan")

    def finish(self, step: int, simple: dict[str, float]) -> None:
        """The training came to its end, or stopped early by its own rule; what the method without learning reaches."""
        self._append({"step": step, "finished": True, **{f"simple_{name}": value for name, value in simple.items()}})

    def health(self, step: int, health: Health) -> None:
        self._append({"step": step, "health": health})
        self._last = health
        if not self._ranks.first:
            return
        if self._documents:
            self._line(_memory_line(step, health))
            if health.hit_rate is not None:
                self._line(
                    f"Cache hit rate: {health.hit_rate:.1f}% ({health.cache_hits} hits / {health.cache_misses} misses)"
                )
        if health.critical:
            share = 100 * health.system_memory / health.total_memory
            self._line(
                f"⚠️  WARNING: System memory usage is critically high ({share:.1f}%)!\n"
                "   Consider reducing TOTAL_WORKERS in config."
                if self._documents
                else f"step {step}: {share:.0f} % of the machine's memory is in use; fewer workers take less"
            )

    def say(self, sentence: str) -> None:
        if self._ranks.first:
            self._line(sentence)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._width:
            print(file=sys.stderr)

    def _append(self, line: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(_json_line(line))
            self._file.flush()
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            self._file = None
            raise RunError(
                f"cannot write {self._path} ({error.strerror}): make room, or choose another {self._output_dir}"
            ) from None

    def _show(self, step: int, values: dict[str, Any]) -> None:
        if self._documents:
            self._line(self._documents_line(step, values))
            return
        done = step - self._start
        left = (time.monotonic() - self._began) / done * (self._total - step) if done else 0.0
        figures = "  ".join(f"{name} {_short(value)}" for name, value in values.items())
        line = f"step {step}/{self._total}  {figures}  {left:.0f} s left"
        if sys.stderr.isatty() and "loss" in values:
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)
        else:
            self._line(line)

    def _line(self, line: str) -> None:
        print("\n" + line if self._width else line, file=sys.stderr, flush=True)
        self._width = 0

    def _documents_line(self, step: int, values: dict[str, Any]) -> str:
        if "loss" not in values:
            names = {"val_psnr": "PSNR_RGB", "val_psnr_y": "PSNR_Y", "val_ssim_y": "SSIM_Y", "val_lpips": "LPIPS"}
            digits = {"val_psnr": 2, "val_psnr_y": 2}
            said = [f"{names[key]}={value:.{digits.get(key, 4)}f}" for key, value in values.items() if key in names]
            return f"[val] step {step} | {' '.join(said)}"
        parts = {"loss": "loss", "charbonnier": "charb", "perceptual": "vgg"}
        losses = " ".join(f"{name}={values[key]:.4f}" for key, name in parts.items() if key in values)
        fields = [f"step {step}/{self._total}", f"{losses} lr={values['lr']:.2e}"]
        if self._last is not None and self._last.gpu_allocated is not None:
            fields.append(f"GPU0_mem={self._last.gpu_allocated / _GB:.1f}GB")
        rate = values["samples_per_second"]
        fields.append(f"{rate:.1f} samples/s" if rate >= 1 else f"{rate:.3g} samples/s")
        fields.append(f"data_time={values['data_time_ms']:.1f}ms")
        return " | ".join(fields)


def _json_line(values: dict[str, Any]) -> bytes:
    return msgspec.json.encode(values) + b"\n"


def _memory_line(step: int, health: Health) -> str:
    own, used, total = health.process_memory, health.system_memory, health.total_memory
    process = "n/a" if own is None else f"{own / _MB:.1f}MB ({100 * own / total:.1f}%)"
    line = (
        f"[Step {step}] Memory - Process: {process}, "
        f"System: {used / _GB:.1f}/{total / _GB:.1f}GB ({100 * used / total:.1f}%)"
    )
    if health.gpu_allocated is not None and health.gpu_reserved is not None:
        line += f", GPU: {health.gpu_allocated / _MB:.1f}MB allocated, {health.gpu_reserved / _MB:.1f}MB reserved"
    return line


def _last_settings(kept: bytes) -> bytes:
    """The line that says how a step is divided, as it was last."""
    said = [line for line in kept.splitlines(keepends=True) if b'"accumulation_steps"' in line]
    return said[-1] if said else b""


def _lines_until(path: Path, last: int) -> bytes:
    """The lines of an earlier part of this training, up to the checkpoint that it goes on from."""
    kept = b""
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            known = msgspec.json.decode(line)
            if known["step"] > last:
                break
            if known.get("finished"):  # it goes on
                continue
        except (msgspec.DecodeError, KeyError, TypeError):
            break
        kept += line
    return kept


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

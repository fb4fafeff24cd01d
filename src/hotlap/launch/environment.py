"""What machine this is, as far as it matters for comparing runs. Imports no torch."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

import hotlap
from hotlap.records import Environment
from hotlap.workers import cgroup_limits, cpu_quota, usable_cores


def usable_memory() -> int:
    memory, limit = int(psutil.virtual_memory().total), _memory_limit()
    return memory if limit is None else min(memory, limit)


def _affinity() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _memory_limit() -> int | None:
    return min((int(limit) for limit in cgroup_limits("memory.max") if limit != "max"), default=None)


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> tuple[list[str], str | None]:
    """Names of the GPUs, and the version of their driver."""
    if shutil.which("nvidia-smi") is None:
        return [], None
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        lines = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return [], None
    cards = [line.rpartition(", ") for line in lines if line]
    return [name for name, _, _ in cards], cards[0][2] if cards else None


def gpu_memory() -> int | None:
    """Bytes of the first GPU; None where its driver cannot be asked."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
        said = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        return int(said.splitlines()[0]) * 2**20
    return None


#: How many threads the libraries below torch start, and what hands out memory.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_PROC_BIND",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
    "MALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "CUDA_VISIBLE_DEVICES",
    "LD_PRELOAD",
)
_CPU = Path("/sys/devices/system/cpu")


def _said(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def _governor() -> str | None:
    """Of all cores; several where they differ."""
    said = {_said(path) for path in _CPU.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {None}
    return ", ".join(sorted(map(str, said))) or None


def _boost() -> bool | None:
    """Whether cores may run above their nominal clock."""
    boost, no_turbo = _said(_CPU / "cpufreq" / "boost"), _said(_CPU / "intel_pstate" / "no_turbo")
    if boost is not None:
        return boost == "1"
    return None if no_turbo is None else no_turbo == "0"


def _virtual() -> bool | None:
    text = _said(Path("/proc/cpuinfo"))
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE) if text else None
    return "hypervisor" in flags[1].split() if flags else None


def _huge_pages() -> str | None:
    chosen = re.search(r"\[(\w+)\]", _said(Path("/sys/kernel/mm/transparent_hugepage/enabled")) or "")
    return chosen[1] if chosen else None


def _cuda() -> str | None:
    """What torch was built for, from its file of versions: importing torch would take seconds."""
    with contextlib.suppress(ImportError, ValueError):
        found = importlib.util.find_spec("torch")
        if found is not None and found.origin is not None:
            text = _said(Path(found.origin).with_name("version.py")) or ""
            built = re.search(r"^cuda\b[^=]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
            return built[1] if built else None
    return None


def _pressure() -> float | None:
    waited = re.search(r"some .*avg60=([\d.]+)", _said(Path("/proc/pressure/cpu")) or "")
    return float(waited[1]) / 100 if waited else None


def environment() -> Environment:
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = None
    gpus, driver = _gpus()
    return Environment(
        hotlap=hotlap.__version__,
        python=platform.python_version(),
        torch=torch,
        platform=f"{platform.system()} {platform.machine()}",
        cpu=_cpu_name(),
        cores=usable_cores(),
        physical_cores=psutil.cpu_count(logical=False),
        memory=usable_memory(),
        gpus=gpus,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        pressure=_pressure(),
        kernel=platform.release(),
        machine_cores=os.cpu_count(),
        affinity=_affinity(),
        cpu_quota=cpu_quota(),
        memory_limit=_memory_limit(),
        memory_available=int(psutil.virtual_memory().available),
        governor=_governor(),
        boost=_boost(),
        virtual=_virtual(),
        huge_pages=_huge_pages(),
        cuda=_cuda(),
        driver=driver,
        variables={name: os.environ[name] for name in _VARIABLES if name in os.environ},
    )

"""What machine this is, as far as it matters for comparing runs. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

import psutil

import hotlap
from hotlap.records import Environment


def usable_cores() -> int:
    """Cores that this process may use: affinity, and the cgroup's quota (v2) where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for text in _cgroup_limits("cpu.max"):
        quota, period = text.split()
        if quota != "max":
            cores = max(1, min(cores, int(quota) // int(period)))
    return cores


def usable_memory() -> int:
    memory = int(psutil.virtual_memory().total)
    for limit in _cgroup_limits("memory.max"):
        if limit != "max":
            memory = min(memory, int(limit))
    return memory


def _cgroup_limits(name: str) -> Iterator[str]:
    """This process's limit and those of the groups around its own (cgroup v2), as far as they can be read."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    own = next((PurePosixPath(line[3:]) for line in groups if line.startswith("0::/")), PurePosixPath("/"))
    for group in (own, *own.parents):
        with contextlib.suppress(OSError):
            yield Path(f"/sys/fs/cgroup{group}", name).read_text().strip()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.split("\n")[:-1]
    except (OSError, subprocess.SubprocessError):
        return []


def environment() -> Environment:
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = None
    return Environment(
        hotlap=hotlap.__version__,
        python=platform.python_version(),
        torch=torch,
        platform=f"{platform.system()} {platform.machine()}",
        cpu=_cpu_name(),
        cores=usable_cores(),
        physical_cores=psutil.cpu_count(logical=False),
        memory=usable_memory(),
        gpus=_gpus(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )

"""Whatever dies or is not there: the training goes on, and what is left of the cache is right."""

from __future__ import annotations

import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from hotlap.data import SampleCache, SharedBatches
from hotlap.probe.shared.flat import Flat
from hotlap.probe.shared.memory import SharedMemory, first_to_say
from hotlap.probe.shared.samples import run_key
from hotlap.probe.shared.store import Store

LENGTH, SIZE = 24, 100_000


class Samples(Dataset[Any]):
    """Of which one kills the worker that fetches it, as long as a file is there."""

    def __init__(self, deadly: Path) -> None:
        self.deadly = deadly

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> Any:
        if index == 9 and self.deadly.exists():
            self.deadly.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return index, torch.full((SIZE,), index, dtype=torch.uint8)


def epoch(loader: DataLoader[Any]) -> list[int]:
    seen = []
    for numbers, samples in loader:
        assert torch.equal(samples, numbers[:, None].expand_as(samples))
        seen += numbers.tolist()
    return seen


@pytest.fixture
def seen_at_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker's death. Torch's handler of the signal raises wherever the process is, in pytest or a ``__del__``."""
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", True)
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("seen_at_the_next_batch")
@pytest.mark.parametrize("kind", [DataLoader, SharedBatches])
def test_a_killed_worker_is_followed_by_new_ones(kind: type[DataLoader[Any]], tmp_path: Path) -> None:
    """Torch ends the epoch; the next one goes on with the same cache, which keeps every sample in the end."""
    deadly = tmp_path / "deadly"
    deadly.touch()
    before = psutil.Process().children()
    cache = SampleCache(Samples(deadly), 0.01)
    loader = kind(cache, batch_size=4, num_workers=2)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        epoch(loader)
    assert not deadly.exists()
    assert epoch(loader) == epoch(loader) == list(range(LENGTH))
    assert all(cache._store.intact(number) for number in range(LENGTH))
    assert set(psutil.Process().children()) <= set(before)


_RANKS = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_faults import LENGTH, Samples
from hotlap.data import SampleCache

def rank(number):
    os.environ["LOCAL_RANK"] = str(number)
    return SampleCache(Samples(deadly), 0.01)

os.environ["LOCAL_WORLD_SIZE"], os.environ["MASTER_PORT"] = "2", str(os.getpid())
deadly, (made, make), (found, tell) = Path({deadly!r}), os.pipe(), os.pipe()
first = os.fork()
if not first:
    cache = rank(0)
    os.write(make, b".")
    for number in range(9):
        cache[number]
    os.read(found, 1)
    cache[9]
os.read(made, 1)
second = os.fork()
if not second:
    cache = rank(1)
    os.write(tell, b".")
    while deadly.exists():
        time.sleep(0.001)
    right = all(cache[number][1].eq(number).all() and cache._store.intact(number) for number in range(LENGTH))
    print(right, cache.stats().hits, cache.stats().misses, flush=True)
    os._exit(0)
print(os.waitpid(first, 0)[1], os.waitpid(second, 0)[1])
"""


def test_a_rank_that_dies_leaves_the_cache_to_the_other(tmp_path: Path) -> None:
    """The one that made it, with a sample claimed: the other reads what was kept, and fetches the rest."""
    deadly = tmp_path / "deadly"
    deadly.touch()
    code = _RANKS.format(tests=str(Path(__file__).parent), deadly=str(deadly))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "9", str(LENGTH), str(int(signal.SIGKILL)), "0"], done.stderr


def test_a_rank_that_dies_while_it_makes_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other makes it, whichever rank it is: once it is seen to be dead, and not after a minute."""
    monkeypatch.setattr("hotlap.probe.shared.store.PATIENCE", 10.0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("MASTER_PORT", str(os.getpid()))
    monkeypatch.setattr("hotlap.data.cache._created", itertools.count(7))
    key, (begun, begins) = f"{run_key()}-7", os.pipe()
    first = os.fork()
    if not first:
        # Kept until it dies: nothing says yet of what version the memory is.
        held = first_to_say(key), SharedMemory.create(key, 4096)
        os.write(begins, b"." * len(held))
        signal.pause()
    assert os.read(begun, 1)
    threading.Timer(0.2, os.kill, (first, signal.SIGKILL)).start()
    cache = SampleCache(Samples(tmp_path / "deadly"), 0.01)
    os.waitpid(first, 0)
    cache[0], cache[0]
    assert cache.stats().hits == 1


_ORPHANED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_faults import Samples
from torch.utils.data import DataLoader
from torch.utils.data._utils import worker
from hotlap.data import SampleCache

begin = worker.signal_handling._set_worker_signal_handlers

def alone():
    parent = os.getppid()
    print(os.getpid(), flush=True)
    os.kill(parent, signal.SIGKILL)
    while os.getppid() == parent:
        time.sleep(0.001)
    begin()

worker.signal_handling._set_worker_signal_handlers = alone
worker.MP_STATUS_CHECK_INTERVAL = 0.1
if __name__ == "__main__":
    loader = DataLoader(SampleCache(Samples(Path("nowhere")), 0.01), num_workers=1)
    next(iter(loader))
"""


def test_a_worker_whose_training_died_before_it_began_ends(tmp_path: Path) -> None:
    """With torch alone it stays for ever, and the memory of the cache with it."""
    script = tmp_path / "orphaned.py"
    script.write_text(_ORPHANED.format(tests=str(Path(__file__).parent)))
    training = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    orphan = psutil.Process(int(training.stdout.readline()))
    assert training.wait(60) == -signal.SIGKILL
    try:
        orphan.wait(20)
    finally:
        with suppress(psutil.NoSuchProcess):
            orphan.kill()
        training.stdout.close()


def test_a_budget_that_is_just_enough_is_used_up() -> None:
    """The last of many small samples, too, which takes less than is not worth asking for else."""
    store = Store.create("just-enough", 3000, 3000 * 128)
    sample = Flat(torch.zeros(64, dtype=torch.uint8))
    for key in range(3000):
        assert not store.full
        with store.claimed(key):
            assert store.put(key, sample)
    assert store.full


def test_room_that_no_sample_fits_into_is_no_room() -> None:
    """Half a sample is left: after some that were refused none is asked any more, unless a smaller one finds room."""
    store = Store.create("half-left", 100, 21 * 2048)
    large, small = (Flat(torch.zeros(size, dtype=torch.uint8)) for size in (3968, 64))
    for key in range(10):
        assert store.put(key, large)
    for key in range(10, 25):
        assert not store.put(key, large)
    assert not store.full
    assert store.put(30, small)
    for key in range(40, 56):
        assert not store.full
        assert not store.put(key, large)
    assert store.full
    assert store.items == 11


def memories() -> set[str]:
    """Names of what caches share, by the descriptors of this process."""
    paths = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return {name for path in paths if path.is_symlink() and "memfd:hotlap" in (name := os.readlink(path))}


@pytest.fixture
def little_address_space() -> Iterator[None]:
    mapped = re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())
    assert mapped is not None
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1024 * int(mapped[1]) + 2**29, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_cache_that_cannot_be_mapped(tmp_path: Path, little_address_space: None) -> None:
    """Under ``ulimit -v``, say: nothing is kept, with a sentence, and no descriptor is left of the attempt."""
    before = memories()
    with pytest.warns(UserWarning, match="the cache of 1.0 GiB cannot be made, so nothing is kept: .*memory"):
        cache = SampleCache(Samples(tmp_path / "none"), 1)
    (made,) = memories() - before
    assert made == os.readlink(cache._store.memory.path)
    assert epoch(SharedBatches(cache, batch_size=4, num_workers=1)) == list(range(LENGTH))
    stats = cache.stats()
    assert (stats.items, stats.hits, stats.not_kept) == (0, 0, {"no room": LENGTH})

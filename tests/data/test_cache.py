"""One cache for workers and ranks: each sample is fetched once, whoever dies, and never handed out altered."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from hotlap.data import SampleCache
from hotlap.probe.shared.memory import NoMemory, SharedMemory
from hotlap.probe.shared.room import GIB, Budget, Room, budget
from hotlap.probe.shared.store import EXTENT, Stop, Store

SIZE = 64 * 64


class Pictures(Dataset[Any]):
    """That know how often each was fetched, in a file that workers append to."""

    def __init__(self, folder: Path, length: int = 40, size: int = SIZE) -> None:
        self.log, self.length, self.size = folder / "fetched", length, size
        self.classes = ["cat", "dog"]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        with open(self.log, "a") as file:
            file.write(f"{index}\n")
        return {"x": torch.full((self.size,), index % 251, dtype=torch.uint8), "index": index, "name": f"{index}.png"}

    def fetched(self) -> list[int]:
        return [int(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def gigabytes(samples: float, size: int = SIZE) -> float:
    """Room for so many of the pictures."""
    return samples * (size + 192) / GIB


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pictures:
    # Each process fetches its first samples twice, to see whether they are random.
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 0)
    return Pictures(tmp_path)


def epoch(loader: DataLoader[Any]) -> list[int]:
    seen = []
    for batch in loader:
        assert torch.equal(batch["x"][:, 0], batch["index"].to(torch.uint8) % 251)
        assert batch["name"] == [f"{index}.png" for index in batch["index"].tolist()]
        seen += batch["index"].tolist()
    return seen


@pytest.mark.parametrize("how", [None, "fork", "spawn"])
def test_each_sample_is_fetched_once(pictures: Pictures, how: str | None) -> None:
    """In three epochs, by whatever worker; the batches are those of the dataset."""
    cache = SampleCache(pictures, gigabytes(1000))
    workers: dict[str, Any] = (
        {}
        if how is None
        else {
            "num_workers": 2,
            "multiprocessing_context": how,
            "persistent_workers": True,
        }
    )
    torch.manual_seed(0)
    loader = DataLoader(cache, batch_size=4, shuffle=True, **workers)
    for _ in range(3):
        assert sorted(epoch(loader)) == list(range(40))
    # A spawned worker does not see the patch, and fetches its first two twice.
    once = sorted(set(pictures.fetched())) == list(range(40))
    assert once
    assert how == "spawn" or len(pictures.fetched()) == 40
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.items) == (80, 40, 40)
    assert stats.predicted_hit_rate == 1
    assert all(cache._store.intact(number) for number in range(40))


@pytest.mark.parametrize("share", [0.17, 0.5])
def test_what_is_kept_is_what_hits(pictures: Pictures, share: float) -> None:
    pictures.length = 100
    cache = SampleCache(pictures, gigabytes(100 * share))
    loader = DataLoader(cache, batch_size=4, shuffle=True, num_workers=2)
    for _ in range(3):
        epoch(loader)
    stats = cache.stats()
    assert stats.hits / 200 == pytest.approx(share, abs=0.011)
    assert stats.predicted_hit_rate == pytest.approx(share, abs=0.011)
    assert stats.bytes <= stats.budget
    assert stats.not_kept == {"no room": 300 - stats.hits - stats.items}


def test_it_is_the_dataset(pictures: Pictures) -> None:
    cache = SampleCache(pictures, gigabytes(100))
    assert len(cache) == 40
    assert cache.classes == ["cat", "dog"]
    with pytest.raises(AttributeError, match="nothing"):
        cache.nothing  # noqa: B018
    a, b = cache[3], cache[3]
    a["x"] += 1
    assert torch.equal(b["x"], cache[3]["x"])
    assert cache[np.int64(3)]["name"] == "3.png"


def test_augmentation_comes_after(pictures: Pictures) -> None:
    cache = SampleCache(pictures, gigabytes(100), augment=lambda sample: sample["x"].float() + torch.rand(1))
    assert not torch.equal(cache[1], cache[1])
    assert pictures.fetched() == [1]


class Drawn(Dataset[Any]):
    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return np.random.rand(3) if self.how == "numpy" else torch.rand(3)


@pytest.mark.parametrize("how", ["numpy", "torch"])
def test_what_is_random_is_not_frozen(how: str) -> None:
    cache = SampleCache(Drawn(how), 0.01)
    with pytest.warns(UserWarning, match="SampleCache\\(..., augment=...\\)"):
        first = cache[0]
    assert not np.array_equal(np.asarray(first), np.asarray(cache[0]))
    stats = cache.stats()
    assert (stats.items, stats.stopped, stats.not_kept) == (0, "the samples are random", {"random": 2})


def test_the_numbers_that_the_training_draws_stay_the_same(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 5)
    cache = SampleCache(pictures, gigabytes(100))
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    assert cache[0]["index"] == 0
    assert torch.equal(torch.rand(2), expected)
    assert pictures.fetched() == [0, 0]


class Odd(Dataset[Any]):
    """Says that it has three samples, and has more; one of them cannot be read, one not be stored."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        if index == 1:
            raise OSError("the picture is cut off")
        return {1, 2} if index == 2 else torch.zeros(4)


def test_what_cannot_be_kept_is_fetched_each_time() -> None:
    cache = SampleCache(Odd(), 0.01, name="odd")
    for _ in range(2):
        with pytest.raises(OSError, match="cut off"):
            cache[1]
        with pytest.warns(UserWarning, match="odd: a sample beyond the length of the dataset was asked for"):
            assert torch.equal(cache[7], torch.zeros(4))
        with pytest.warns(UserWarning, match="odd: sample 2 cannot be kept: it has a builtins.set"):
            assert cache[2] == {1, 2}
    assert torch.equal(cache[0], torch.zeros(4))
    assert torch.equal(cache[-1], torch.zeros(4))
    assert cache.stats().not_kept == {"not flat": 2, "no number of the dataset": 3}


def test_sizes_may_differ_and_one_may_be_too_large(tmp_path: Path) -> None:
    class Growing(Pictures):
        def __getitem__(self, index: int) -> Any:
            super().__getitem__(index)
            return torch.full((100 * 4**index,), index, dtype=torch.uint8)

    growing = Growing(tmp_path, length=8)
    cache = SampleCache(growing, 10000 / GIB)
    order = [*reversed(range(8)), *reversed(range(8))]
    with pytest.warns(UserWarning, match="a sample is larger than the whole cache"):
        samples = [cache[index] for index in order]
    for index, sample in zip(order, samples, strict=True):
        assert torch.equal(sample, torch.full((100 * 4**index,), index, dtype=torch.uint8))
    stats = cache.stats()
    # Of 1638400, 409600, 102400, 25600, 6400, 1600, 400 and 100 bytes.
    assert stats.items == 4
    assert stats.bytes <= 10000


def test_a_node_without_memory_goes_on_without(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: SharedMemory, begin: int, size: int) -> None:
        raise NoMemory("the node has no more")

    monkeypatch.setattr(SharedMemory, "reserve", none)
    cache = SampleCache(pictures, gigabytes(100))
    with pytest.warns(UserWarning, match="the node has no more memory, so no more samples are kept"):
        assert [cache[index]["index"] for index in (0, 0, 1)] == [0, 0, 1]
    assert cache.stats().stopped == "the node has no more memory"


def test_a_budget_that_the_node_cannot_spare_is_lowered(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = budget(1e15)
    assert asked.size < 1e15
    assert asked.why is not None
    assert budget(1e6) == Budget(1_000_000, None)
    with pytest.warns(UserWarning, match=r"the cache gets .* GiB and not 1e\+06: "):
        SampleCache(pictures, 1e6)
    monkeypatch.setattr("hotlap.probe.shared.room._group_of_this", lambda: Room(3e9, 1e9))
    assert budget(2e9) == Budget(800_000_000, "the control group allows 0.9 GiB more, and the training needs some")


def test_what_a_training_takes_later_is_left_to_it(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each extent is taken: a tenth of what a control group allows stays free, whatever the budget was."""
    left = [1e9]
    monkeypatch.setattr("hotlap.probe.shared.room._group_of_this", lambda: Room(1e9, left[0]))
    cache = SampleCache(pictures, 0.5)
    assert cache.stats().budget == GIB // 2
    left[0] = 1e8 + EXTENT - 1
    with pytest.warns(UserWarning, match="the node has no more memory, so no more samples are kept"):
        cache[0]
    left[0] += 1
    cache = SampleCache(pictures, 0.05)
    cache[0], cache[0]
    assert cache.stats().hits == 1


def test_the_documents_lines(pictures: Pictures, capsys: pytest.CaptureFixture[str]) -> None:
    cache = SampleCache(pictures, gigabytes(100), name="SpikeDeblurDataset")
    for index in (0, 1, 0, 0):
        cache[index]
    cache.print_cache_stats()
    cache.print_cache_stats(as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "[SpikeDeblurDataset] Cache Stats:",
        "  - Size: 2 items",
        "  - Memory: 0.0 / 0.4 MB",
        "  - Hit Rate: 50.00% (2 hits / 2 misses)",
    ]
    assert json.loads(lines[4]) == msgspec.to_builtins(cache.stats()) | {"hit_rate": 0.5}


def test_threads_do_not_write_over_each_other(tmp_path: Path) -> None:
    """Locks of a memory are of processes."""
    cache = SampleCache(Pictures(tmp_path, length=400, size=500), gigabytes(1000))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            for index, sample in enumerate(pool.map(cache.__getitem__, range(400))):
                assert sample["index"] == index
                assert sample["x"].eq(index % 251).all()
    assert all(cache._store.intact(number) for number in range(400))
    assert cache.stats().misses == cache.stats().hits == 400


def test_a_fork_while_a_thread_fetches(tmp_path: Path) -> None:
    """The child does not wait for a thread that it does not have."""
    code = f"""
import os, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cache import Pictures, gigabytes
from hotlap.data import SampleCache
class Slow(Pictures):
    def __getitem__(self, index):
        time.sleep(1.0)
        return super().__getitem__(index)
made = SampleCache(Slow(Path({str(tmp_path)!r})), gigabytes(1000))
thread = threading.Thread(target=made.__getitem__, args=(3,))
thread.start()
time.sleep(0.3)
child = os.fork()
if not child:
    signal.alarm(20)
    os._exit(0 if made[3]["index"] == 3 else 1)
thread.join()
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr


def test_what_is_set_is_set_on_the_dataset(pictures: Pictures) -> None:
    cache = SampleCache(pictures, gigabytes(100))
    pictures.epoch = 0
    cache.epoch = 3
    assert (pictures.epoch, cache.epoch) == (3, 3)
    cache.other = 4
    assert not hasattr(pictures, "other")


def test_samples_that_go_with_the_epoch_are_not_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """They draw no random number that could be seen, but the first hits are compared with what the dataset gives."""

    class Curriculum(Dataset[Any]):
        epoch = 0

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Any:
            return np.random.default_rng((self.epoch, index)).random(3)

    cache = SampleCache(Curriculum(), gigabytes(100))
    first = [cache[index] for index in range(6)]
    cache.epoch = 1
    with pytest.warns(UserWarning, match="a sample is another one than it was"):
        second = [cache[index] for index in range(6)]
    assert not any(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert cache.stats().stopped == "a sample is another one than it was"


def test_that_memory_ran_out_does_not_hide_that_samples_are_random(pictures: Pictures) -> None:
    store = SampleCache(pictures, gigabytes(100))._store
    store.stop(Stop.RANDOM)
    store.stop(Stop.NO_MEMORY)
    assert store.stopped is Stop.RANDOM


def test_a_copy_leaves_the_locks(pictures: Pictures) -> None:
    """There is one store of a memory in a process: closing another descriptor would give its locks away."""
    cache = SampleCache(pictures, gigabytes(100))
    twin = copy.copy(cache)
    assert twin._store is cache._store
    assert pickle.loads(pickle.dumps(cache))._store is cache._store
    assert twin[1]["index"] == cache[1]["index"] == 1


def test_samples_that_turn_out_to_be_random_are_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 0)
    monkeypatch.setattr("hotlap.probe.shared.samples._ONE_IN", 5)

    class Late(Dataset[Any]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Any:
            return torch.rand(2) if index == 4 else torch.tensor([float(time.perf_counter())])

    cache = SampleCache(Late(), 0.01)
    first = cache[0]
    assert torch.equal(cache[0], first)
    with pytest.warns(UserWarning, match="the samples are random"):
        cache[4]
    assert not torch.equal(cache[0], first)


class WithGenerator(Drawn):
    def __init__(self) -> None:
        super().__init__("torch")
        self.generator = torch.Generator()


def test_a_generator_of_its_own_is_seen_at_once() -> None:
    with pytest.warns(UserWarning, match="the samples are random"):
        SampleCache(WithGenerator(), 0.01)


_RANK = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_cache import Pictures, gigabytes
from torch.utils.data import DataLoader
from hotlap.data import SampleCache
from hotlap.probe.shared import samples
samples.TWICE = 0
if __name__ == "__main__":
    rank = int(os.environ["LOCAL_RANK"])
    made = SampleCache(Pictures(Path({folder!r})), gigabytes(1000))
    for epoch in range(3):
        loader = DataLoader(made, batch_size=4, sampler=range(rank, 40, 2), num_workers=1)
        assert sorted(i for batch in loader for i in batch["index"].tolist()) == list(range(rank, 40, 2))
    print(json.dumps([made.stats().hits, made.stats().misses]), flush=True)
    sys.stdin.read()
"""


def test_ranks_share_it(tmp_path: Path) -> None:
    """The second one finds the memory of the first; in later epochs both read what either has fetched."""
    script = tmp_path / "rank.py"
    script.write_text(_RANK.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    known = os.environ | {"LOCAL_WORLD_SIZE": "2", "MASTER_PORT": str(os.getpid()), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=known | {"LOCAL_RANK": str(rank)},
        )
        for rank in (1, 0)
    ]
    for rank in ranks:
        assert rank.stdout is not None
        assert json.loads(rank.stdout.readline())
    memories = {path for rank in ranks for path in memories_of(rank.pid)}
    assert len(memories) == 1
    for rank in ranks:
        rank.communicate("")
        assert rank.returncode == 0
    assert sorted(Pictures(tmp_path).fetched()) == list(range(40))


def memories_of(pid: int) -> list[str]:
    found = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            name = os.readlink(entry.path)
        except OSError:
            continue
        if "memfd:hotlap" in name:
            found.append(name)
    return found


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_cache import Pictures, gigabytes
from hotlap.data import SampleCache
from hotlap.probe.shared import samples
from hotlap.probe.shared.flat import Flat
samples.TWICE = 0
made = SampleCache(Pictures(Path({folder!r})), gigabytes(1000))
child = os.fork()
if not child:
    def half(self, body):
        body[:10] = 77
        os.kill(os.getpid(), signal.SIGKILL)
    Flat.write = half
    made[5]
assert os.waitpid(child, 0)[1] == signal.SIGKILL
sample = made[5]
assert sample["x"].eq(5).all(), sample
assert made._store.intact(5) and made.stats().items == 2, made.stats()
print("right")
"""


def test_a_worker_that_dies_while_it_writes(tmp_path: Path) -> None:
    """Leaves its sample to the next one, and half a sample that nobody reads."""
    code = _KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "right\n", done.stderr
    assert Pictures(tmp_path).fetched() == [5, 5]


def test_two_that_want_the_same_sample(tmp_path: Path) -> None:
    """One fetches it, and the other waits for that."""
    code = textwrap.dedent(
        f"""
        import os, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_cache import Pictures, gigabytes
        from hotlap.data import SampleCache
        from hotlap.probe.shared import samples
        samples.TWICE = 0
        class Slow(Pictures):
            def __getitem__(self, index):
                time.sleep(0.5)
                return super().__getitem__(index)
        made = SampleCache(Slow(Path({str(tmp_path)!r})), gigabytes(1000))
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                os._exit(0 if made[7]["index"] == 7 else 1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        print(made.stats().hits, made.stats().misses, made.stats().waiting > 0.4)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "2 1 True\n", done.stderr
    assert Pictures(tmp_path).fetched() == [7]


def test_nothing_is_left_of_a_killed_process(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cache import Pictures, gigabytes
from hotlap.data import SampleCache
made = SampleCache(Pictures(Path({str(tmp_path)!r})), gigabytes(1000))
made[0]
print("ready", flush=True)
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (memory,) = set(memories_of(process.pid))
        os.kill(process.pid, signal.SIGKILL)
    # Other tests have names there meanwhile.
    assert not [name for name in os.listdir("/dev/shm") if "hotlap" in name]
    everywhere = [name for pid in os.listdir("/proc") if pid.isdigit() for name in _memories_or_none(int(pid))]
    assert memory not in everywhere


def _memories_or_none(pid: int) -> list[str]:
    try:
        return memories_of(pid)
    except OSError:
        return []


def test_a_rank_with_other_samples_leaves_the_cache_alone(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of the ranks, each with numbers of its own."""
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 2)
    first = SampleCache(pictures, gigabytes(100))

    class Shard(Pictures):
        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index + 40)

    monkeypatch.setattr("hotlap.data.cache.Store.share", lambda *_: (first._store, False))
    second = SampleCache(Shard(tmp_path), gigabytes(100), ranks=2)
    # Before it could compare them it gives nothing to others.
    assert second[5]["index"] == 45
    assert first[5]["index"] == 5
    first[0]
    with pytest.warns(UserWarning, match="another rank made this cache for other samples"):
        assert second[0]["index"] == 40
    assert second[1]["index"] == 41
    with pytest.warns(UserWarning, match="for other samples"):
        SampleCache(Pictures(tmp_path, length=6), gigabytes(100), ranks=2)


def test_a_rank_does_not_wait_for_ever() -> None:
    with pytest.raises(NoMemory, match="no process of this node made the memory nobody"):
        Store.find("nobody", 0.1)

"""On which cards a training computes where the driver does not tell, and that nothing is guessed where it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_nvml import Card, Library, put_in_place
from made_up_looks import gpu

from hotlap.watch import guess
from hotlap.watch.guess import Guess
from hotlap.watch.nvml import Driver
from hotlap.watch.sample import Gpu, GpuProcess, MigInstance, computing, in_use
from hotlap.watch.sensors import Sensors
from hotlap.watch.trainings import Training

#: Greater than any number that the kernel gives.
FOREIGN = 1 << 23
OURS = [GpuProcess(pid=7, watched=True)]
THEIRS = [GpuProcess(pid=os.getpid())]
OF_THE_HOST = [GpuProcess(pid=FOREIGN)]


def cards(*processes: list[GpuProcess] | None) -> list[Gpu]:
    return [gpu(i, processes=each, uuid=f"GPU-{i}abc") for i, each in enumerate(processes)]


@pytest.fixture(autouse=True)
def container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guess, "in_first_namespace", lambda: False)


def test_a_card_of_others_is_no_guess_where_the_driver_s_numbers_are_known() -> None:
    """A training that has loaded CUDA and computes nowhere yet, beside a job of somebody else."""
    assert Guess().look(cards([], THEIRS), {None}) == []
    assert Guess().look(cards(OF_THE_HOST, THEIRS), {None}) == []


def test_in_a_container_the_cards_with_a_process_are_guessed() -> None:
    """Those of the host's numbers; all, where none is named or the driver refuses to say; none without CUDA."""
    assert Guess().look(cards([], OF_THE_HOST, OF_THE_HOST), {None}) == [1, 2]
    assert Guess().look(cards([], []), {None}) == [0, 1]
    assert Guess().look(cards(None, None), {None}) == [0, 1]
    assert Guess().look(cards([GpuProcess(pid=0)], []), {None}) == [0]
    assert Guess().look(cards([], []), set()) == []


def test_outside_of_a_container_an_empty_list_means_that_nothing_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list is another thing."""
    monkeypatch.setattr(guess, "in_first_namespace", lambda: True)
    assert Guess().look(cards([], []), {None}) == []
    assert Guess().look(cards([], OF_THE_HOST), {None}) == []  # it has just ended
    assert Guess().look(cards(None, None), {None}) == [0, 1]


def test_nothing_is_guessed_any_more_once_the_training_was_named() -> None:
    """Even when it lets its cards go."""
    watching = Guess()
    assert watching.look(cards([], []), {None}) == [0, 1]
    assert watching.look(cards(OURS, []), {None}) == []
    assert watching.look(cards([], []), {None}) == []


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ({"1"}, [1]),
        ({"2, 0"}, [0, 2]),
        ({"0", "2"}, [0, 2]),
        ({"0", None}, [0, 1, 2]),
        ({""}, []),
        ({"-1"}, []),
        ({"0,-1,1"}, [0]),
        ({"GPU-2a"}, [2]),
        ({"GPU-9"}, []),
        ({"MIG-77"}, [1]),
    ],
)
def test_cards_that_the_training_may_not_see_are_not_guessed(visible: set[str | None], found: list[int]) -> None:
    """CUDA_VISIBLE_DEVICES of its processes, read as CUDA does."""
    three = cards([], [], [])
    three[1] = gpu(1, processes=[], uuid="GPU-1abc", mig=[MigInstance(index=0, processes=[])])
    assert Guess().look(three, visible) == found


def test_a_process_on_a_card_that_the_training_may_not_see_is_none_of_its() -> None:
    """Where numbers are named, its own card would have one."""
    assert Guess().look(cards([], OF_THE_HOST), {"0"}) == []


def test_a_card_says_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    """By which CUDA_VISIBLE_DEVICES may name it."""
    put_in_place(Library([Card(), Card()]), monkeypatch)
    found = Driver().look((), 1.8e9)
    assert Guess().look(found, {found[1].uuid}) == [1]


def test_a_training_that_has_loaded_the_driver_is_seen_with_what_it_may_see(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the processes to the look: first a guess, which is said, and then what the driver names."""
    (tmp_path / "libcuda.so.1").write_bytes(b"\0" * 4096)
    loads = "import mmap, sys; f = open(sys.argv[1]); m = mmap.mmap(f.fileno(), 0, prot=1); print(flush=True); input()"
    library = Library([Card(), Card()])
    put_in_place(library, monkeypatch)
    with subprocess.Popen(
        [sys.executable, "-S", "-c", loads, str(tmp_path / "libcuda.so.1")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        sensors = Sensors(Training(process.pid, [], None))
        first = sensors.look()
        library.cards[0].processes[process.pid] = 1 << 30
        second = sensors.look()
        sensors.finish()
        process.communicate(b"\n")
    assert first is not None
    assert second is not None
    assert [gpu.index for gpu in in_use(first)] == first.guessed == [1]
    assert first.missing[0].startswith("On which GPUs the training computes is a guess")
    assert (second.guessed, [gpu.index for gpu in computing(second.gpus)]) == ([], [0])
    assert not any("guess" in words for words in second.missing)

"""What a GPU does in the phases of a step, on a device that runs behind a host, both of which only the tests move."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch._dynamo  # sets a variable of the environment, which the tests compare
from recordings import Recorded, Told

from hotlap.diagnose import diagnose
from hotlap.launch.devices import device_of
from hotlap.launch.rundir import read_lines, steps_of
from hotlap.probe import Settings
from hotlap.probe.device import DeviceLook
from hotlap.probe.recorder import Recorder
from hotlap.probe.timeline import BACKWARD
from hotlap.records import DevicePhases

US, MS = 1_000, 1_000_000
#: From handing something over to an idle device until it begins, and the cost of a call of the driver.
LATENCY, CALL = 6 * US, 1 * US


class Machine:
    """A host and a device with a clock each. The device's own begins anywhere, and drifts a little."""

    def __init__(self) -> None:
        self.now = 5_000 * MS
        self.free = 0
        self.held: list[int] = []
        self.waited = 0
        self.capturing = False

    def clock(self) -> int:
        self.now += 50
        return self.now

    def enqueue(self, nanoseconds: int) -> int:
        self.free = max(self.free, self.now + LATENCY) + nanoseconds
        return self.free

    def work(self, host: int, device: int, operations: int = 20) -> None:
        """The host hands so many operations over, and the device works them off."""
        for _ in range(operations):
            self.now += host // operations
            self.enqueue(device // operations)

    def synchronize(self) -> None:
        self.waited += max(0, self.free - self.now)
        self.now = max(self.now, self.free)


class Event:
    machine: Machine

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing
        self.at = 0

    def record(self) -> None:
        self.machine.now += CALL
        self.at = self.machine.enqueue(0)

    def query(self) -> bool:
        self.machine.now += CALL
        return self.machine.now >= self.at

    def elapsed_time(self, later: Event) -> float:
        assert self.query()
        assert later.query()
        return (later.at - self.at) * (1 + 1e-6) / 1e6


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(Event, "machine", made, raising=False)
    return made


class Loop:
    """A training that is told how long what takes, with the probe's own recorder around it."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        def sleep(cycles: int) -> None:
            machine.held.append(cycles)
            machine.enqueue(cycles * MS // 2_000_000)

        cuda = SimpleNamespace(
            Event=Event,
            _sleep=sleep,
            is_initialized=lambda: True,
            is_current_stream_capturing=lambda: machine.capturing,
            current_device=lambda: 0,
            get_device_properties=lambda _: SimpleNamespace(clock_rate=2_000_000),
        )
        settings = Settings({"run_dir": str(directory), "looks": True})
        self.machine = machine
        self.directory = directory
        self.recorder = Recorder(torch, settings, 0.0, machine.clock)
        self.look = DeviceLook(SimpleNamespace(cuda=cuda), self.recorder)
        self.recorder.make_looks = lambda: [self.look, self.look]
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters())
        self.batch = torch.zeros(8, 2)

    def step(self, forward: Times, backward: Times, optimizer: Times, wait: int = 0, reads: bool = False) -> None:
        recorder, machine = self.recorder, self.machine
        loader = "data 1"
        counts = recorder.data_begins(loader)
        machine.now += wait + 20 * US
        recorder.batch_received(loader, self.batch, counts)
        machine.now += 10 * US
        kind = recorder.forward_begins(self.model, (self.batch,), {})
        assert kind is not None
        recorder.outermost_begins(kind)
        machine.work(*forward)
        recorder.outermost_ends(kind)
        machine.now += 5 * US
        recorder.backward_begins()
        recorder.push(BACKWARD)
        machine.work(*backward)
        recorder.backward_since = True
        recorder.pop()
        machine.now += 5 * US
        recorder.optimizer_begins(self.optimizer)
        machine.work(*optimizer)
        recorder.optimizer_ends(self.optimizer)
        machine.now += 5 * US
        if reads:
            machine.synchronize()
            machine.now += 5 * US

    def ended(self) -> DevicePhases | None:
        # As ``synchronize`` at the end of a script would.
        self.machine.now = max(self.machine.now, self.machine.free) + MS
        self.recorder.finish()
        self.lines = read_lines(self.directory / "steps.jsonl")
        return device_of(self.lines)

    def seen(self) -> DevicePhases:
        found = self.ended()
        assert found is not None
        return found


Times = tuple[int, int]


@pytest.fixture
def loop(computer: Machine, tmp_path: Path) -> Iterator[Loop]:
    made = Loop(computer, tmp_path)
    yield made
    made.recorder.facts.host.stop()


def test_a_training_that_keeps_the_device_waiting(loop: Loop) -> None:
    """The device could do the step in a fifth of the time: found by holding it once until everything is there."""
    for _ in range(20):
        loop.step((4 * MS, 800 * US), (5 * MS, 1 * MS), (1 * MS, 200 * US))
    seen = loop.seen()
    assert seen.steps >= 1
    assert seen.held >= 1
    assert seen.dry == 1
    assert seen.host_waits == pytest.approx(0, abs=200e-6)
    for name, device in (("forward", 0.8e-3), ("backward", 1e-3), ("optimizer", 0.2e-3)):
        phase = seen.phases[name]
        assert phase.at_least == pytest.approx(device, rel=0.05), name
        assert phase.at_most == pytest.approx(device, rel=0.05), name
        # Where the device is idle its events tell the host's time.
        assert phase.elapsed == pytest.approx(phase.host, rel=0.05), name
    assert seen.busy_at_least == pytest.approx(0.2, abs=0.02)
    assert seen.busy_at_most == pytest.approx(0.2, abs=0.02)
    assert sum(phase.host for phase in seen.phases.values()) == pytest.approx(seen.wall, rel=1e-6)
    assert loop.machine.waited == 0


def test_a_training_that_keeps_the_device_busy(loop: Loop) -> None:
    """The host runs ahead and waits where it reads the loss: the phases are the device's, and it is never held."""
    for _ in range(20):
        loop.step((500 * US, 8 * MS), (700 * US, 14 * MS), (300 * US, 1 * MS), reads=True)
    seen = loop.seen()
    assert loop.machine.held == []
    assert seen.held == 0
    assert seen.dry == 0
    for name, device in (("forward", 8e-3), ("backward", 14e-3), ("optimizer", 1e-3)):
        assert seen.phases[name].elapsed == pytest.approx(device, rel=0.05), name
        assert seen.phases[name].at_most == pytest.approx(device, rel=0.05), name
    # While the forward was handed over the device might have been idle.
    assert seen.busy_at_least > 0.9
    assert seen.busy_at_most > 0.97
    assert seen.host_waits == pytest.approx(21.5e-3, rel=0.05)


def test_a_device_that_never_runs_dry(loop: Loop) -> None:
    """Nothing is read, the queue only grows: all of the device's time is its own work, exactly."""
    for _ in range(20):
        loop.step((1 * MS, 2 * MS), (1 * MS, 4 * MS), (200 * US, 400 * US))
    seen = loop.seen()
    assert loop.machine.held == []
    assert seen.dry == 0
    for name, device in (("forward", 2e-3), ("backward", 4e-3), ("optimizer", 0.4e-3)):
        assert seen.phases[name].at_least == pytest.approx(device, rel=0.01), name
        assert seen.phases[name].at_most == pytest.approx(device, rel=0.01), name
    assert seen.busy_at_least == 1


def test_waiting_for_data_is_no_work(loop: Loop) -> None:
    """A wait for the loader leaves the device idle, beyond what it had still to do."""
    for _ in range(20):
        loop.step((500 * US, 3 * MS), (500 * US, 3 * MS), (100 * US, 1 * MS), wait=20 * MS)
    seen = loop.seen()
    assert seen.phases["data_wait"].at_most < 0.1e-3
    assert seen.busy_at_most == pytest.approx(7 / 21, abs=0.02)
    assert seen.busy_at_least == pytest.approx(7 / 21, abs=0.05)


@pytest.mark.parametrize("seed", range(12))
def test_what_the_device_worked_lies_between_the_bounds(loop: Loop, seed: int) -> None:
    """Whoever waits for whom, and whether the two are held apart or not."""
    choose = random.Random(seed)
    times: list[Times] = [(choose.randint(200, 4000) * US, choose.randint(200, 4000) * US) for _ in range(3)]
    reads = choose.random() < 0.5
    for _ in range(24):
        loop.step(*times, wait=choose.choice((0, 2 * MS)), reads=reads)
    seen = loop.seen()
    slack = 30e-6
    for name, (_, device) in zip(("forward", "backward", "optimizer"), times, strict=True):
        assert seen.phases[name].at_least <= device / 1e9 + slack
        assert seen.phases[name].at_most >= device / 1e9 - slack
    if loop.machine.held:
        assert seen.phases["forward"].at_least == pytest.approx(times[0][1] / 1e9, rel=0.05, abs=slack)


def test_steps_are_told_apart_from_the_record(loop: Loop) -> None:
    """The steps that were watched are marked, and their host times are those of the record."""
    for _ in range(12):
        loop.step((2 * MS, 1 * MS), (2 * MS, 1 * MS), (1 * MS, 500 * US))
    loop.ended()
    steps = steps_of(loop.lines)
    watched = [step for line in loop.lines if line["k"] == "device" for step in line["steps"]]
    assert watched
    for each in watched:
        assert steps[each["i"]].looked
        # What the device has not caught up with is in the next step.
        assert steps[each["i"] + 1].looked is each["held"]
        assert all(at >= before for before, at in zip(each["device"], each["device"][1:], strict=False))
        assert all(device >= host for host, device in zip(each["host"], each["device"], strict=True))
    assert type(loop.recorder.timeline.times) is list


def test_an_evaluation_beside_it_spoils_only_that_look(loop: Loop) -> None:
    """A step that is followed by another kind of step cannot be told apart: it is left out, nothing else is."""
    for i in range(30):
        loop.step((2 * MS, 1 * MS), (2 * MS, 1 * MS), (1 * MS, 500 * US))
        if i % 2:
            assert loop.recorder.push("logging")
            loop.machine.now += MS
            loop.recorder.pop()
    loop.ended()
    assert len(steps_of(loop.lines)) == 30
    assert type(loop.recorder.timeline.times) is list


def test_no_event_is_recorded_into_a_graph(loop: Loop) -> None:
    """While the stream captures a CUDA graph nothing is recorded."""
    loop.machine.capturing = True
    for _ in range(12):
        loop.step((2 * MS, 1 * MS), (2 * MS, 1 * MS), (1 * MS, 500 * US))
    assert loop.ended() is None
    assert len(steps_of(loop.lines)) == 12


def test_a_driver_that_fails(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training goes on without the look."""

    def fails(event: Event) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Event, "record", fails)
    for _ in range(12):
        loop.step((2 * MS, 1 * MS), (2 * MS, 1 * MS), (1 * MS, 500 * US))
    assert loop.ended() is None
    assert len(steps_of(loop.lines)) == 12


def test_on_a_cpu_nothing_is_recorded(record: Callable[..., Recorded]) -> None:
    found = record("replay")
    assert found.run.device is None
    assert not any(line["k"] == "device" for line in read_lines(found.directory / "steps.jsonl"))


def test_the_marks_of_a_real_training(record: Callable[..., Recorded]) -> None:
    """Each mark that the hooks make has its event, and with a device that lags by nothing both clocks say the same."""
    found = record("pretended_gpu")
    assert found.told is not None
    assert len(found.run.steps) == len(found.told.steps) == 40
    assert [step.loss for step in found.run.steps] == [step["loss"] for step in found.told.steps]
    seen = found.run.device
    assert seen is not None
    assert set(seen.phases) == set(found.run.steps[10].phases)
    for name, phase in seen.phases.items():
        assert phase.elapsed == pytest.approx(phase.host, abs=1e-7), name
    assert seen.host_waits == pytest.approx(0, abs=1e-7)


@pytest.mark.gpu
def test_a_training_on_a_gpu(record: Callable[..., Recorded], without_probe: Callable[..., Told]) -> None:
    """Nothing synchronises, the losses are those of the training alone, and the device's phases add up to the step."""
    found = record("on_gpu")
    assert found.told is not None
    assert [step["loss"] for step in found.told.steps] == [step["loss"] for step in without_probe("on_gpu").steps]
    assert len(found.run.steps) == 40
    for step in found.run.steps:
        assert sum(step.phases.values()) == pytest.approx(step.wall, rel=0.01)
    seen = found.run.device
    assert seen is not None
    assert sum(phase.elapsed for phase in seen.phases.values()) == pytest.approx(seen.wall, rel=0.1)
    for phase in seen.phases.values():
        assert 0 <= phase.at_least <= phase.at_most
    assert seen.busy_at_least > 0.5
    assert diagnose(found.run).device == seen

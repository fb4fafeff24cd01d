"""What is said of traces whose every figure can be checked by hand; times are those of ``training``."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_traces import AUTOGRAD, MAIN, MadeUp, training

from hotlap.errors import UsageError
from hotlap.read import traces
from hotlap.records import TracedRank, TraceReading


def rank(made: MadeUp, folder: Path) -> TracedRank:
    return reading(made, folder).ranks[0]


def reading(made: MadeUp, folder: Path) -> TraceReading:
    return traces.read([made.write(folder / "trace.json.gz")])


def microseconds(parts: dict[str, float]) -> dict[str, float]:
    return {name: round(1e6 * value, 3) for name, value in parts.items() if value}


def test_device_time(tmp_path: Path) -> None:
    """Two kernels that overlap count once, a collective counts where nothing computes beside it."""
    found = rank(training(), tmp_path)
    assert found.marks == "ProfilerStep"
    assert [step.name for step in found.steps] == ["ProfilerStep#0", "ProfilerStep#1"]
    assert found.step_seconds == pytest.approx(1000e-6)
    device = found.device
    assert device is not None
    assert device.computing == pytest.approx((300 + 50) * 1e-6)
    assert device.communication == pytest.approx(100e-6)
    assert device.communicating == pytest.approx(150e-6)
    assert device.overlap == pytest.approx(1 / 3)
    # 0-300 in the loader; from there to the launch at 390 and its arrival at 400, and 900-1000, the host is late.
    assert microseconds(device.idle) == {"data_wait": 300, "host": 100 + 100 + 50}


def test_parts_add_up(tmp_path: Path) -> None:
    """Computing, communication, copies and idleness are the step; what the host did is its step, too."""
    found = rank(training(3), tmp_path)
    device = found.device
    assert device is not None
    parts = [device.computing, device.communication, device.copies, *device.idle.values()]
    assert sum(parts) == pytest.approx(found.step_seconds)
    assert sum(found.host.values()) == pytest.approx(sum(step.host for step in found.steps) / 3)
    assert microseconds(found.host) == {
        "data_wait": 300,
        "optimizer": 100,
        "backward": 25,
        # aten::linear; a piece of the loop that has a name is no operator.
        "operators": 18,
        "outside": 1000 - 300 - 100 - 25 - 18,
    }


def test_a_named_piece_of_the_loop_is_no_operator(tmp_path: Path) -> None:
    """Python around a fifth of work is not computing, nor backward, however it is called."""
    made = MadeUp()
    for number in range(2):
        at = 1000 * number
        made.step(number, at, at + 1000)
        made.mark("train_step", at + 10, at + 990)
        made.mark("ForwardBackward", at + 20, at + 980)
        made.op("aten::linear", at + 100, at + 300)
        made.mark("Optimizer.step#SGD.step", at + 900, at + 950)
    found = reading(made, tmp_path)
    assert microseconds(found.ranks[0].host) == {"optimizer": 50, "operators": 200, "outside": 750}
    assert found.findings == []
    made.kernel(105, 110, 200)
    device = rank(made, tmp_path).device
    assert device is not None
    assert list(device.by_phase) == ["forward"]
    # Its own time is told beside that of operators.
    assert {each.name for each in rank(made, tmp_path).operators} >= {"train_step", "aten::linear"}


def test_operators_and_kernels(tmp_path: Path) -> None:
    """Self time leaves out what an operator calls; its kernels are those that it launched."""
    found = rank(training(), tmp_path)
    by_name = {each.name: each for each in found.operators}
    linear, addmm = by_name["aten::linear"], by_name["aten::addmm"]
    assert (linear.calls, linear.self_host, linear.total_host) == pytest.approx((1, 10e-6, 18e-6))
    assert (addmm.self_host, addmm.self_device, addmm.total_device) == pytest.approx((8e-6, 200e-6, 200e-6))
    # The second kernel is launched after addmm has returned.
    assert (linear.self_device, linear.total_device) == pytest.approx((200e-6, 400e-6))
    assert "ProfilerStep#0" not in by_name
    kernels = {each.name: (each.kind, each.calls, round(1e6 * each.seconds)) for each in found.kernels}
    assert kernels == {
        "gemm": ("compute", 2, 250),
        "relu": ("compute", 1, 200),
        "ncclDevKernel_AllReduce_Sum_f32": ("communication", 1, 150),
    }
    device = found.device
    assert device is not None
    assert microseconds(device.by_phase) == {"forward": 400, "communication": 150, "backward": 50}


def test_operator_inside_of_its_own_name_counts_once(tmp_path: Path) -> None:
    """Total time of a name is not counted twice where it calls itself."""
    made = MadeUp()
    made.op("aten::to", 0, 100)
    made.op("aten::to", 20, 50)
    (found,) = rank(made, tmp_path).operators
    assert (found.calls, found.self_host, found.total_host) == pytest.approx((2, 100e-6, 100e-6))


def test_launches(tmp_path: Path) -> None:
    """From the call to the kernel: 10, 105, 250 and 10 µs; what waits is the area of that."""
    found = rank(training(), tmp_path).device
    assert found is not None
    assert found.launches is not None
    assert found.launches.count == 4
    assert found.launches.median_delay == pytest.approx((10 + 105) / 2 * 1e-6)
    assert found.launches.mean_queue == pytest.approx((10 + 105 + 250 + 10) / 1000)
    assert found.launches.most_queued == 2
    assert found.launches.empty_share == pytest.approx(1 - (260 + 10) / 1000)


def test_gaps_by_stream(tmp_path: Path) -> None:
    """The categories of HolisticTraceAnalysis, over the whole trace, for each stream by itself."""
    found = rank(training(), tmp_path).device
    assert found is not None
    seven = found.streams[0]
    # 600-850 in both steps and 900-1400 between them: each launched after the kernel before had ended.
    assert (seven.stream, seven.host_wait, seven.kernel_wait, seven.other) == pytest.approx((7, 1000e-6, 0, 0))
    made = MadeUp()
    for launch, start, end in ((0, 10, 20), (1, 40, 50), (2, 90, 99)):
        made.kernel(launch, start, end)
    (gaps,) = rank(made, tmp_path).device.streams  # type: ignore[union-attr]
    assert (gaps.host_wait, gaps.kernel_wait, gaps.other) == pytest.approx((0, 20e-6, 40e-6))


def test_data_finding(tmp_path: Path) -> None:
    """A loader without workers is told from one with workers, and from launches that come late."""
    found = reading(training(), tmp_path).findings
    assert [each.code for each in found] == ["DATA01", "HOST07", "DISTRIBUTED01"]
    assert found[0].seconds == pytest.approx(300e-6)
    assert found[0].bound == pytest.approx(1 / 0.7)
    made = training()
    for event in made.events:
        event["name"] = event["name"].replace("_SingleProcess", "_MultiProcessing")
    assert reading(made, tmp_path).findings[0].code == "DATA02"


def test_fast_loader_is_said_not_to_help(tmp_path: Path) -> None:
    """A loader that is seen and not waited for is what will not help; of one that is not seen nothing is said."""
    made = MadeUp()
    made.step(1, 0, 1000)
    made.mark("enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", 0, 10)
    made.kernel(15, 20, 1000)
    found = reading(made, tmp_path)
    assert [each.code for each in found.findings] == ["COMPUTE01"]
    assert [round(each.bound, 3) for each in found.will_not_help] == [1.01]
    del made.events[1]
    assert reading(made, tmp_path).will_not_help == []


def test_synchronisation(tmp_path: Path) -> None:
    """A gap that begins while the host waits for the device is the wait's, but for what the loader takes of it."""
    made = MadeUp()
    for number in range(2):
        at = 1000 * number
        made.step(number, at, at + 1000)
        made.kernel(at + 2, at + 5, at + 600)
        made.op("aten::item", at + 20, at + 610)
        made.op("aten::_local_scalar_dense", at + 21, at + 609)
        made.runtime("cudaStreamSynchronize", at + 30, at + 605)
        made.mark("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", at + 700, at + 800)
        made.kernel(at + 900, at + 910, at + 999)
    found = reading(made, tmp_path)
    device = found.ranks[0].device
    assert device is not None
    # 600-910 without 700-800; after the last kernel 1 µs remains, and before the first 5.
    assert microseconds(device.idle) == {"synchronisation": 210, "data_wait": 100, "host": 6}
    assert found.ranks[0].syncs == {"aten::item": pytest.approx(575e-6)}
    assert [each.code for each in found.findings] == ["HOST01", "DATA01"]


def test_copies(tmp_path: Path) -> None:
    """The device that waits while the host copies from pageable memory is told from other lateness."""
    made = MadeUp()
    made.step(1, 0, 1000)
    call = ("cudaMemcpyAsync", 300.0)
    name = "Memcpy HtoD (Pageable -> Device)"
    made.kernel(100, 350, 400, name, category="gpu_memcpy", call=call)
    made.kernel(410, 420, 1000)
    found = reading(made, tmp_path)
    device = found.ranks[0].device
    assert device is not None
    assert device.copies == pytest.approx(50e-6)
    # The device waits 0-100 for a launch, 100-350 in the call, 400-410 for the next and 10 for its arrival.
    assert microseconds(device.idle) == {"copy": 250, "host": 120}
    copying = next(each for each in found.findings if each.code == "COPY01")
    assert copying.seconds == pytest.approx(300e-6)
    assert any("do not pin" in each or "does not pin" in each for each in copying.evidence)


def test_between_kernels_and_unknown(tmp_path: Path) -> None:
    """What was launched in time is nobody's lateness; what was launched by no known call is not guessed at."""
    made = MadeUp()
    made.step(1, 0, 100)
    made.kernel(4, 10, 40)
    made.kernel(5, 60, 80)
    made.kernel(6, 90, 100)
    made.events[-1]["args"]["correlation"] = 999
    found = rank(made, tmp_path)
    assert found.device is not None
    assert microseconds(found.device.idle) == {"host": 10, "between_kernels": 20, "unknown": 10}
    assert any("33 %" in each for each in found.notes)


def test_device_behind_the_host(tmp_path: Path) -> None:
    """A device that works on what was launched before is not charged with it: a step is what the device takes."""
    made = MadeUp()
    for number in range(3):
        at = 100 * number
        made.step(number, at, at + 100)
        made.kernel(at + 10, 1000 + 300 * number, 1300 + 300 * number)
    made.kernel(-50, -20, 1000, "older")
    found = rank(made, tmp_path)
    assert found.step_seconds == pytest.approx(300e-6)
    assert [round(1e6 * step.seconds) for step in found.steps] == [300, 300, 300]
    assert [round(1e6 * step.host) for step in found.steps] == [100, 100, 100]
    assert {each.name for each in found.kernels} == {"gemm"}


@pytest.mark.parametrize("microseconds", [20, 900])
def test_step_that_only_began(tmp_path: Path, microseconds: int) -> None:
    """The profiler stops in a step that it has just begun: that is none, however long stopping takes."""
    made = training(3)
    made.step(3, 1_003_000, 1_003_000 + microseconds)
    made.mark("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", 1_003_001, 1_003_015)
    assert [step.name for step in rank(made, tmp_path).steps] == [f"ProfilerStep#{n}" for n in range(3)]


def test_last_step_is_one_graph(tmp_path: Path) -> None:
    """Of a CUDA graph the host has the launch alone, which is a step's work all the same."""
    made = training(3)
    made.step(3, 1_003_000, 1_004_000)
    made.kernel(1_003_390, 1_003_400, 1_003_900, call=("cudaGraphLaunch", 5.0))
    assert [step.name for step in rank(made, tmp_path).steps] == [f"ProfilerStep#{n}" for n in range(4)]


def test_older_work_fills_the_trace(tmp_path: Path) -> None:
    """Where the device never comes to what the steps launch, they are as long as on the host."""
    made = MadeUp()
    made.step(1, 0, 100)
    made.op("aten::mm", 10, 20)
    made.kernel(-50, -20, 1000, "older")
    found = rank(made, tmp_path)
    assert found.step_seconds == pytest.approx(100e-6)
    assert found.device is not None
    assert found.device.computing == pytest.approx(100e-6)


def test_steps_by_the_optimizer(tmp_path: Path) -> None:
    """Without marks of the profiler a step ends with that of the optimizer; what comes after the last is left out."""
    made = MadeUp()
    for at in (0, 1000, 2000):
        made.op("aten::mm", at, at + 400)
        made.mark("Optimizer.step#Adam.step", at + 500, at + 900)
    made.op("aten::mm", 3000, 9000)
    found = rank(made, tmp_path)
    assert found.marks == "optimizer"
    assert [round(1e6 * step.host) for step in found.steps] == [900, 1000, 1000]
    assert sum(each.calls for each in found.operators if each.name == "aten::mm") == 1


def test_trace_of_a_cpu(tmp_path: Path) -> None:
    """Without a device the host's time is told, and the wait for data from it."""
    made = MadeUp()
    made.step(1, 0, 1000)
    made.mark("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", 0, 400)
    made.op("aten::mm", 400, 1000)
    found = reading(made, tmp_path)
    assert found.ranks[0].device is None
    assert microseconds(found.ranks[0].host) == {"data_wait": 400, "operators": 600}
    assert [(each.code, round(each.share, 3)) for each in found.findings] == [("DATA01", 0.4)]


def test_recompute_by_python_frames(tmp_path: Path) -> None:
    """What checkpointing computes again is found by its frame, and its kernels are not those of backward."""
    made = training(1)
    at = 1_000_000
    made.span("python_function", "torch/utils/checkpoint.py(1500): recompute_fn", at + 830, at + 842, AUTOGRAD)
    made.span("python_function", "torch/utils/checkpoint.py(596): _internal_assert", at + 1, at + 700, MAIN)
    found = rank(made, tmp_path)
    assert found.recompute_host == pytest.approx(12e-6)
    assert found.recompute_device == pytest.approx(50e-6)
    assert rank(training(1), tmp_path).recompute_host is None


def test_reentrant_recompute(tmp_path: Path) -> None:
    """Of the older way of checkpointing, the backward inside is no recomputing."""
    made = MadeUp()
    made.step(1, 0, 200)
    made.op("autograd::engine::evaluate_function: CheckpointFunctionBackward", 9, 101)
    made.op("CheckpointFunctionBackward", 10, 100)
    made.op("aten::mm", 20, 50)
    made.op("autograd::engine::evaluate_function: MmBackward0", 60, 95)
    assert rank(made, tmp_path).recompute_host == pytest.approx((90 - 35) * 1e-6)


def test_memory(tmp_path: Path) -> None:
    """The peak is the largest total; of a version that writes none it is unknown, and not 0."""
    made = training(1)
    for total in (10, 30, 20):
        args = {"Device Type": 1, "Device Id": 0, "Bytes": 10, "Total Allocated": total, "Total Reserved": 2 * total}
        made.events.append({"ph": "i", "name": "[memory]", "ts": 1_000_100, "args": args})
    memory = rank(made, tmp_path).memory
    assert memory is not None
    assert (memory.peak_allocated, memory.peak_reserved) == (30, 60)
    for event in made.events[-3:]:
        del event["args"]["Total Allocated"], event["args"]["Total Reserved"]
    memory = rank(made, tmp_path).memory
    assert memory is not None
    assert (memory.events, memory.peak_allocated) == (3, None)


def test_needless_checkpointing(tmp_path: Path) -> None:
    """Recomputing is a finding where the trace shows that most of the memory is free, and else none."""
    made = training(1, deviceProperties=[{"id": 0, "name": "H200", "totalGlobalMem": 1000}])
    made.span("python_function", "torch/utils/checkpoint.py(1500): recompute_fn", 1_000_830, 1_000_842, AUTOGRAD)
    assert "CHECKPOINT01" not in [each.code for each in reading(made, tmp_path).findings]
    args = {"Device Type": 1, "Device Id": 0, "Total Allocated": 90, "Total Reserved": 100}
    made.events.append({"ph": "i", "name": "[memory]", "ts": 1_000_100, "args": args})
    assert "CHECKPOINT01" in [each.code for each in reading(made, tmp_path).findings]
    args["Total Reserved"] = 600
    assert "CHECKPOINT01" not in [each.code for each in reading(made, tmp_path).findings]


def test_senseless_times(tmp_path: Path) -> None:
    """Events that end before they begin, or have no time, are left out, and it is said."""
    made = training(1)
    whole = rank(made, tmp_path)
    made.op("aten::negative", 1_000_500, 1_000_400)
    made.op("aten::timeless", 1_000_500, 1_000_600)
    del made.events[-1]["dur"]
    found = rank(made, tmp_path)
    assert found.device == whole.device
    assert found.notes == ["2 events have no time, or one that cannot be, and are left out."]


def ranks(folder: Path, slow: int, steps: int = 5) -> list[Path]:
    """Three ranks of one training: one computes for 100 µs longer, and the collective ends at 900 on all of them."""
    paths = []
    for number in range(3):
        made = MadeUp(distributedInfo={"rank": number, "world_size": 3})
        for step in range(steps):
            at = 1000 * step
            end = 700 if number == slow else 600
            made.step(step, at, at + 1000)
            made.kernel(at + 1, at + 2, at + end)
            made.kernel(at + 3, at + end, at + 900, "ncclDevKernel_AllReduce", stream=9)
            made.kernel(at + 4, at + 900, at + 1000)
        paths.append(made.write(folder / f"{number}.json"))
    return paths


@pytest.mark.parametrize("slow", [0, 2])
def test_slow_rank(tmp_path: Path, slow: int) -> None:
    """The rank that waits least in all steps is the slow one; its cause is named, and the wait is not counted twice."""
    found = traces.read(ranks(tmp_path, slow)[::-1])
    assert [each.rank for each in found.ranks] == [0, 1, 2]
    by_code = {each.code: each for each in found.findings}
    assert by_code["DISTRIBUTED02"].seconds == pytest.approx(100e-6)
    assert any("computing, by 100 µs" in each for each in by_code["DISTRIBUTED02"].evidence)
    assert by_code["DISTRIBUTED01"].seconds == pytest.approx(200e-6)


def test_few_steps_name_no_slow_rank(tmp_path: Path) -> None:
    """Of two steps one rank is the slowest by chance too often."""
    found = traces.read(ranks(tmp_path, 1, steps=2))
    assert "DISTRIBUTED02" not in [each.code for each in found.findings]


def test_which_rank(tmp_path: Path) -> None:
    """Several files must say which ranks they are, inside or by name, and each of them once."""
    paths = [training().write(tmp_path / name) for name in ("rank0.json", "x_rank-3.json.gz", "other.json")]
    assert [each.rank for each in traces.read(paths[:2]).ranks] == [0, 3]
    with pytest.raises(UsageError, match=r"other\.json does not say which rank"):
        traces.read(paths)
    with pytest.raises(UsageError, match="both of rank 0"):
        traces.read([paths[0], paths[0]])


def test_comparison(tmp_path: Path) -> None:
    """Parts, kernels and operators side by side; what is on one side only is missing on the other."""
    slower = training()
    slower.kernel(1_000_910, 1_000_920, 1_000_980, "new")
    a, b = (reading(made, tmp_path) for made in (training(), slower))
    found = traces.compare(a, b)
    parts = {each.name: (each.a, each.b) for each in found.parts}
    assert parts["computing"] == pytest.approx((350e-6, 380e-6))
    assert parts["idle_host"] == pytest.approx((250e-6, 220e-6))
    assert (found.kernels[0].name, found.kernels[0].a, found.kernels[0].b) == ("new", None, pytest.approx(30e-6))

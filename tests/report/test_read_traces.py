"""How a reading of traces is shown."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console, RenderableType

from hotlap.records import (
    Launches,
    TraceComparison,
    TracedDevice,
    TracedKernel,
    TracedOperator,
    TracedRank,
    TracedShift,
    TracedStep,
    TraceReading,
)
from hotlap.report import read_traces


def shown(view: RenderableType, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(view)
    return out.getvalue()


DEVICE = TracedDevice(
    number=2,
    name="H200",
    memory=None,
    computing=4e-3,
    communication=1e-3,
    copies=0.0,
    idle={"data_wait": 3e-3, "host": 2e-3},
    by_phase={"forward": 3e-3, "backward": 1e-3},
    communicating=2e-3,
    overlap=0.5,
    launches=Launches(count=9, median_delay=1e-5, p90_delay=2e-5, mean_queue=1.5, most_queued=3, empty_share=0.25),
    others=[0],
)
STEP = TracedStep(name="ProfilerStep#1", host=9e-3, seconds=10e-3, computing=4e-3, communication=1e-3, idle=5e-3)
RANK = TracedRank(
    path="trace.json",
    rank=0,
    ranks=8,
    bytes=2_000_000,
    events=1234,
    marks="ProfilerStep",
    steps=[STEP, STEP],
    step_seconds=10e-3,
    host={"data_wait": 4e-3, "outside": 5e-3},
    loader="no workers",
    device=DEVICE,
    kernels=[TracedKernel(name="void ns::gemm<int>(int)", kind="compute", calls=3, seconds=4e-3)],
    operators=[
        TracedOperator(name="aten::mm", calls=3, self_host=1e-3, total_host=2e-3, self_device=4e-3, total_device=4e-3)
    ],
)
READING = TraceReading(ranks=[RANK], findings=[], will_not_help=[])


def test_reading() -> None:
    """The headline says the largest cause, parts have their share, names lose what all have."""
    page = shown(read_traces.reading(READING))
    assert page.startswith("A step takes 10.0 ms; the device does nothing for 50.0 % of it, mostly while the")
    assert "rank 0 of 8, H200 (2); 2 steps, marked by the profiler" in " ".join(page.split())
    assert "idle: loading data" in page
    assert "30.0 %" in page
    assert "ns::gemm<int>\n" in page
    assert "used the devices 0" in " ".join(page.split())
    assert max(map(len, page.splitlines())) <= 80


def test_missing_is_said() -> None:
    """Without a device there is no table of one, and what was not recorded is not 0."""
    rank = msgspec.structs.replace(RANK, device=None, kernels=[], loader=None, marks="whole", steps=[STEP])
    page = shown(read_traces.reading(msgspec.structs.replace(READING, ranks=[rank])))
    assert "The trace takes 10.0 ms on the host; the trace shows no device." in page
    assert "A step of the device" not in page
    assert "Memory was not recorded" in page
    assert "No DataLoader was seen" in page


def test_ranks() -> None:
    """Several ranks stand in a table; the first is shown in full."""
    second = msgspec.structs.replace(RANK, rank=1, device=None)
    page = shown(read_traces.reading(msgspec.structs.replace(READING, ranks=[RANK, second])))
    rows = page[page.index("The ranks") :].splitlines()[2:4]
    assert rows[0].split() == ["0", "10.00", "ms", "4.00", "ms", "2.00", "ms", "1.00", "ms", "5.00", "ms"]
    assert rows[1].split() == ["1", "10.00", "ms", "n/a", "n/a", "n/a", "n/a"]


def test_comparison() -> None:
    """What is missing on a side is none, not 0; a comparison of traces says that it proves nothing."""
    other = msgspec.structs.replace(RANK, step_seconds=8e-3)
    found = TraceComparison(
        a=READING,
        b=msgspec.structs.replace(READING, ranks=[other]),
        parts=[TracedShift(name="idle_data_wait", a=3e-3, b=1e-3)],
        kernels=[TracedShift(name="new", a=None, b=1e-3, b_calls=2)],
        operators=[],
    )
    page = shown(read_traces.comparison(found))
    assert page.startswith("A step takes 10.0 ms in A and 8.00 ms in B: 20.0 % shorter.")
    assert "-2.00 ms  idle: loading data" in page
    assert "none  1.00 ms    +1.00 ms     none     2.00  new" in page
    assert "hotlap compare" in page
    assert "Operators that differ" not in page


def test_names() -> None:
    """Kernels lose their parameters and torch's namespaces, and copies keep what they copy."""
    names = {
        "void at::native::add<4, at::native::F<float> >(int, float*)": "add<4, F<float> >",
        "ncclDevKernel_Generic(ncclDevKernelArgsStorage<4096ul>)": "ncclDevKernel_Generic",
        "Memcpy HtoD (Pageable -> Device)": "Memcpy HtoD (Pageable -> Device)",
        "aten::mm": "mm",
    }
    kernels = [TracedKernel(name=name, kind="compute", calls=1, seconds=1.0) for name in names]
    rank = msgspec.structs.replace(RANK, kernels=kernels)
    page = shown(read_traces.reading(msgspec.structs.replace(READING, ranks=[rank])))
    listed = [line.split(None, 3)[3] for line in page[page.index("Kernels (") :].splitlines()[2:6]]
    assert listed == list(names.values())


@pytest.mark.parametrize("name", ["\x1b[2J\x1b[31mred", "a" * 5000, "[bold]x[/bold]", "\u202eevil", "void <(<(", ""])
def test_hostile_names(name: str) -> None:
    """Names steer no terminal, are no markup, and break no table."""
    kernel = TracedKernel(name=name, kind="compute", calls=1, seconds=1.0)
    rank = msgspec.structs.replace(RANK, kernels=[kernel], notes=[name], steps=[STEP, STEP], path=str(Path(name)))
    page = shown(read_traces.reading(msgspec.structs.replace(READING, ranks=[rank])))
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert max(map(len, page.splitlines())) <= 80

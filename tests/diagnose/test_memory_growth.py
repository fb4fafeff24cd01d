"""Growth told apart, and what follows from it."""

from __future__ import annotations

import io

import msgspec
import pytest
from planted import run
from planted_memory import (
    GB,
    MB,
    copies,
    counts,
    full,
    leaks,
    points,
    ramp,
    random_sizes,
    sized,
    stairs,
    stairs_of_memory,
    workers,
)
from rich.console import Console, RenderableType

from hotlap.diagnose import diagnose
from hotlap.diagnose.memory import slope, trend
from hotlap.records import Finding, Memory, MemoryAccount
from hotlap.report import terminal, view


def found(memory: Memory, **arguments: object) -> dict[str, Finding]:
    return {each.code: each for each in diagnose(run(seen=memory, **arguments)).findings}  # type: ignore[arg-type]


def test_the_slope_withstands_outliers() -> None:
    line = [(float(i), 3.0 * i + (1e9 if i % 10 == 0 else 0)) for i in range(50)]
    assert slope(line) == pytest.approx(3.0, rel=0.02)


def test_a_leak_is_measured_and_projected() -> None:
    """Bytes a step, with the range of its parts, and the steps until 16 GiB are full."""
    result = diagnose(run(seen=points(leaks)))
    growth = result.memory.growth
    assert growth is not None
    assert growth.slope == pytest.approx(200 * MB / 1600, rel=0.05)
    assert growth.low <= growth.slope <= growth.high
    assert growth.steps_left == pytest.approx((16 * 2**30 - 1.3 * GB) / (200 * MB / 1600), rel=0.05)
    risk = next(each.risk for each in result.findings if each.code == "MEMORY03")
    assert risk is not None
    assert risk.startswith("out of memory in about 130,000 steps (4 hours)")


def test_the_memory_of_the_gpu_may_be_what_grows() -> None:
    evidence = found(points(leaks, device=True))["MEMORY03"].evidence
    assert evidence[0].startswith("The GPU's memory grew by ")


def test_kept_graphs_explain_the_growth() -> None:
    """It is named once, by its cause."""
    memory = msgspec.structs.replace(points(leaks), graphs=counts([55, 340, 790, 1690]).graphs)
    codes = found(memory)
    assert "MEMORY03" not in codes
    assert "out of memory" in str(codes["MEMORY02"].risk)
    assert len(codes["MEMORY02"].evidence) == 2


def test_graphs_of_a_short_run_are_named_where_its_memory_grows() -> None:
    """Over 13 steps only the memory tells them from a window over the last losses."""
    short = counts([356, 388, 772], (10, 11, 23))
    assert "MEMORY02" not in found(short)
    grown = sized(points(lambda part: GB + 600 * MB * part, n=20), stairs, 25)
    grown = msgspec.structs.replace(grown, points=[msgspec.structs.replace(each, inputs=None) for each in grown.points])
    evidence = found(msgspec.structs.replace(grown, graphs=short.graphs))["MEMORY02"].evidence
    assert "not measured" in evidence[1]


def test_growth_that_is_not_even_is_not_called_none() -> None:
    jumpy = points(lambda part: GB + 200 * MB * int(3 * part) / 3)
    memory = msgspec.structs.replace(jumpy, graphs=counts([55, 340, 790, 8690], (6, 48, 112, 1240)).graphs)
    evidence = " ".join(found(memory)["MEMORY02"].evidence)
    assert "not evenly" in evidence
    assert "hardly" not in evidence


@pytest.mark.parametrize(
    ("nodes", "steps", "words"),
    [
        ([356], (10,), None),  # counted once: nothing is known
        ([356, 388], (10, 11), "32 nodes more at the end, too little to tell"),
        ([356, 356], (10, 11), "there were not more of them"),
        ([356, 388, 340], (10, 11, 60), "there were not more of them"),
    ],
)
def test_of_graphs_only_what_was_counted_is_said(nodes: list[int], steps: tuple[int, ...], words: str | None) -> None:
    memory = msgspec.structs.replace(points(leaks), graphs=counts(nodes, steps).graphs)
    finding = found(memory)["MEMORY03"]
    said = [each for each in finding.evidence if "graphs" in each]
    assert len(said) == (words is not None)
    assert words is None or words in said[0]
    assert ("kept with its graph" in finding.remedy) == (nodes == [356, 388])


def test_memory_that_grows_where_the_inputs_do_not_is_kept() -> None:
    """A leak below a staircase of inputs, below sizes by chance, and far beyond what a step takes."""
    assert "MEMORY03" in found(sized(points(leaks), stairs))
    assert "MEMORY03" in found(sized(points(leaks), random_sizes))
    small = msgspec.structs.replace(account(), activations=100_000, inputs=65536, step=0)
    assert "MEMORY03" in found(msgspec.structs.replace(sized(points(leaks), ramp), account=small))


def test_graphs_of_larger_inputs_are_not_suspected() -> None:
    """Eight times the inputs, and a graph that is seven times as long: one of it is alive, as before."""
    memory = msgspec.structs.replace(sized(points(leaks), stairs), graphs=counts([100, 100, 700], (6, 7, 1500)).graphs)
    finding = found(memory)["MEMORY03"]
    assert "no more of them than larger inputs make" in finding.evidence[1]
    assert "kept with its graph" not in finding.remedy


def test_memory_that_goes_with_the_inputs_is_told_as_that() -> None:
    codes = found(sized(points(stairs_of_memory), stairs))
    assert any("as the inputs did" in each for each in codes["LOOP09"].evidence)


def test_memory_that_takes_some_steps_to_follow_larger_inputs_goes_with_them() -> None:
    """An allocator asks for more at the first steps of a new size, not all at once."""

    def sizes(part: float) -> float:
        return 65536 * (1 + int(8 * part))

    def settles(part: float) -> float:
        size = int(8 * part)
        return GB + 3 * MB * (size + min(1.0, 2.5 * (8 * part - size)))

    for n in (40, 100):
        codes = found(sized(points(settles, n=n, noise=0.0), sizes))
        assert "MEMORY03" not in codes
        assert any("as the inputs did" in each for each in codes["LOOP09"].evidence)


def test_a_worker_that_keeps_something_is_no_copy_on_write() -> None:
    evidence = found(workers(copies, lambda part: copies(part) + 0.2 * GB))["MEMORY04"].evidence
    assert "they keep something" in evidence[1]
    assert "they copy what they shared" in found(workers(copies, lambda part: 9 * GB))["MEMORY04"].evidence[1]


def test_harmless_copying_is_told_without_a_finding() -> None:
    result = diagnose(run(seen=workers(copies, lambda part: 4.6 * GB)))
    assert "copied on write" in str(result.memory.workers_growth)
    assert not [each for each in result.findings if each.risk]


def test_swap_is_named() -> None:
    assert found(full(GB, swap=GB), facts={"major_faults": 3.0})["MEMORY05"].risk == "memory is in swap"
    assert "MEMORY05" not in found(full(GB, swap=GB), facts={"major_faults": 0.0})


def test_risks_come_after_what_costs_time_and_before_information() -> None:
    result = diagnose(run(seen=points(leaks), phases={"data_wait": 0.1}, facts={"workers": 0}, n=4))
    assert [each.code for each in result.findings] == ["DATA01", "MEMORY03", "MEASURE01"]
    assert [each.code for each in view.causes(result)] == ["DATA01", "MEMORY03"]
    headline = view.profile_headline(result, run().facts)
    assert "at most 2.01x. The training takes more memory with every step: out of memory in about" in headline


def test_a_risk_alone_is_the_headline() -> None:
    result = diagnose(run(seen=points(leaks)))
    assert "the training takes more memory with every step: out of memory in" in view.profile_headline(
        result, run().facts
    )
    assert view.at_stake(result.findings[0]).startswith("A risk: out of memory in about ")
    assert "Most to gain" not in [tile[0] for tile in view.run_tiles(run(), result)]


def test_a_trend_needs_points() -> None:
    assert trend([]) is None
    assert trend([(0.0, 1.0)] * 40) is None


def render(report: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=100, color_system=None).print(report)
    return file.getvalue()


def account() -> MemoryAccount:
    moments = {"before": 600 * MB, "forward": 900 * MB, "backward": 700 * MB, "optimizer": 650 * MB}
    sizes = {"parameters": 100 * MB, "buffers": 0, "gradients": 100 * MB, "optimizer": 200 * MB}
    return MemoryAccount(step=6, device="cpu", inputs=50 * MB, activations=300 * MB, moments=moments, **sizes)


def test_the_parts_add_up_to_the_peak() -> None:
    report = diagnose(run(seen=Memory(account=account()))).memory
    assert (report.peak, report.peak_phase) == (900 * MB, "forward")
    assert sum(part.bytes for part in report.parts) == 900 * MB
    assert [part.name for part in report.parts][-1] == "other"
    assert sum(part.share for part in report.parts) == pytest.approx(1.0)


def test_a_step_that_moves_nothing_has_no_peak_phase() -> None:
    flat = msgspec.structs.replace(account(), moments={"before": 900 * MB, "forward": 901 * MB})
    assert diagnose(run(seen=Memory(account=flat))).memory.peak_phase is None


def test_the_terminal_shows_it() -> None:
    """Categories with shares, the peak with its phase, processes; nothing where nothing is known."""
    seen = workers(copies, lambda part: 4.6 * GB)
    planted = run(seen=msgspec.structs.replace(seen, account=account()))
    shown = render(terminal.profile(planted, diagnose(planted)))
    for words in ("Memory", "activations", "300 MB", "33.3 %", "highest at the end of forward", "2 workers"):
        assert words in shown
    assert "Memory" not in render(terminal.profile(run(), diagnose(run())))

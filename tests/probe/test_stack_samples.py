"""Lines that no phase explains are found, and the script does not notice that it is watched."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recordings import Recorded, Told

from hotlap.probe import stack_samples
from hotlap.probe.stack_samples import StackSamples, _arguments, _written
from hotlap.probe.timeline import FORWARD, GAP, Timeline

SCRIPTS = Path(__file__).parent / "scripts"


def lines_of(script: str) -> dict[str, int]:
    """The lines that end with a word as a comment."""
    rows = (SCRIPTS / f"{script}.py").read_text().splitlines()
    return {row.rpartition("  # ")[2]: number for number, row in enumerate(rows, 1) if "  # " in row}


def test_slow_lines_are_found_in_their_phases(
    record: Callable[..., Recorded], without_probe: Callable[..., Told]
) -> None:
    """Whether they keep the interpreter's lock or not; losses stay the same, no frame is kept and no thread is left."""
    found = record("slow_lines")
    told, sampled = found.told, found.run.sampled
    assert told is not None, found.output
    assert told.steps == without_probe("slow_lines").steps
    assert sampled is not None
    assert not found.run.notes
    assert told.more["after"] == told.more["threads"][0]
    assert told.more["threads"][-1] <= told.more["threads"][0] + 1
    own = [line for line in sampled.lines if line.file == str(SCRIPTS / "slow_lines.py")]
    assert {line.file for line in sampled.lines} <= {own[0].file, str(SCRIPTS / "told.py")}
    number = lines_of("slow_lines")
    seconds: dict[tuple[str, int], float] = {}
    for line in own:
        key = (line.phase, line.line)
        seconds[key] = seconds.get(key, 0.0) + line.seconds
    other = sampled.phases["other"]
    named = seconds["other", number["C"]] + seconds["other", number["Python"]]
    assert named > 0.5 * other.seconds
    assert seconds["loss", number["loss"]] > 0.5 * sampled.phases["loss"].seconds
    assert "zlib.compress" in {line.called for line in own if line.line == number["C"]}


def test_what_is_found_agrees_with_the_phases(record: Callable[..., Recorded]) -> None:
    found = record("slow_lines").run
    assert found.sampled is not None
    for phase in ("other", "loss"):
        means = [step.phases[phase] for step in found.steps[6:]]
        assert found.sampled.phases[phase].seconds == pytest.approx(sum(means) / len(means), rel=0.9)


def test_a_script_that_forks_is_not_sampled_and_goes_on(record: Callable[..., Recorded]) -> None:
    found = record("forks_each_step")
    assert len(found.run.steps) == 40
    assert not found.run.notes
    assert found.run.sampled is None


class Recorder(SimpleNamespace):
    """What the look needs of the recorder."""

    def __init__(self) -> None:
        super().__init__(
            timeline=Timeline(time.perf_counter_ns()),
            clock=time.perf_counter_ns,
            thread=_thread.get_ident(),
            closed=[],
            steps=20,
            begun=True,
            ended=False,
            record=SimpleNamespace(roles={}),
        )

    def step(self) -> None:
        self.mark(GAP)
        self.closed.append((len(self.timeline.kinds) - 1,))

    def mark(self, kind: str) -> None:
        self.timeline.times.append(self.clock())
        self.timeline.kinds.append(kind)


@pytest.fixture
def recorder() -> Recorder:
    made = Recorder()
    made.timeline.times[0] -= 50_000_000  # the last step took as long
    made.step()
    return made


@pytest.fixture
def look(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[StackSamples]:
    monkeypatch.setattr(stack_samples.os, "register_at_fork", lambda before: None)
    threads = _thread._count()
    yield StackSamples(SimpleNamespace(__file__="/nowhere/torch/__init__.py"), recorder)
    assert _thread._count() == threads


def busy(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        sum(range(50))


def counted(look: StackSamples) -> dict[str, Any]:
    found = look.lines()
    return found[0][1] if found else {}


def test_only_gaps_count(look: StackSamples, recorder: Recorder) -> None:
    look.begin()
    recorder.timeline.push(recorder.clock(), FORWARD)
    busy(0.04)
    recorder.timeline.pop(recorder.clock())
    recorder.step()
    look.end()
    assert counted(look)["steps"] == 1
    assert counted(look)["phases"].get("other", {"samples": 0})["samples"] <= 1


def test_a_gap_is_told_with_the_line_and_its_seconds(look: StackSamples, recorder: Recorder) -> None:
    look.begin()
    recorder.mark(GAP)
    busy(0.06)
    recorder.step()
    look.end()
    found = counted(look)
    assert {line["function"] for line in found["lines"]} == {"busy"}
    assert found["phases"]["other"]["seconds"] == pytest.approx(0.06, rel=0.5)


def test_a_short_training_of_short_steps_keeps_them(look: StackSamples, recorder: Recorder) -> None:
    recorder.timeline.times[0] = recorder.timeline.times[-1] - 1_000_000
    look.begin()
    assert (look.span, look.watch) == (0, None)
    recorder.steps = 400
    look.begin()
    assert look.span == stack_samples._MOST_STEPS
    look.undo()


def test_undone_in_the_middle_it_concludes_nothing(look: StackSamples, recorder: Recorder) -> None:
    look.begin()
    busy(0.02)
    look.undo()
    assert look.watch is None
    recorder.step()
    look.step_over()
    look.end()
    assert look.lines() == []


def test_the_end_of_the_training_leaves_the_unfinished_step_out(look: StackSamples, recorder: Recorder) -> None:
    look.begin()
    busy(0.02)
    recorder.step()
    look.step_over()
    busy(0.02)
    recorder.ended = True
    look.end()
    assert counted(look)["steps"] == 1
    assert counted(look)["phases"]["other"]["seconds"] < 0.035


def test_what_encloses_the_step_explains_nothing(look: StackSamples, recorder: Recorder) -> None:
    """The loop of a library: no line of the script runs, so the library's own is told."""
    library: dict[str, Any] = {}
    source = "def fit(begin, end, busy):\n    begin()\n    total = sum(i for i in range(1_500_000))\n    end()\n"
    exec(compile(source, "/env/site-packages/trainer/loop.py", "exec"), library)

    def finish() -> None:
        recorder.step()
        look.end()

    library["fit"](look.begin, finish, busy)
    lines = counted(look)["lines"]
    assert {(line["file"], line["line"]) for line in lines} == {("/env/site-packages/trainer/loop.py", 3)}


def test_the_thread_of_a_script_may_be_gone(look: StackSamples, recorder: Recorder) -> None:
    recorder.thread = 1
    look.begin()
    busy(0.02)
    recorder.step()
    look.end()
    assert counted(look)["lines"] == []


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("np.savez(path, s=s.numpy())", "np.savez"),
        ("g.norm().item()", "g.norm().item"),
        ("table[key(1)](x)(y)", "table[key(1)](x)"),
        ("write(')(', \"(\")", "write"),
    ],
)
def test_of_a_call_what_is_called_is_told(text: str, called: str) -> None:
    assert text[: _arguments(text)] == called


def test_code_without_a_source_is_told_without_a_call() -> None:
    assert _written(compile("print(1)", "<nowhere>", "exec"), 0) is None

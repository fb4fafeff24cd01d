"""What the terminal shows."""

from __future__ import annotations

import io

import made_up
import pytest
from made_up import replace
from rich.cells import cell_len
from rich.console import Console, RenderableType

from hotlap.diagnose import diagnose
from hotlap.records import Facts, RankMeans
from hotlap.report import html, markdown, terminal

HOSTILE = "<b>[red]x[/red]\x1b[2J" + "长🚀" * 6 + "-long" * 60


def everything() -> list[RenderableType]:
    run = made_up.run()
    hostile_run = replace(run, notes=[HOSTILE], info=replace(run.info, name=HOSTILE, command=[HOSTILE] * 2))
    hostile = made_up.tuning(
        name=HOSTILE,
        warnings=[HOSTILE],
        trials=[made_up.trial(HOSTILE, "1", why=HOSTILE)],
        skipped=[made_up.trial("x", HOSTILE, why="")],
        adopted=[made_up.change(HOSTILE, "1", title=HOSTILE)],
        diagnosis=made_up.diagnosis(phases={HOSTILE: 0.5}, findings=[made_up.finding(title="", evidence=[HOSTILE])]),
    )
    return [
        terminal.profile(run, diagnose(run)),
        terminal.profile(hostile_run, made_up.diagnosis()),
        terminal.profile(replace(run, facts=Facts()), made_up.diagnosis(throughput=None, phases={}, findings=[])),
        terminal.tuning(made_up.tuning()),
        terminal.tuning(hostile),
        terminal.tuning(made_up.nothing_to_gain()),
        terminal.comparison(made_up.comparison()),
        terminal.comparison(
            made_up.comparison(a=[HOSTILE], warnings=[HOSTILE], same_training=made_up.same_training(same=None))
        ),
    ]


def render(renderable: RenderableType, width: int) -> str:
    """Return what a terminal of this width would show, without colours."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(renderable)
    return file.getvalue()


def printed(renderable: RenderableType, encoding: str, **settings: object) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=80, highlight=False, **settings).print(renderable)  # type: ignore[arg-type]
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_reports_keep_to_the_width(width: int) -> None:
    """No line of any report is wider than the terminal, or ends in spaces, whatever the names in it."""
    for report in everything():
        for line in render(report, width).splitlines():
            assert cell_len(line) <= width
            assert line == line.rstrip()


def test_figures_are_not_cut_at_80_columns() -> None:
    """The tables of ordinary records fit a terminal of 80 columns."""
    for record in (terminal.tuning(made_up.tuning()), terminal.profile(made_up.run(), made_up.diagnosis())):
        assert "…" not in render(record, 80)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_output_can_show_a_report(encoding: str) -> None:
    """Where the output has no such letters, stand-ins are shown, as wide as what they stand for."""
    for report in everything():
        lines = printed(report, encoding).splitlines()
        expected = printed(report, "utf-8").splitlines()
        assert [cell_len(line) for line in lines] == [cell_len(line) for line in expected]
    assert "####" in printed(everything()[0], "ascii")
    assert "größe" in printed(everything()[0], "latin-1")


def test_colours_are_for_terminals() -> None:
    """Into a file or a pipe goes no escape sequence, and onto a terminal only the report's own."""
    for report in everything():
        assert "\x1b" not in printed(report, "utf-8")
        assert "\x1b[2J" not in printed(report, "utf-8", force_terminal=True)
    assert "\x1b[" in printed(everything()[3], "utf-8", force_terminal=True, color_system="standard")


def test_a_profile_says_where_the_time_goes_and_why() -> None:
    """A profile shows the leaves and their sum, the budget, the findings, what will not help and the probe's cost."""
    run = made_up.run()
    shown = render(terminal.profile(run, diagnose(run)), 100)
    for words in (
        "data_wait",
        "backward itself",
        "sum of the leaves",
        "startup",
        "wall clock",
        "DATA01",
        "What will not help",
        "The probe itself cost 38.0 µs",
    ):
        assert words in shown


def test_a_run_that_ended_badly_says_so() -> None:
    """How a run ended comes before its figures when it did not end well."""
    run = made_up.run()
    run = replace(run, info=replace(run.info, outcome="out_of_memory", exit_code=1, reason="CUDA out of memory"))
    shown = render(terminal.profile(run, made_up.diagnosis()), 100)
    assert "Attention: The run ended as: out of memory, exit code 1. CUDA out of memory." in shown


def test_a_tuning_shows_every_trial_with_its_proof() -> None:
    """Each change is shown with effect, interval, pairs and fate, and the proof of the whole with its evidence."""
    shown = render(terminal.tuning(made_up.tuning()), 100)
    for words in (
        "baseline (no-op)",
        "1.83x  [1.75, 1.91]     12  kept",
        "1.01x  [0.96, 1.06]      9  dropped",
        "n/a  n/a             n/a  not measured",
        "Not tried",
        "batch=64 (trajectory). Set batch to 64: it would be another training.",
        "-9.80 ms",
        "Same training: yes",
        "where seeds of the baseline itself",
        "psnr (dB), candidate: 29.850, 29.900",
        "59,000 steps",
        "Warnings",
        "What will not help",
        "hotlap run --with",
    ):
        assert words in shown


def test_where_nothing_was_adopted_findings_say_what_was_tried() -> None:
    """A profile says what would be; the page and Markdown as the terminal does."""
    found = made_up.diagnosis(findings=[made_up.finding(changes=["compile", "fused"])])
    tuning = made_up.tuning(adopted=[], optimized=None, diagnosis=found)
    said = "Tried against it: compile=default 1.01{} (dropped)"
    assert said.format("x") in render(terminal.tuning(tuning), 100)
    assert "tune tries" not in render(terminal.tuning(tuning), 100)
    assert "What hotlap tune tries: compile, fused" in render(terminal.profile(made_up.run(), found), 100)
    assert said.format("\u00d7") in html.render(tuning)
    assert said.format("\u00d7") in markdown.render(tuning).replace("\\", "")


def test_what_no_time_was_left_for_is_no_row() -> None:
    """It is in one line with its reason."""
    late = {
        "effect": None,
        "judgement": "unclear",
        "kept": False,
        "why": "not tried: no time; a larger --budget goes on",
    }
    trials = [made_up.trial(), *(made_up.trial(name, "1", **late) for name in ("fused", "compile"))]
    shown = render(terminal.tuning(made_up.tuning(trials=trials, skipped=[])), 100)
    assert "  - fused=1, compile=1: no time; a larger --budget goes on." in shown
    assert "not measured" not in shown
    page = html.render(made_up.tuning(trials=trials, skipped=[]))
    assert '<th scope="row">fused=1, compile=1</th><td></td><td>No time; a larger --budget goes on.</td>' in page
    assert "`fused=1`, `compile=1` |  | not tried | No time;" in markdown.render(
        made_up.tuning(trials=trials, skipped=[])
    )


def test_a_healthy_training_reads_as_such() -> None:
    """A tuning with nothing to try says so, shows the diagnosis, and offers nothing to use."""
    shown = render(terminal.tuning(made_up.nothing_to_gain()), 80)
    assert shown.startswith("Nothing to gain")
    assert "HEALTHY01" in shown
    assert "hotlap run --with" not in shown


def test_where_the_time_goes_is_no_promise() -> None:
    """What describes a training has no number and no bound beside it; the record keeps the bound."""
    described = made_up.finding(code="COMPUTE01", title="The step is bound", seconds=0.042, share=0.925, bound=13.41)
    alone = made_up.diagnosis(findings=[described])
    shown = render(terminal.profile(made_up.run(), alone), 80)
    findings, where = shown.split("\nFindings\n")[1].split("\nWhere the time goes\n")
    assert findings.strip() == "None: no known cause has time at stake."
    assert "-  COMPUTE01  The step is bound" in where
    assert "42.0 ms of a step (92.5 %), which is no fault." in where
    assert "To make it cheaper:" in where
    assert "13.4" not in shown
    assert "nothing known is wrong: the step is bound" in " ".join(shown.split())
    busy = made_up.finding(code="HOST06", title="Other programs take the cores", seconds=0.02, share=0.4, bound=1.7)
    shown = render(terminal.profile(made_up.run(), made_up.diagnosis(findings=[described, busy])), 80)
    assert "nothing known is wrong in the training: the step is bound; other programs take the cores." in " ".join(
        shown.split()
    )


def test_where_the_time_goes_comes_after_what_is_wrong() -> None:
    described = made_up.finding(code="COMPUTE02", title="One stage", seconds=0.042, share=0.925, bound=13.41)
    both = made_up.diagnosis(findings=[described, made_up.finding()])
    shown = render(terminal.profile(made_up.run(), both), 80)
    assert (
        shown.index(f"1. {made_up.finding().code}") < shown.index("Where the time goes") < shown.index("-  COMPUTE02")
    )
    assert "13.4" not in shown


def test_faster_but_another_training_is_not_sold_as_a_gain() -> None:
    """What was measured faster but trains differently is called that, and not adopted."""
    other = made_up.tuning(adopted=[], optimized=None, same_training=made_up.same_training(same=False))
    shown = " ".join(render(terminal.tuning(other), 80).split())
    assert shown.startswith("Nothing adopted: what the search kept is faster in fresh processes, but it is another")
    # Given up after a few seeds, when the speed was not sure yet.
    early = " ".join(render(terminal.tuning(replace(other, judgement="unclear")), 80).split())
    assert early.startswith("Nothing adopted: what the search kept is unclear in fresh processes, and it is another")
    unsure = made_up.tuning(adopted=[], optimized=None, same_training=None)
    assert "whether it is the same training is unclear" in " ".join(render(terminal.tuning(unsure), 80).split())


def test_secrets_are_not_printed() -> None:
    """A key in the command is masked in every report."""
    secret = ["python", "t.py", "--api-key=sesame"]
    run = made_up.run()
    run = replace(run, info=replace(run.info, command=secret))
    for report in (
        terminal.profile(run, made_up.diagnosis()),
        terminal.tuning(made_up.tuning(command=secret)),
        terminal.comparison(made_up.comparison(a=secret, b=secret)),
    ):
        shown = render(report, 100)
        assert "sesame" not in shown
        assert "--api-key=***" in shown


def test_ranks_are_shown_side_by_side() -> None:
    """A line each, with n/a for what nobody measured; a single process has no such table."""
    means = [
        RankMeans(
            rank=rank, step=0.06, phases={"data_wait": 0.01, "forward": 0.02, "backward": 0.02}, sync_exposed=sync
        )
        for rank, sync in enumerate([0.01, None] * 10)
    ]
    shown = render(terminal.profile(made_up.run(), replace(made_up.diagnosis(), ranks=means)), 100)
    lines = shown[shown.index("Ranks") :].splitlines()
    assert lines[2].split() == [
        "0",
        "60.00",
        "ms",
        "10.00",
        "ms",
        "20.00",
        "ms",
        "20.00",
        "ms",
        "10.00",
        "ms",
        "n/a",
        "n/a",
    ]
    assert lines[3].split()[-3:] == ["n/a", "n/a", "n/a"]
    assert "4 more ranks" in shown
    assert "Ranks" not in render(terminal.profile(made_up.run(), made_up.diagnosis()), 100)


def test_a_comparison_whose_step_times_point_the_other_way() -> None:
    """Medians of each side by itself, beside a median of pairs: what to hold of them is said wherever both stand."""
    odd = made_up.comparison(b_step_seconds=0.0459)
    for record, said in ((odd, True), (made_up.comparison(), False)):
        shown = " ".join(render(terminal.comparison(record), 80).split())
        for text in (shown, markdown.render(record), html.render(record)):
            assert ("step times point the other way" in text) is said

"""Rows and sentences made from the records."""

from __future__ import annotations

import math

import made_up
import pytest
from made_up import replace

from hotlap.records import PHASES, Budget, Effect, Environment, Facts, PythonThread, Switches, ThreadUse
from hotlap.report import about, verdicts, view
from hotlap.tune.statistics import UNBOUNDED


def test_leaves_of_the_tree_add_up() -> None:
    """Only leaves count: a parent's seconds are those under it, and the shares of the leaves are a whole."""
    rows = view.phase_rows(made_up.BEFORE)
    leaves = [row for row in rows if row.leaf]
    assert math.fsum(row.seconds for row in leaves) == pytest.approx(math.fsum(made_up.BEFORE.values()))
    assert math.fsum(row.share or 0 for row in leaves) == pytest.approx(1.0)
    parent = next(row for row in rows if not row.leaf)
    assert parent.seconds == pytest.approx(math.fsum(row.seconds for row in rows if row.depth))
    assert [row.label for row in rows if row.depth] == ["backward itself", "recompute", "gradient_sync"]


def test_a_backward_with_nothing_inside_is_a_leaf() -> None:
    """Without recompute and gradient sync there is no tree to show."""
    rows = view.phase_rows({"forward": 1.0, "backward": 2.0})
    assert [(row.label, row.depth, row.leaf) for row in rows] == [
        ("forward", 0, True),
        ("backward", 0, True),
        ("other", 0, True),
    ]


def test_other_is_never_hidden() -> None:
    """What no leaf explains is shown, even as nothing, and a phase of an unknown name is shown before it."""
    assert list(view.leaves({"forward": 1.0})) == ["forward", "other"]
    assert list(view.leaves({"mine": 1.0, "other": 0.5, "loss": 2.0})) == ["loss", "mine", "other"]
    assert view.in_order(["other", "mine", *reversed(PHASES)])[-2:] == ["mine", "other"]
    assert view.phase_rows({})[0].share is None


def test_before_and_after_tells_missing_from_nothing() -> None:
    """A leaf that only one of the two has is missing in the other, and their sums close the table."""
    before = made_up.diagnosis(phases={"data_wait": 0.2, "forward": 0.1})
    after = made_up.diagnosis(phases={"forward": 0.15})
    rows = {row.phase: row for row in view.before_after(before, after)}
    assert rows["data_wait"].after is None
    assert rows["data_wait"].difference == -0.2
    assert rows[view.SUM].difference == pytest.approx(-0.15)


def test_what_a_short_run_did_not_come_to_is_no_gain() -> None:
    """Validation and checkpoints count where both have them."""
    before = made_up.diagnosis(phases={"forward": 0.1, "validation": 0.4, "checkpoint": 0.2})
    after = made_up.diagnosis(phases={"forward": 0.05, "checkpoint": 0.1})
    rows = {row.phase: row for row in view.before_after(before, after)}
    assert list(rows) == ["forward", "checkpoint", "other", view.SUM]
    assert rows[view.SUM].difference == pytest.approx(-0.15)


def test_the_budget_is_closed() -> None:
    """What the parts of the wall clock leave open is a row of its own."""
    budget = Budget(wall=10.0, startup=1.0, warmup=1.0, steps=5.0, validation=0, checkpoint=0, logging=0, end=1.0)
    rows = dict(view.budget_rows(budget))
    assert rows["unexplained"] == pytest.approx(2.0)
    assert math.fsum(rows.values()) == pytest.approx(budget.wall)
    assert "unexplained" not in dict(view.budget_rows(replace(budget, wall=8.0)))


def test_a_headline_names_the_first_cause_with_its_bound() -> None:
    """The costliest cause is named with the most that ending it could give; information is not called a cause."""
    assert "at most 1.64x" in view.profile_headline(made_up.diagnosis(), Facts())
    healthy = made_up.nothing_to_gain().diagnosis
    assert view.profile_headline(healthy, Facts()).endswith("nothing stands out.")
    silent = made_up.diagnosis(findings=[], throughput=None)
    assert view.profile_headline(silent, Facts()) == "A step takes 45.4 ms (median); no known cause has time at stake."


def test_samples_of_several_ranks_are_said_to_be_those_of_rank_0() -> None:
    """Only its record is read, and the other ranks may train other samples or the same."""
    ranks, diagnosis = Facts(world_size=4), made_up.diagnosis()
    assert "705 samples/s on rank 0 of 4 (mean, without validation, checkpoints and logging)" in view.profile_headline(
        diagnosis, ranks
    )
    assert view.speed(diagnosis, ranks).endswith("samples/s on rank 0 of 4")
    assert view.speed(diagnosis, Facts()).endswith("samples/s")
    tiles = view.run_tiles(replace(made_up.run(), facts=ranks), diagnosis)
    assert "on rank 0 of 4" in {note for _, _, note in tiles}
    tuned = verdicts.tuning_tiles(replace(made_up.tuning(), facts=ranks))
    assert "on rank 0 of 4" in {note for _, _, note in tuned}


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (made_up.effect(1.0, low=0.99, high=1.01), "does not move"),
        (made_up.effect(1.0, low=0.88, high=1.3), "too wide"),
        (made_up.effect(1.1, low=1.05, high=1.15), "too noisy"),
        (Effect(ratio=1.0, low=0.0, high=UNBOUNDED, n=1, confidence=0.95, pairs=[1.0]), "not known"),
        (Effect(ratio=1.0, low=0.0, high=UNBOUNDED, n=0, confidence=0.95, pairs=[]), "not known"),
    ],
)
def test_the_no_op_arm_judges_the_machine(effect: Effect, words: str) -> None:
    """The arm that changes nothing must not move; with too little data nobody knows."""
    sentence = verdicts.no_op_sentence(effect)
    assert words in sentence
    assert "1000000000" not in sentence.replace(",", "")


def test_a_tuning_is_called_what_it_proved() -> None:
    """Nothing tried, nothing measured, nothing proven and something proven are told apart."""
    failed = made_up.trial("prefetch", effect=None, kept=False, judgement="unclear")
    measured = made_up.trial(kept=False, judgement="unclear")
    why = "not tried: no time; a larger --budget goes on"
    late = made_up.trial("threads", effect=None, kept=False, judgement="unclear", why=why)
    with_it = replace(late, beside=[measured.change])
    again = replace(measured, effect=None, why=why)
    none = {"adopted": [], "effect": None, "judgement": "unclear"}
    headlines = [
        verdicts.tuning_headline(made_up.tuning(trials=[], **none)),
        verdicts.tuning_headline(made_up.tuning(trials=[failed], **none)),
        verdicts.tuning_headline(made_up.tuning(trials=[failed, measured], **none)),
        verdicts.tuning_headline(made_up.tuning(trials=[failed, measured, late], **none)),
        verdicts.tuning_headline(made_up.tuning(trials=[measured, late, with_it], **none)),
        verdicts.tuning_headline(made_up.tuning(trials=[measured, again], **none)),
        verdicts.tuning_headline(made_up.tuning(trials=[late], **none)),
        verdicts.tuning_headline(made_up.tuning(trials=[measured], **none)),
        verdicts.tuning_headline(made_up.tuning(adopted=[], judgement="unclear")),
        verdicts.tuning_headline(made_up.tuning()),
    ]
    expected = (
        "Nothing to gain: no change was worth a trial.",
        "Nothing proven: of 1 change none could be measured.",
        "Nothing proven: of 1 change measured none was proven faster, and 1 more could not be measured.",
        "Nothing proven: of 1 change measured none was proven faster, and 1 more could not be measured and for",
        "Nothing proven: of 1 change measured none was proven faster, and for 1 more no time was left.",
        "Nothing proven: of 1 change measured none was proven faster, and for some of them together no time was left.",
        "Nothing proven: of 1 change no time was left for any.",
        "Nothing to gain: of 1 change measured none was proven faster.",
        "Nothing adopted: what the search kept is unclear in fresh processes",
        "Faster: 1.91x",
    )
    for headline, words in zip(headlines, expected, strict=True):
        assert headline.startswith(words)


@pytest.mark.parametrize(("steps", "shown"), [(None, "n/a"), (0, "at once"), (1, "1 step"), (59000, "59,000 steps")])
def test_the_break_even_is_missing_or_a_count(steps: int | None, shown: str) -> None:
    """A tuning that pays from the start says so, and one whose start is not known says n/a."""
    assert verdicts.break_even(made_up.tuning(break_even_steps=steps)) == shown


def test_a_comparison_says_what_is_unclear() -> None:
    """Speed and sameness are judged apart."""
    same = made_up.same_training(same=None)
    headline = verdicts.comparison_headline(made_up.comparison(judgement="slower", same_training=same))
    assert headline.startswith("B is slower than A")
    assert headline.endswith("whether it is the same training is unclear.")


def test_every_fact_of_the_record_has_words() -> None:
    """A fact is on the page with its value, or among those that are not known."""
    rows, unknown = map(list.__add__, about.facts_rows(Facts()), about.data_rows(Facts()))
    assert len(rows) + len(unknown) == len(Facts.__struct_fields__)
    assert rows == [("Ranks", "1")]
    known, _ = about.facts_rows(made_up.FACTS)
    assert ("Parameters", "11,200,000") in known
    assert ("Peak memory of the device", "9.34 GB") in known
    assert ("Cost of the probe per step", "38.0 µs") in known
    known, _ = about.facts_rows(Facts(page_faults=31234.5, system_seconds=0.028))
    assert ("Page faults per step", "31,234") in known
    assert ("Kernel time per step", "28.0 ms") in known
    known, _ = about.facts_rows(Facts(switches=Switches(looks=3, loss_modules={"VGG": 1000}, scale_last=0.5)))
    assert (
        dict(known)["Switches of torch and the environment"] == "looks: 3, loss modules: VGG (1,000), scale last: 0.500"
    )
    use = ThreadUse(
        wall=1, running=1, ready=0, wanting=1.5, at_work=1, python=[PythonThread(name="io", running=0.02, ready=0)]
    )
    assert dict(about.facts_rows(Facts(thread_use=use))[0])["Threads of the process"] == (
        "1.5 at once want a core, io 20.0 ms per step"
    )


def test_a_machine_without_a_gpu_is_its_processor() -> None:
    """The machine is named by its GPUs, counted, or by its processor."""
    bare = Environment(hotlap="0.1", python="3.12", cpu="EPYC", cores=1)
    assert about.machine(Facts(), bare) == "EPYC, 1 core, torch n/a"
    many = replace(bare, gpus=["H200"] * 8)
    assert about.machine(Facts(world_size=8), many) == "8 × H200, 1 core, torch n/a, 8 ranks"


def test_settings_are_shown_without_their_secrets() -> None:
    """Keys of a configuration are shown with their values unless they are secrets."""
    assert verdicts.settings({"loader.workers": 2, "api_key": "abc"}) == "loader.workers=2, api_key=***"
    assert verdicts.settings({}) == "n/a"


@pytest.mark.parametrize(
    ("against", "words"),
    [
        ([], "2 loader workers: "),
        (["precision=bf16"], "2 loader workers, on top of precision=bf16: "),
        (["workers=1"], "2 loader workers, instead of workers=1: "),
        (["workers=1", "precision=bf16"], "2 loader workers, instead of workers=1, on top of precision=bf16: "),
    ],
)
def test_a_trial_says_what_it_was_compared_with(against: list[str], words: str) -> None:
    """The set before it, of which another value of the same change is replaced."""
    tried = made_up.trial(against=against, change=replace(made_up.change("workers", "2"), title="2 loader workers"))
    assert verdicts.trial_sentence(tried).startswith(words)


def test_how_a_run_ended_names_its_exit_code_once() -> None:
    """The reason of a crash begins with it; a limit's does not."""
    run = made_up.run()
    for reason, words in (
        ("exit code 1: RuntimeError: lost", "The run ended as: crashed, exit code 1: RuntimeError: lost."),
        ("the memory limit was reached", "The run ended as: crashed, exit code 1. The memory limit was reached."),
    ):
        info = replace(run.info, outcome="crashed", exit_code=1, reason=reason)
        assert view.trouble(replace(run, info=info)) == words

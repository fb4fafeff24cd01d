"""The words of a verdict: what a tuning or a comparison found, how sure it is, and whether it is the same training."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from hotlap.records import Comparison, Diagnosis, Effect, Finding, Limit, SameTraining, Trial, Tuning
from hotlap.report import text, view
from hotlap.report.secrets import mask

NUMERICS = {
    "exact": "bit-identical losses expected",
    "rounding": "same arithmetic, other order or precision",
    "trajectory": "another training: batch, learning rate or model",
}


#: How the reason of a trial begins that no time was left for.
_NOT_TRIED = "not tried"

#: An interval of the no-op arm that reaches further from 1 than this says little about the machine.
_WIDE = 0.05


def fate(trial: Trial) -> Literal["kept", "dropped", "not measured"]:
    if trial.kept:
        return "kept"
    return "dropped" if trial.effect is not None else "not measured"


def begun(trials: Sequence[Trial]) -> tuple[list[Trial], dict[str, list[str]]]:
    """Return the trials that were begun, and the ids of the others by the reason why they were not, each once."""
    tried = [trial for trial in trials if not trial.why.startswith(_NOT_TRIED)]
    reasons: dict[str, dict[str, None]] = {}
    for trial in trials:
        if trial not in tried:
            reasons.setdefault(trial.why.removeprefix(_NOT_TRIED).lstrip(": "), {})[trial.id] = None
    return tried, {why: list(names) for why, names in reasons.items()}


def tried(finding: Finding, trials: Sequence[Trial], sign: str = "x") -> str:
    """Return what came of the changes against a finding, by themselves and with others, as they were tried last."""
    last = {
        trial.id: f"{trial.id} {text.ratio(trial.effect.ratio, sign) + ' ' if trial.effect else ''}({fate(trial)})"
        for trial in trials
        if any(change.name in finding.changes for change in [trial.change, *trial.beside])
        and not trial.why.startswith(_NOT_TRIED)
    }
    return ", ".join(last.values()) or f"nothing; it could be {', '.join(finding.changes)}"


def trial_sentence(trial: Trial) -> str:
    """Return what was changed, what it was compared with, and why it had its fate."""
    title = text.upper_first(trial.title.rstrip(".")) or trial.id
    against = trial.against if trial.effect is not None else []
    names = {change.name for change in [trial.change, *trial.beside]}
    replaced = [each for each in against if each.partition("=")[0] in names]
    kept = [each for each in against if each not in replaced]
    on_top = f", instead of {', '.join(replaced)}" if replaced else ""
    on_top += f", on top of {', '.join(kept)}" if kept else ""
    return text.stop(f"{title}{on_top}: {text.lower_first(trial.why)}" if trial.why.strip() else title + on_top)


#: What "faster" and "slower" are for the goals that are none of speed.
_WORDS = {
    "memory": {"faster": "smaller in memory", "not faster": "not smaller in memory", "slower": "larger in memory"},
    "time-to-quality": {"faster": "sooner at the same loss", "not faster": "no sooner", "slower": "later"},
    "cost": {"faster": "cheaper", "not faster": "not cheaper", "slower": "dearer"},
}


GOALS = {
    "throughput": "Throughput",
    "memory": "Less memory",
    "time-to-quality": "Sooner at the same loss",
    "cost": "Samples per device hour",
}


#: Ends the reason of what there was no time for.
_LATE = "a larger --budget goes on"


def judged(tuning: Tuning) -> str:
    """The judgement in the words of the goal."""
    return _WORDS.get(tuning.goal, {}).get(tuning.judgement, tuning.judgement)


def tuning_headline(tuning: Tuning, sign: str = "x") -> str:
    """Return the verdict of a tuning in one sentence, with the interval."""
    same = tuning.same_training.same if tuning.same_training else None
    if not tuning.adopted and tuning.effect is not None:
        but = ""
        if same is False:
            but = ", but it is another training" if tuning.judgement == "faster" else ", and it is another training"
        elif same is None and tuning.judgement == "faster":
            but = ", but whether it is the same training is unclear"
        figures = text.effect_sentence(tuning.effect, sign)
        return f"Nothing adopted: what the search kept is {judged(tuning)} in fresh processes{but}: {figures}."
    kept = [trial.id for trial in tuning.trials if trial.kept]
    if not tuning.adopted and kept:
        return f"Nothing proven: the search kept {', '.join(kept)}, and the budget left no time to prove it."
    if not tuning.adopted:
        return _nothing(tuning)
    if tuning.effect is None:
        return f"{text.plural(len(tuning.adopted), 'change')} kept, but not measured together in fresh processes."
    changes = ", ".join(text.shorten(change.id, 40) for change in tuning.adopted)
    but = {True: "", False: "; it is another training", None: "; whether it is the same training is unclear"}[same]
    figures = text.effect_sentence(tuning.effect, sign)
    return f"{text.upper_first(judged(tuning))}: {figures}, with {changes}{but}."


def _nothing(tuning: Tuning) -> str:
    """What came of the search where nothing of it was kept."""
    too_late = [trial for trial in tuning.trials if _LATE in trial.why]
    others = [trial for trial in tuning.trials if _LATE not in trial.why]
    if not too_late and all(trial.why.startswith("not tried: ") for trial in others):
        return "Nothing to gain: no change was worth a trial."
    # A change may have been asked for by itself, beside others, and on top of several sets.
    measured = _changes(trial for trial in others if trial.effect is not None)
    failed = _changes(trial for trial in others if trial.effect is None) - measured
    late = _changes(too_late) - measured - failed
    if not measured:
        could = "no time was left for any" if late and not failed else "none could be measured"
        return f"Nothing proven: of {text.plural(len(late | failed), 'change')} {could}."
    better = "smaller" if tuning.goal == "memory" else "faster"
    none = f"of {text.plural(len(measured), 'change')} measured none was proven {better}"
    more = [f"{len(failed)} more could not be measured"] if failed else []
    more += [f"for {len(late)} more no time was left"] if late else []
    if too_late and not late:
        more.append("for some of them together no time was left")
    return f"Nothing proven: {none}, and {' and '.join(more)}." if more else f"Nothing to gain: {none}."


def _changes(trials: Iterable[Trial]) -> set[str]:
    return {change.id for trial in trials for change in (trial.change, *trial.beside)}


def limit_sentence(limit: Limit) -> str:
    """How far the training is from what the machine can do."""
    return (
        f"a step reaches {text.percent(limit.share)} of what this machine does in a large {limit.dtype} matrix "
        "product; the rest is memory traffic, small operations, Python and waiting"
    )


def tuning_facts(tuning: Tuning, sign: str = "x") -> list[tuple[str, str]]:
    """Return the figures of a tuning that one looks for first."""
    memory = f"peak memory {text.size(view.peak(tuning.facts))}"
    rows = [("Baseline", f"{view.speed(tuning.diagnosis, tuning.facts)}, {memory}")]
    if tuning.optimized is not None:
        rows.append(("With the changes", view.speed(tuning.optimized, tuning.facts)))
    rows.append(("Adopted", ", ".join(change.id for change in tuning.adopted) or "nothing"))
    if tuning.claimed and not tuning.adopted:
        rows.append(("Not proven", ", ".join(change.id for change in tuning.claimed)))
    if tuning.effect is not None:
        name = "Final effect" if tuning.adopted or not tuning.claimed else "Its effect"
        rows.append((name, f"{text.effect_sentence(tuning.effect, sign)}, {judged(tuning)}"))
    if tuning.speed is not None and tuning.goal != "throughput":
        rows.append(("Throughput", text.effect_sentence(tuning.speed, sign)))
    if tuning.limit is not None:
        rows.append(("Of the limit", limit_sentence(tuning.limit)))
    if tuning.peaks is not None:
        rows.append(("Peak memory", f"{text.size(tuning.peaks[0])} -> {text.size(tuning.peaks[1])}, in the proof"))
    if tuning.same_training is not None:
        rows.append(("Same training", same_word(tuning.same_training)))
    if tuning.adopted:
        rows.append(("Pays back after", break_even(tuning)))
    return rows


def reproduce(tuning: Tuning) -> list[str]:
    """Return what to type to train with the adopted changes, the source untouched."""
    # The configuration is in the result: its keys are set in a copy.
    command = "" if tuning.config is not None else f" -- {text.command(tuning.command)}"
    return [f"hotlap run --with {_place(tuning)}/result.json{command}"]


def _place(tuning: Tuning) -> str:
    """Its directory, as one types it."""
    directory = tuning.directory or f".hotlap/runs/{tuning.name}"
    return "/".join(part and shlex.quote(part) for part in directory.split("/"))


def adoption(tuning: Tuning) -> list[tuple[str, list[str]]]:
    """How to train with what was adopted, in stages: without an edit, and with the patch."""
    stages = [("In 5 minutes, the source untouched:", reproduce(tuning))]
    handover = tuning.handover
    if handover is None:
        return stages
    if handover.patch is not None:
        files = ", ".join([*handover.configurations, *handover.files])
        told = [f"git apply {_place(tuning)}/{handover.patch}    edits {files}"]
        if handover.native:
            told.append(f"Written as a user would: {', '.join(handover.native)}.")
        told += [f"By hotlap.apply: {name} ({why})." for name, why in handover.by_apply.items()]
        if handover.command is not None:
            told.insert(1, f"{text.command(handover.command)}    is the command then")
        told += [text.sentence(handover.evidence)] if handover.evidence else []
        if handover.effect is not None:
            told.append(f"The patched script against yours, in blocks: {text.effect_sentence(handover.effect)}.")
        stages.append(("In 30 minutes, with a patch:", told))
    elif handover.command is not None:
        stages.append(("As a command:", [text.command(handover.command)]))
    elif handover.evidence:
        stages.append(("With a patch:", [text.sentence(handover.evidence)]))
    return stages


def comparison_headline(comparison: Comparison, sign: str = "x") -> str:
    words = {
        "faster": "B is faster than A",
        "not faster": "B is not faster than A",
        "slower": "B is slower than A",
        "unclear": "Unclear whether B is faster than A",
    }
    same = {
        True: "it is the same training",
        False: "but it is another training",
        None: "and whether it is the same training is unclear",
    }
    effect = text.effect_sentence(comparison.effect, sign)
    return f"{words[comparison.judgement]}: {effect}; {same[comparison.same_training.same]}."


def no_op_sentence(effect: Effect, sign: str = "x") -> str:
    """Return what the arm that changes nothing says about the machine."""
    figures = f"The same command against itself: {text.effect_sentence(effect, sign)}"
    if effect.n < 1 or None in text.bounded(effect):
        return f"{figures}; whether the machine is quiet enough is not known."
    if effect.low <= 1 <= effect.high:
        if max(effect.high - 1, 1 - effect.low) > _WIDE:
            return f"{figures}; that may be no move, but it is too wide for this machine to show a small gain."
        return f"{figures}; it does not move, as it must."
    return f"{figures}; it moves although nothing changed, so the machine is too noisy."


#: What a class asks of the losses.
_JUDGED = {
    "exact": "losses must be bit-identical",
    "rounding": "losses must stay within what other seeds do",
    "trajectory": "another training, whatever its losses",
}


def spread(effect: Effect, sign: str = "x") -> str:
    pairs = [pair for pair in effect.pairs if math.isfinite(pair)]
    return f"{text.ratio(min(pairs), sign)} to {text.ratio(max(pairs), sign)}" if pairs else text.NA


def same_sentence(same: SameTraining) -> str:
    return f"{text.stop(same.evidence)} Judged as {same.numerics}: {_JUDGED[same.numerics]}.".strip()


def same_word(same: SameTraining | None) -> str:
    if same is None:
        return text.NA
    return {True: "yes", False: "no", None: "unclear"}[same.same]


def break_even(tuning: Tuning) -> str:
    steps = tuning.break_even_steps
    return text.NA if steps is None else text.plural(steps, "step") if steps > 0 else "at once"


def by_seed(
    baseline: Sequence[float | None], candidate: Sequence[float | None]
) -> list[tuple[float | None, float | None]]:
    return list(itertools.zip_longest(baseline, candidate))


def settings(values: Mapping[str, Any]) -> str:
    """Return settings as one would write them, secrets masked."""
    return ", ".join(mask([f"{key}={value}" for key, value in values.items()])) or text.NA


def tuning_tiles(tuning: Tuning, sign: str = "x") -> list[view.Tile]:
    effect, before, after = tuning.effect, tuning.diagnosis, tuning.optimized
    tiles: list[view.Tile] = []
    if effect is not None:
        tiles.append(_effect_tile(GOALS[tuning.goal], effect, sign))
    tiles.append(("A step", _from_to(before, after), "median"))
    rates = [text.rate(each.throughput) for each in (before, after) if each and text.known(each.throughput)]
    if rates:
        tiles.append(("Samples", " → ".join(rates).replace(" samples/s →", " →"), view.measured_rank(tuning.facts)))
    if tuning.same_training is not None:
        numerics = f"numerics: {tuning.same_training.numerics}"
        tiles.append(("Same training", same_word(tuning.same_training), numerics))
    if tuning.adopted:
        tiles.append(("Pays back after", break_even(tuning), "for a longer start"))
    tried = sum(trial.effect is not None for trial in tuning.trials)
    return [*tiles, ("The tuning", text.seconds(tuning.seconds), f"{text.plural(tried, 'change')} measured")]


def two_medians(comparison: Comparison) -> list[str]:
    """Why the step times and the ratio point in two directions, where they do."""
    if not (comparison.a_step_seconds - comparison.b_step_seconds) * (comparison.effect.ratio - 1) < 0:
        return []
    return [
        "The step times point the other way: they are medians of each side by itself, and steps may hold different "
        "numbers of samples. The ratio is of throughput, the median of the pairs, in which both ran side by side."
    ]


def comparison_tiles(comparison: Comparison, sign: str = "x") -> list[view.Tile]:
    a, b = text.seconds(comparison.a_step_seconds), text.seconds(comparison.b_step_seconds)
    return [
        _effect_tile("B against A", comparison.effect, sign),
        ("A step of A", a, "median"),
        ("A step of B", b, "median"),
        ("Same training", same_word(comparison.same_training), f"numerics: {comparison.same_training.numerics}"),
    ]


def _from_to(before: Diagnosis, after: Diagnosis | None) -> str:
    if after is None:
        return text.seconds(before.step_seconds)
    unit = text.unit([before.step_seconds])
    return f"{unit.number(before.step_seconds)} → {unit(after.step_seconds)}"


def _effect_tile(label: str, effect: Effect, sign: str) -> view.Tile:
    if effect.n < 1:
        return label, text.NA, "no pair was measured"
    interval = text.interval(effect)
    bounds = "interval unknown" if interval == text.UNKNOWN else f"{interval}, {text.confidence(effect)} interval"
    return label, text.ratio(effect.ratio, sign), f"{bounds}, {text.plural(effect.n, 'pair')}"

"""What a step takes without a suspect: rows and sentences, and the section of the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Ablation, Ablations, DataStalls, Diagnosis, Saved
from hotlap.report import text
from hotlap.report.blocks import bullets, heading, prose, table

#: By how much a suspicion has to be off before it is called contradicted: bounds are loose by nature.
_FAR_OFF = 0.5


def without_it(diagnosis: Diagnosis) -> list[RenderableType]:
    """Return the section of a profile, nothing where nothing was taken away."""
    proven = diagnosis.ablations
    if proven is None:
        return []
    parts = heading("Without it (measured)")
    cells = rows(proven)
    if cells:
        parts += table([("without", "a step takes less", "interval", "pairs", "at most"), *cells], "<>>>>", header=True)
    parts += bullets(sentences(proven))
    if not cells and not proven.not_tried and not proven.warnings:
        parts.append(prose("There was no suspect to take away.", indent=2))
    if cells:
        parts.append(prose(LIMITS, indent=2, style="dim"))
    if diagnosis.data_stalls is not None:
        parts += [*heading(STALLS), *bullets(stalls(diagnosis.data_stalls))]
    return parts


STALLS = "Data stalls (measured)"
#: What these figures are and are not.
LIMITS = "Each is a bound: the most that a remedy against it can bring. What was measured is no training to adopt."


def rows(proven: Ablations) -> list[tuple[str, str, str, str, str]]:
    """Return what was taken away, the seconds that a step takes less, their interval, the pairs, and the ratio."""
    measured = [each for each in proven.tried if each.effect is not None]
    if proven.control is not None and proven.control.effect is not None:
        measured.append(proven.control)
    shown = text.unit([each.seconds or 0.0 for each in measured])
    found = []
    for each in measured:
        assert each.effect is not None
        ends = (text.UNKNOWN if end is None else shown.number(end) for end in (each.low, each.high))
        name = "nothing (control)" if each is proven.control else each.title
        most = "" if each is proven.control else text.ratio(max(1.0, each.effect.ratio))
        found.append((name, shown(each.seconds), f"[{', '.join(ends)}]", str(each.effect.n), most))
    return found


def sentences(proven: Ablations) -> list[str]:
    said = list(map(text.sentence, proven.warnings))
    said += [sentence(each) for each in proven.tried]
    return said + [text.sentence(f"{each.title}: not tried: {each.why}") for each in proven.not_tried]


def stalls(found: DataStalls) -> list[str]:
    """Return what waiting for data costs, and what of it workers, a cache or another format could give at most."""
    step, rest = text.seconds(found.step_seconds), text.seconds(found.ceiling_seconds)
    stall, pairs = found.stall, text.plural(found.stall.n, "pair")
    if stall.low is None or stall.high is None:
        return [f"Unclear: {pairs} of blocks are too few; a longer --budget, or a quieter machine, would tell."]
    if stall.low <= 0:
        most = text.percent(max(0.0, stall.high) / found.step_seconds)
        return [
            f"No stall can be seen: with the same batch again a step of {step} takes {_of(stall)} less ({pairs}). "
            f"Workers, a cache or another format will bring no more than {most} of it."
        ]
    most = text.ratio(found.step_seconds / max(found.step_seconds - stall.high, 1e-12))
    said = [
        f"A step of {step} waits {_of(stall)} for data, {text.percent(stall.seconds / found.step_seconds)} of it "
        f"({pairs}): with the batch at hand it takes {rest}. Workers, caches and formats together can bring no more "
        f"than {most}."
    ]
    kept, over = found.samples, found.handing_over
    if kept is None or over is None:
        return [*said, "What a cache of the samples could bring of it was not measured."]
    cache = "A cache that holds them all can bring no more; workers that are fast enough can, too."
    transport = (
        "No cache of samples takes that away; more workers, larger samples in fewer pieces or "
        "`hotlap.data.SharedBatches` may."
    )
    return [
        *said,
        _part("Fetching and decoding samples", kept, cache),
        _part("Collating batches and handing them over", over, transport),
    ]


def _part(title: str, saved: Saved, meaning: str) -> str:
    figures = f"{title}: {_of(saved)} of it ({text.plural(saved.n, 'pair')})."
    if saved.low is None or saved.high is None or saved.low <= 0:
        return f"{figures} That cannot be told from nothing; a longer --budget, or a quieter machine, would tell."
    return f"{figures} {meaning}"


def _of(saved: Saved) -> str:
    ends = (text.UNKNOWN if end is None else text.seconds(end) for end in (saved.low, saved.high))
    return f"{text.seconds(saved.seconds)} [{', '.join(ends)}]"


def sentence(each: Ablation) -> str:
    """Return what the proof of one suspect says about the suspicion."""
    if each.effect is None or each.seconds is None:
        return text.sentence(f"{each.title}: not measured: {each.why}")
    name = f"{text.upper_first(each.title)} ({each.how})"
    suspected = text.seconds(each.suspected)
    against = f" ({', '.join(each.findings)})" if each.findings else ""
    if each.low is None or each.high is None:
        return f"{name}: unclear, too few pairs."
    figures = f"{text.seconds(each.seconds)} [{text.seconds(each.low)}, {text.seconds(each.high)}]"
    if each.low > 0:
        said = f"{name}: without it a step takes {figures} less."
        if each.high < _FAR_OFF * each.suspected:
            said += f" That is far below the {suspected} that the profile put at stake{against}: the rest is hidden "
            said += "behind other work, or goes on elsewhere."
        return said
    if each.high < 0:
        return f"{name}: without it a step does not get shorter; it took {text.seconds(-each.seconds)} longer."
    if each.high < _FAR_OFF * each.suspected:
        return (
            f"{name}: taking it away changes nothing that can be seen ({figures}), although the profile put "
            f"{suspected} at stake{against}: a remedy will bring no more than {text.seconds(each.high)}."
        )
    return f"{name}: unclear ({figures}); a longer --budget, or a quieter machine, would tell."

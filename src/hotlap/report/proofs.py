"""What a step takes without a suspect: rows and sentences, and the section of the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Ablation, Ablations, Diagnosis
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
    return parts


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

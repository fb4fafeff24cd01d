"""Any record as a picture to show around: what came out, the step before and after, why, and on which machine.

hotlap tuning · date                          ┐
2.78×  faster                                 │ what came out, with its interval
[2.23, 3.59], 5 pairs ...                     ┘
before  ███████████████████████████ 160 ms      a step by phase, or the parts of one
after   █████████ 54 ms
■ forward ■ backward ...                        what the colours mean
1. ...                                          what was found, or changed
machine
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hotlap.diagnose import diagnose
from hotlap.errors import TrainingFailed
from hotlap.records import Comparison, Diagnosis, Facts, Finding, Run, Tuning
from hotlap.report import about, palette, text, verdicts, view
from hotlap.report.drawing import Canvas, cut, length, wrapped

WIDTH, HEIGHT = 1200, 630
_EDGE = 56
_PAPER, _INK, _SOFT, _RULE, _GOOD, _WARN = "#fbfbfa", "#1b1f24", "#59626e", "#dfe2e6", "#17693f", "#8a5a00"
_ROOM = WIDTH - 2 * _EDGE
#: Where bars begin, after their names.
_BARS = _EDGE + 110
_SIGN = "×"
_MOST_POINTS = 4


class Card(NamedTuple):
    """What a card says."""

    kind: str
    #: One figure, and what it is; "" where there is none to show large.
    figure: str
    headline: str
    #: Whether to show that it is good news.
    good: bool
    #: Seconds by phase.
    bars: Sequence[tuple[str, Mapping[str, float]]]
    title: str
    #: Each with what stands behind it and is never cut off.
    points: Sequence[tuple[str, str]]
    #: What makes the figures shaky, "" for nothing.
    caution: str
    machine: str


def render(record: Run | Tuning | Comparison) -> bytes:
    """Return the picture as PNG.

    Raises:
        UsageError: Pillow, which draws it, is not installed.
    """
    return _draw(card(record))


def card(record: Run | Tuning | Comparison) -> Card:
    """Return what the card of a record says."""
    if isinstance(record, Tuning):
        return _tuning(record)
    return _comparison(record) if isinstance(record, Comparison) else _run(record)


def _tuning(tuning: Tuning) -> Card:
    effect = tuning.effect if tuning.adopted else None
    before, after = tuning.diagnosis, tuning.optimized
    added = {trial.id: trial.effect for trial in tuning.trials if trial.kept}
    changes = [
        (f"{change.id}  {text.upper_first(change.title)}", f"added {text.ratio(own.ratio, _SIGN)}" if own else "")
        for change in tuning.adopted
        for own in [added.get(change.id)]
    ]
    same = f"; the same training: {verdicts.same_word(tuning.same_training)}" if tuning.same_training else ""
    bars = [("before", view.leaves(before.phases))]
    return Card(
        kind=f"hotlap tuning · {text.moment(tuning.date)}" + (f" · {tuning.config}" if tuning.config else ""),
        figure=f"{text.ratio(effect.ratio, _SIGN)} {verdicts.judged(tuning)}" if effect else "",
        headline=f"{_behind(text.effect_sentence(effect, _SIGN))}{same}"
        if effect
        else verdicts.tuning_headline(tuning, _SIGN),
        good=effect is not None and tuning.judgement == "faster" and verdicts.same_word(tuning.same_training) == "yes",
        bars=[*bars, ("after", view.leaves(after.phases))] if after else [("a step", bars[0][1])],
        title="What was changed" if changes else "What was found",
        points=changes or _found(before.findings),
        caution=tuning.warnings[0] if tuning.warnings else "",
        machine=about.machine(tuning.facts, tuning.environment),
    )


def _comparison(comparison: Comparison) -> Card:
    effect = comparison.effect
    bars = [("A", {"steps": comparison.a_step_seconds}), ("B", {"steps": comparison.b_step_seconds})]
    return Card(
        kind=f"hotlap comparison · {text.moment(comparison.date)}",
        # A large figure would say more than an unclear result does.
        figure=text.ratio(effect.ratio, _SIGN) if effect.n and comparison.judgement != "unclear" else "",
        headline=verdicts.comparison_headline(comparison, _SIGN),
        good=comparison.judgement == "faster" and comparison.same_training.same is True,
        bars=bars,
        title="The commands",
        points=[(f"A  {text.command(comparison.a)}", ""), (f"B  {text.command(comparison.b)}", "")],
        caution=comparison.warnings[0] if comparison.warnings else "",
        machine=about.machine(Facts(), comparison.environment),
    )


def _run(run: Run) -> Card:
    info = run.info
    try:
        diagnosis = diagnose(run)
    except TrainingFailed:
        diagnosis = None
    return Card(
        kind=f"hotlap profile · {text.moment(info.date)} · {text.command(info.command)}",
        figure=f"{text.seconds(diagnosis.step_seconds)} a step" if diagnosis else "",
        headline=_steady(diagnosis, run.facts) if diagnosis else "The run took no training step.",
        good=False,
        bars=[("mean", view.leaves(diagnosis.phases))] if diagnosis else [],
        title="What was found",
        points=_found(diagnosis.findings) if diagnosis else [],
        caution=view.trouble(run) or "",
        machine=about.machine(run.facts, info.environment),
    )


def _steady(diagnosis: Diagnosis, facts: Facts) -> str:
    rate = f", {view.rate(diagnosis, facts)}" if text.known(diagnosis.throughput) else ""
    return f"median of {text.plural(diagnosis.steady_steps, 'steady step')}{rate}"


def _found(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Findings, and the most that ending each of them could give."""
    return [
        (
            f"{finding.code}  {finding.title}",
            f"at most {text.ratio(finding.bound, _SIGN)}"
            if finding.seconds > 0 and not view.describes(finding)
            else "",
        )
        for finding in findings
    ]


def _behind(sentence: str) -> str:
    """An effect without its ratio, which stands large above it."""
    return sentence.partition(" ")[2]


def _draw(card: Card) -> bytes:
    canvas = Canvas(WIDTH, HEIGHT, _PAPER)
    canvas.box(0, 0, WIDTH, 10, _GOOD if card.good else palette.COLOURS["backward"].fill)
    canvas.write(_EDGE, 58, card.kind, 22, _SOFT, _ROOM)
    y: float = 58
    if card.figure:
        y += 86
        canvas.write(_EDGE, y, card.figure, 80, _GOOD if card.good else _INK, _ROOM)
    for line in wrapped(card.headline, 28 if card.figure else 40, _ROOM, 2 if card.figure else 3):
        y += 42 if card.figure else 54
        canvas.write(_EDGE, y, line, 28 if card.figure else 40, _INK)
    y = _draw_bars(canvas, card, y + 34)
    foot = HEIGHT - 34
    _draw_points(canvas, card, y + 18, foot - (70 if card.caution else 38))
    if card.caution:
        canvas.write(_EDGE, foot - 36, f"Attention: {card.caution}", 20, _WARN, _ROOM)
    canvas.box(_EDGE, foot - 26, _ROOM, 1, _RULE)
    canvas.write(_EDGE, foot, card.machine, 20, _SOFT, _ROOM - 300)
    own = "measured with hotlap"
    canvas.write(WIDTH - _EDGE - length(own, 20), foot, own, 20, _SOFT)
    return canvas.png()


def _draw_bars(canvas: Canvas, card: Card, y: float) -> float:
    stacks = [(name, {part: value for part, value in parts.items() if value > 0}) for name, parts in card.bars]
    longest = max((math.fsum(parts.values()) for _, parts in stacks), default=0.0)
    if not longest > 0:
        return y
    unit = text.unit([longest])
    scale = (WIDTH - _EDGE - _BARS - 130) / longest
    for name, parts in stacks:
        canvas.write(_EDGE, y + 27, name, 24, _INK, _BARS - _EDGE - 8)
        x: float = _BARS
        for part, value in parts.items():
            canvas.box(x, y, max(value * scale - 1, 1), 38, palette.colour(part).fill)
            x += value * scale
        canvas.write(x + 12, y + 27, unit(math.fsum(parts.values())), 24, _INK)
        y += 50
    return _draw_legend(canvas, [parts for _, parts in stacks], y + 16) if len(stacks[0][1]) > 1 else y


def _draw_legend(canvas: Canvas, stacks: Sequence[Mapping[str, float]], y: float) -> float:
    """The largest parts, as many as there is room for, in their order on the bars."""
    largest = {part: max(parts.get(part, 0.0) for parts in stacks) for parts in stacks for part in parts}
    total = max(math.fsum(parts.values()) for parts in stacks)
    named = [part for part in view.in_order(largest) if largest[part] >= 0.01 * total]
    x: float = _BARS
    for part in named:
        words = cut(part, 20, 240)
        if x + length(words, 20) + 24 > WIDTH - _EDGE:
            continue
        canvas.box(x, y - 14, 15, 15, palette.colour(part).fill)
        x = canvas.write(x + 23, y, words, 20, _SOFT) + 28
    return y + 10


def _draw_points(canvas: Canvas, card: Card, y: float, bottom: float) -> None:
    if not card.points or y + 60 > bottom:
        return
    canvas.write(_EDGE, y + 24, card.title, 22, _SOFT)
    y += 24
    shown = min(len(card.points), _MOST_POINTS, int((bottom - y) // 34))
    for number, (point, behind) in enumerate(card.points[:shown], 1):
        y += 34
        more = len(card.points) - shown if number == shown else 0
        behind = f"   {behind}" if behind else ""
        behind += f"   and {more} more" if more else ""
        end = canvas.write(_EDGE, y, point, 24, _INK, _ROOM - length(behind, 22))
        canvas.write(end, y, behind, 22, _SOFT)

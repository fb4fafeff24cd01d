"""How long a training will take and what it will cost, for the terminal: estimated before it runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from hotlap.records import Band, Horizon, TrainingEstimate, Variant
from hotlap.report import text
from hotlap.report.blocks import heading, prose, table

_OF_CARD = (
    "Estimated, and no card was measured: the card's listed rates, times the shares of them that others have published "
    "for trainings (docs/estimate.md). Not in it: waiting for data, validation, saving, and what ranks send each other."
)
_OF_CPU = (
    "Estimated from the rates that `hotlap estimate --calibrate` measured on this machine; how wrong that was for "
    "other trainings than it was fitted on is in docs/estimate.md. Not in it: waiting for data, validation, saving."
)
_PARTS = {
    "convolving": "convolutions",
    "multiplying": "products",
    "moving": "all else, which moves bytes",
    "calls": "calls",
}


def section(found: TrainingEstimate) -> list[RenderableType]:
    """Return the step, the epoch, the whole training and its cost; nothing where no rates are known."""
    took, ahead = found.time, found.horizon
    if took is None or ahead is None:
        return []
    whole = sum(took.phases.values()) or 1.0
    phases = ", ".join(f"{name} {text.percent(seconds / whole)}" for name, seconds in took.phases.items() if seconds)
    parts = ", ".join(f"{_PARTS[name]} {text.percent(value / whole)}" for name, value in took.parts.items() if value)
    lines = [*_sentences(took.step, ahead, dearest=found.perceptual_every)]
    rows = [prose(" ".join(lines), indent=2), prose(f"Of it: {phases}. By what limits it: {parts}.", indent=2)]
    if took.host is not None and took.host >= whole:
        rows.append(
            prose(
                f"The card would be done in {text.seconds(whole)}: the host, which has to launch every operator, "
                "takes longer and decides.",
                indent=2,
            )
        )
    of_cpu = found.memory.device == "cpu"
    return [*heading("Time, estimated"), *rows, prose(_OF_CPU if of_cpu else _OF_CARD, indent=2, style="dim")]


def _sentences(step: Band, ahead: Horizon, dearest: int = 1) -> list[str]:
    which = "A step" if dearest == 1 else f"The dearest step, one in {dearest} with the perceptual loss,"
    said = [
        f"{which} takes about {text.seconds(step.likely)} ({spread(step)}): {text.rate(ahead.rate(step.likely))}.",
    ]
    epoch, whole = ahead.epoch(step.likely), ahead.whole(step.likely)
    at_most = "at most " if dearest > 1 else ""
    if epoch is None:
        said.append(f"Epoch: {text.NA}, because the number of samples is not known ({ahead.epoch_from}).")
    else:
        paid = ahead.cost_of(epoch) if whole is None else None
        price = f", which costs {text.figure(paid)} at {ahead.price:g} an hour of a GPU" if paid is not None else ""
        said.append(f"An epoch of {ahead.epoch_samples:,} samples: {at_most}{text.seconds(epoch)}{price}.")
    if whole is None:
        said.append(f"Whole training: {text.NA}, because {ahead.steps_from}.")
    else:
        cost = ahead.cost(step.likely)
        price = f", which costs {text.figure(cost)} at {ahead.price:g} an hour of a GPU" if cost is not None else ""
        said.append(f"All {ahead.steps:,} steps: {at_most}{text.seconds(whole)}{price}.")
    return said


def training(step: Band, ahead: Horizon) -> str:
    """Return the step, the epoch, the whole training and its cost, in sentences."""
    return " ".join(_sentences(step, ahead))


def spread(band: Band) -> str:
    """Return the least and the most, with how they are known."""
    return f"{band.known}, {text.seconds(band.least)} to {text.seconds(band.most)}"


def variants(found: TrainingEstimate) -> list[RenderableType]:
    """Return the settings that differ in time, and which of those that fit is the fastest."""
    ahead = found.horizon
    timed = [each for each in found.variants if each.time is not None]
    if ahead is None or not timed:
        return []
    best = fastest(timed)
    rows: list[tuple[str, ...]] = [("recomputed", "precision", "", "step", "samples/s", "epoch", "whole", "cost")]
    seen: set[tuple[str, str]] = set()
    for each in timed:
        key = (each.setting.checkpointing, each.setting.precision)
        if key not in seen:
            seen.add(key)
            alike = [other for other in timed if (other.setting.checkpointing, other.setting.precision) == key]
            rows.append(_row(key, alike, ahead, is_best=best in alike))
    words = _best(best, found) if best is not None else "None of them fits."
    return [
        *heading("Time and cost, in other settings"),
        *table(rows, "<<<>>>>>", header=True),
        prose(words, indent=2),
        prose(_VARIANTS, indent=2, style="dim"),
    ]


_VARIANTS = (
    "Estimated as above: settings of one device compare better than their times are known, but a difference of a tenth "
    "or two decides nothing. In which bits an optimizer keeps its state is not in the time."
)


def fastest(settings: Sequence[Variant]) -> Variant | None:
    """Return the setting that fits with the shortest step; of equals, the first."""
    fitting = [each for each in settings if each.verdict == "fits" and each.time is not None]
    return min(fitting, key=lambda each: each.time.step.likely, default=None)  # type: ignore[union-attr]


def _best(best: Variant, found: TrainingEstimate) -> str:
    setting = best.setting
    words = f"checkpointing {setting.checkpointing}, {setting.precision}, {setting.optimizer}"
    if found.time is None or best.time is None or setting == found.setting:
        return f"+ the fastest that fits, as configured: {words}."
    ratio = found.time.step.likely / best.time.step.likely
    return f"+ the fastest that fits: {words}, {text.ratio(ratio)} the configured speed."


def _row(key: tuple[str, str], alike: Sequence[Variant], ahead: Horizon, *, is_best: bool) -> tuple[str, ...]:
    time = alike[0].time
    assert time is not None
    step = time.step.likely
    verdicts = [each.verdict for each in alike]
    fits = verdicts[0]
    if fits != "fits" and "fits" in verdicts:
        fits = "fits in 8 bits"  # type: ignore[assignment]
    return (
        key[0] + " +" * is_best,
        key[1],
        fits,
        text.seconds(step),
        text.figure(ahead.rate(step)),
        text.seconds(ahead.epoch(step)),
        text.seconds(ahead.whole(step)),
        text.figure(ahead.cost(step)),
    )


def of_cards(found: TrainingEstimate) -> list[RenderableType]:
    """Return the estimated step and throughput on every card that it fits on, the fastest first."""
    ahead = found.horizon
    timed = [each for each in found.cards if each.time is not None and each.verdict == "fits"]
    if ahead is None or not timed:
        return []
    rows: list[tuple[str, ...]] = [("step", "least", "most", "samples/s", "epoch", "whole", "")]
    for each in sorted(timed, key=lambda card: card.time.step.likely):  # type: ignore[union-attr]
        assert each.time is not None
        step = each.time.step
        rows.append(
            (
                text.seconds(step.likely),
                text.seconds(step.least),
                text.seconds(step.most),
                text.figure(ahead.rate(step.likely)),
                text.seconds(ahead.epoch(step.likely)),
                text.seconds(ahead.whole(step.likely)),
                each.name,
            )
        )
    times = [each.time for each in timed if each.time is not None]
    slow = sum(time.host is not None and time.host >= time.step.likely for time in times)
    words = (
        f"On {slow} of these {text.plural(len(timed), 'card')} the host decides: it has to launch every operator, and "
        "that takes longer than the card needs."
    )
    return [
        *heading("Time on the cards that it fits on"),
        *table(rows, ">>>>>><", header=True),
        *([prose(words, indent=2)] if slow else []),
        prose(_OF_CARD, indent=2, style="dim"),
    ]

"""What a tuning would do, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType

from hotlap.records import Division, DryRun, Fits, Foreseen, SeenBefore
from hotlap.report import text
from hotlap.report.blocks import Report, bullets, heading, labelled, prose, table
from hotlap.report.estimates import binary

#: Seconds of a budget that is short: see docs/tune.md.
_SHORT = 180.0
_VERDICTS = {"fits": "fits", "tight": "may just fit", "does not fit": "does not fit"}


def dry_run(found: DryRun) -> Report:
    """Return what is known, which changes would be tried and which not, the division of the time, and the files."""
    tried = [each for each in found.changes if each.prospect == "tried"]
    parts: list[RenderableType] = [
        prose(f"What `hotlap tune` would do with {_what(found)}. Nothing was started.", style="bold"),
        prose(_here(found), style="dim"),
        *bullets(f"{text.upper_first(each)}." for each in found.recognised),
        *heading("Seen before"),
        *_before(found.before),
        *heading("Would be tried, in this order"),
        *(bullets(_tried(tried)) or [prose("Nothing.", indent=2)]),
        prose(_after(found), indent=2, style="dim"),
    ]
    for title, prospect in (("Would be tried where the training is so", "if"), ("Would not be tried", "not tried")):
        grouped = _by_reason(each for each in found.changes if each.prospect == prospect)
        if grouped:
            parts += [*heading(title), *_reasons(grouped)]
    if found.excluded:
        parts += [
            *heading("Never at once"),
            *bullets(f"{' and '.join(each.names)}: {each.why}." for each in found.excluded),
        ]
    parts += [*heading("Memory"), *_memory(found.fits, found.no_fits)]
    if found.memory_limit is not None:
        parts += [prose(f"A trial whose processes hold more than {binary(found.memory_limit)} is ended.", indent=2)]
    others = any(each.change.numerics == "trajectory" and each.prospect != "not tried" for each in found.changes)
    parts += [
        *heading(f"The time: {text.seconds(found.division.budget)}"),
        *bullets(_time(found.division, others=others)),
    ]
    parts += [*heading("Files"), prose("It would go on in" if found.resumes else "It would write", indent=2)]
    parts += [labelled("    ", f"{each.path}: {each.what}") for each in found.writes]
    return Report([*parts, prose(_untouched(found), indent=2)])


def _what(found: DryRun) -> str:
    return found.config or text.command(found.command)


def _here(found: DryRun) -> str:
    here = found.environment
    gpus = ", ".join(here.gpus) or "no GPU"
    memory = "" if here.memory is None else f", {binary(here.memory)} of memory"
    card = f"; as on a machine with {found.fits.card}" if found.fits is not None and not here.gpus else ""
    return f"For {found.goal}, on {text.plural(here.cores, 'core')}{memory}, {gpus}{card}."


def _before(before: SeenBefore | None) -> Iterator[RenderableType]:
    if before is None:
        yield prose(
            "No record of this training is here, so no bound is known. The tuning measures the baseline first, and "
            "leaves out what could give too little. `hotlap profile -- COMMAND` tells it before.",
            indent=2,
        )
        return
    yield prose(
        f"{before.directory} ({before.date}): a step took {text.seconds(before.step_seconds)}. The bounds below are by "
        "that record; the tuning measures its own.",
        indent=2,
    )
    found = [f"{code}: {title}." for code, title in before.findings.items()]
    yield from bullets(found or ["Nothing was found there."])
    yield from bullets(f"Since then: {each}." for each in before.differences)


def _tried(changes: Sequence[Foreseen]) -> list[str]:
    """A line for each, and one for all values of the same."""
    groups: dict[tuple[str, str, str], list[Foreseen]] = {}
    for each in changes:
        groups.setdefault((each.change.name, each.why, each.change.numerics), []).append(each)
    lines = []
    for (name, why, numerics), members in groups.items():
        first = members[0]
        values = ", ".join(each.change.value for each in members)
        how = f"{numerics}, {'by its key' if first.by_key else 'from outside'}"
        title = f": {first.change.title}" if len(members) == 1 else ""
        lines.append(f"{name}={values}{title} ({how})" + (f"; {why}." if why else "."))
    return lines


def _after(found: DryRun) -> str:
    order = "The order is another one once the baseline has been measured: what can hardly pay comes last. "
    least = order if found.before is None else ""
    if found.before is None and any(each.change.name == "workers" for each in found.changes):
        least += "Workers are exact where fetching is seen to draw no random numbers. "
    least += f"A gain counts from {text.percent(found.least_gain)} on, and from more on a machine that is noisy. "
    if found.planned_steps is not None:
        steps = text.plural(found.planned_steps, "step")
        least += f"What takes longer to start than it saves over {steps} is dropped. "
    return (
        f"{least}What is kept is proven against the training as it is, in fresh processes, and adopted where it trains "
        "the same."
    )


def _by_reason(changes: Iterable[Foreseen]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for each in changes:
        grouped.setdefault(each.why, []).append(each.change.id)
    return grouped


def _reasons(grouped: dict[str, list[str]]) -> Iterator[RenderableType]:
    for why, changes in grouped.items():
        yield prose(f"{text.upper_first(why)}:", indent=2)
        yield prose(", ".join(changes), indent=4)


def _memory(fits: Fits | None, no_fits: str | None) -> list[RenderableType]:
    if fits is None:
        return [prose(f"Not estimated: {no_fits}.", indent=2)]
    rows = [("least", "likely", "most", "", "")]
    for each in fits.changes:
        least, likely, most = map(binary, each.total)
        rows.append((least, likely, most, each.change or "as it is", _VERDICTS[each.verdict]))
    nothing = fits.changes[0].verdict == "does not fit"
    baseline = "The training as it is does not fit there, so a tuning would have nothing to measure against."
    return [
        prose(f"Of the {binary(fits.memory)} of {fits.card}, estimated (docs/estimate.md):", indent=2),
        *table(rows, ">>><<", header=True),
        *([prose(baseline, indent=2, style="bold red")] if nothing else []),
    ]


def _time(division: Division, *, others: bool) -> Iterator[str]:
    least, most = division.proof
    of_proof = text.seconds(least) if least == most else f"{text.seconds(least)} to {text.seconds(most)}"
    yield "First the machine is calibrated and the baseline measured, twice and against itself."
    if division.budget < _SHORT:
        yield (
            "That takes half a minute to two minutes, and a proof no less: budgets below "
            f"{text.seconds(_SHORT)} find little."
        )
    yield f"{text.upper_first(of_proof)} are the proof's, by how long the training takes to start and to step."
    if division.first_look is not None:
        short = division.first_look > most
        yield (
            f"Its first look, the fewest launches that can show anything, takes about "
            f"{text.seconds(division.first_look)}" + (": more than that, so give a larger --budget." if short else ".")
        )
    yield f"Of the rest a single trial takes at most a quarter: {text.seconds(division.trial)} at the beginning."
    if others:
        yield (
            "Other trainings come after the proof of what trains the same, and half of the time is kept for them; all "
            "of it where --set names them and a half is too short for a search and a proof."
        )


def _untouched(found: DryRun) -> str:
    named = f" {', '.join(found.untouched)} among them." if found.untouched else ""
    return (
        f"Your own files stay as they are,{named or ' all of them.'} A trial reads them through an overlay, and what "
        "it writes goes to the first folder above; trackers are offline (docs/method.md says what is not held back)."
    )

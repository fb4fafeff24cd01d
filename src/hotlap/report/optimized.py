"""What of a configuration was changed to suit this machine, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Filled, Larger, Optimized
from hotlap.report import text
from hotlap.report.blocks import Report, blank, bullets, labelled, prose
from hotlap.report.estimates import binary
from hotlap.report.lint import value_in_yaml


def optimized(found: Optimized) -> Report:
    """Return each key that was changed, and why; and what was left as it is."""
    here, number = found.surroundings, len(found.choices)
    changed = text.plural(number, "key") + " changed" if number else "No key changed: it suits this machine as it is"
    parts: list[RenderableType] = [
        prose(f"{found.output}: {text.lower_first(changed)}.", style="bold green"),
        prose(
            f"For {here.device}, {text.plural(here.cores, 'core')}, {binary(here.memory)} of memory. How much faster "
            "it is has not been measured.",
            style="dim",
        ),
    ]
    for each in found.choices:
        written = f"{each.key}: {value_in_yaml(each.before)} -> {value_in_yaml(each.after)}"
        parts += [blank(), labelled("  ", written, style="bold"), prose(f"{each.why} ({each.numerics})", indent=4)]
    return Report([*parts, blank(), *bullets(f"{text.upper_first(note)}." for note in found.notes)])


def filled(found: Filled, before: str, better: str) -> Report:
    """Return which larger networks would train in the time that the configuration took before."""
    return Report(
        [
            prose("A larger network in the time that is left. It makes nothing faster, and is another training."),
            prose(
                f"A sample takes {text.seconds(found.seconds_per_sample)} in {before}, and in {better} "
                f"{text.seconds(found.better)} with the same network (median of {text.plural(found.rounds, 'round')} "
                f"on {found.device}: forward, loss, backward and optimizer, without the data).",
                style="dim",
            ),
            blank(),
            *bullets(map(_larger, found.larger)),
            *([blank(), prose(_not_counted(found.not_counted), style="dim")] if found.not_counted else []),
        ]
    )


def _not_counted(keys: list[str]) -> str:
    return (
        f"Set, and not counted on either side: {', '.join(keys)}. The steps that were measured are not compiled, in "
        "PyTorch's usual float32, by Adam, without a mean of the weights, of one micro-batch."
    )


def _larger(found: Larger) -> str:
    if found.after == found.before:
        return f"{found.key} stays {found.before}: {found.limit}."
    median, low, high = found.time
    return (
        f"{found.key}: {found.before} -> {found.after} ({found.parameters:,} parameters) takes {median:.2f} "
        f"[{low:.2f}, {high:.2f}] of the time of before; {found.limit}."
    )

"""What of a configuration was changed to suit this machine, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Optimized
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

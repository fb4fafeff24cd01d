"""What the linter found in a configuration, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import RenderableType

from hotlap.records import ConfigFinding, Lint
from hotlap.report import text
from hotlap.report.blocks import Report, blank, labelled, prose
from hotlap.report.estimates import binary


def linted(found: Lint) -> Report:
    """Return each finding with what to write, or that nothing was found; and what it was judged for."""
    number = len(found.findings)
    headline = f"{text.plural(number, 'finding')} in {found.config}." if number else f"Nothing found in {found.config}."
    parts: list[RenderableType] = [prose(headline, style="bold yellow" if number else "bold green")]
    for finding in found.findings:
        parts += [blank(), *_finding(finding)]
    return Report([*parts, blank(), prose(_judged(found), style="dim")])


def _finding(finding: ConfigFinding) -> Iterable[RenderableType]:
    yield labelled(f"{finding.code} ", f"{finding.title}.", style="bold")
    for sentence in [*finding.evidence, finding.consequence]:
        yield prose(sentence, indent=2)
    written = spelled(finding.remedy)
    if written:
        yield labelled("  -> ", f"{'; '.join(written)}", style="bold")
    if finding.advice:
        yield prose(finding.advice, indent=5 if written else 2)


def spelled(remedy: Mapping[str, Any]) -> list[str]:
    """Return keys and values as a file has them."""
    return [f"{path}: {value_in_yaml(value)}" for path, value in remedy.items()]


def value_in_yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _judged(found: Lint) -> str:
    here = found.surroundings
    device = f"on {here.device}" if here.device else "device not known (--gpu), so not judged by it"
    judged = (
        f"Held against {len(found.checked)} rules ({found.checked[0]} to {found.checked[-1]}) for "
        f"{text.plural(here.ranks, 'rank')}, {text.plural(here.cores, 'core')}, {binary(here.memory)} of memory, "
        f"{device}"
    )
    judged += f"; against {found.against}." if found.against else "."
    if found.workload is None:
        many = "was" if len(found.recognised) == 1 else "were"
        return (
            f"It is another project's, of which only {', '.join(found.recognised)} {many} recognised, so most rules "
            f"had nothing to look at. {judged}"
        )
    return judged

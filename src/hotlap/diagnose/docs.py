"""``python -m hotlap.diagnose.docs`` writes docs/findings.md from the rules."""

from __future__ import annotations

from pathlib import Path

from hotlap.diagnose.rules import everything, explain
from hotlap.records import write_whole

PAGE = Path(__file__).parents[3] / "docs" / "findings.md"


def page() -> str:
    """Return the page of all findings, in Markdown."""
    head = (
        "# Findings\n\n"
        "Made from the rules by `python -m hotlap.diagnose.docs`; `hotlap explain CODE` prints the same text.\n\n"
        "Every finding comes with its evidence, the seconds per step at stake, and the most that removing the cause "
        "could give: 1 / (1 - share of the mean step). At stake must be at least 3 % of the step, or more where the "
        "measurement is less certain than that. Codes that begin with LOG are found in logs ([logs.md](logs.md)). "
        "Those that `hotlap lint` finds in a configuration stand at the end: nothing has run, so they have no "
        "seconds.\n\n"
    )
    rows = "".join(f"| [{it.code}](#{anchor(it.code + ' ' + it.title)}) | {it.title} |\n" for it in everything())
    table = f"| code | finding |\n|---|---|\n{rows}\n"
    return head + table + "\n".join(explain(it.code) for it in everything())


def anchor(heading: str) -> str:
    """Return what a heading of a Markdown page can be linked by."""
    return "".join(c for c in heading.lower() if c.isalnum() or c in " -_").replace(" ", "-")


if __name__ == "__main__":
    write_whole(PAGE, page())

"""Writes the pages of docs/ that show what was measured.

    python benchmarks/pages.py

    claims.yaml (words, names of figures)  +  figures() (from results/)  ──>  docs/claims.md
    symptoms.md.template                   +  figures(), findings        ──>  docs/symptoms.md

Measures nothing. A test says when a page is out of date.
"""

from __future__ import annotations

from pathlib import Path

import claims
from figures import figures

from hotlap.records import write_whole

DOCS = Path(__file__).resolve().parents[1] / "docs"
SYMPTOMS = Path(__file__).with_name("symptoms.md.template")


def pages() -> dict[str, str]:
    """Return the pages by the names of their files."""
    named = figures()
    return {"claims.md": claims.page(named), "symptoms.md": SYMPTOMS.read_text().format(**named)}


if __name__ == "__main__":
    for name, text in pages().items():
        write_whole(DOCS / name, text)

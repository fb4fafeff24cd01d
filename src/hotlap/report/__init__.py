"""Any record as something to read: for a terminal, as a page without a network, for a pull request, as a picture.

    path -> load -> Run | Tuning | Comparison -> html.render, markdown.render -> str
                                              -> card.render -> bytes (PNG)
                                              -> terminal.profile, tuning, comparison -> what rich prints

``view`` holds what both say, ``text`` how figures are written. Renderers return; they measure and print nothing.
"""

from __future__ import annotations

from pathlib import Path

from hotlap.callable import make_callable
from hotlap.report.loading import load

make_callable(__name__)

__all__ = ["load", "load_report"]


def load_report(path: str | Path) -> str:
    """Return the page of what is recorded at ``path``: a run, a tuning or a comparison.

    Raises:
        RunError: nothing is there, it is none of the three, or it was written by a newer hotlap.
    """
    # Templates take longer to import than everything else here, and most commands need none.
    from hotlap.report.html import render

    return render(load(path))

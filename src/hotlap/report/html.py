"""One page for any record: a single file that needs no network, no script and no other file."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import jinja2
from markupsafe import Markup, escape

from hotlap.diagnose import diagnose
from hotlap.errors import TrainingFailed
from hotlap.records import Comparison, Diagnosis, Facts, Run, Tuning
from hotlap.report import (
    about,
    again,
    charts,
    compilations,
    data_side,
    device,
    gaps,
    memory,
    memory_charts,
    palette,
    pareto,
    proofs,
    ranks,
    reads,
    stages,
    text,
    timelines,
    traces,
    verdicts,
    view,
)
from hotlap.report.secrets import MASK


def render(record: Run | Tuning | Comparison, diagnosis: Diagnosis | None = None) -> str:
    """Return the page of a record. A run is diagnosed here where the caller has not done it already."""
    if isinstance(record, Tuning):
        return _page("tuning", tuning=record)
    if isinstance(record, Comparison):
        return _page("comparison", comparison=record, facts=Facts())
    if diagnosis is None:
        try:
            diagnosis = diagnose(record)
        except TrainingFailed:
            diagnosis = None  # A run without a step has nothing to diagnose; its page says how it ended.
    return _page("run", run=record, diagnosis=diagnosis)


def _page(kind: str, **records: object) -> str:
    page = _environment().get_template(f"{kind}.html.j2").render(sign="×", **records)
    head, main, body = page.partition("<main>\n")
    body, links = _anchored(body)
    return head + main + links + body


def _anchored(body: str) -> tuple[str, str]:
    """Return the body with a name for each of its sections, and links to them. What a record says is escaped."""
    titles = re.findall(r"<h2>([^<]+)</h2>", body)
    if len(titles) < 4:
        return body, ""
    for number, title in enumerate(titles, 1):
        body = body.replace(f"<h2>{title}</h2>", f'<h2 id="s{number}">{title}</h2>', 1)
    links = [f'<li><a href="#s{number}">{title}</a></li>' for number, title in enumerate(titles, 1)]
    return body, '<nav aria-label="Sections of this page">\n<ul>\n' + "\n".join(links) + "\n</ul>\n</nav>\n"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hotlap.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(code=_code, sentence=text.sentence)
    environment.globals.update(compilation=compilations)
    environment.globals.update(
        MASK=MASK,
        about=about,
        again=again,
        charts=charts,
        data_side=data_side,
        device=device,
        gaps=gaps,
        memory=memory,
        memory_charts=memory_charts,
        palette=palette,
        pareto=pareto,
        proofs=proofs,
        ranks=ranks,
        reads=reads,
        stages=stages,
        text=text,
        timelines=timelines,
        traces=traces,
        verdicts=verdicts,
        view=view,
    )
    return environment


def _shown(value: Any) -> Any:
    """Return what a template prints: text without control characters and of a length that one reads."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return text.shorten(text.printable(value, keep="\n"))


def _code(sentence: str) -> Markup:
    """Return a sentence with what stands in backticks set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(_shown(sentence)))))

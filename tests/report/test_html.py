"""Pages: whole, safe, light, and about what the record says."""

from __future__ import annotations

import itertools
import math
import re
from html.parser import HTMLParser

import full
import made_up
import pytest
from made_up import replace

from hotlap.records import Comparison, Effect, Facts, Metric, Run, SameTraining, Tuning
from hotlap.report import html
from hotlap.tune.statistics import UNBOUNDED

HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x00\x1b[2J🚀" + "long-" * 40
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart: it must be balanced, and what it fetches and says is kept."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "action", "data", "srcset", "poster") or name.endswith(":href"):
                self.fetched.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def a_run(**fields: object) -> Run:
    return made_up.run(60, **fields)


def hostile_tuning() -> Tuning:
    change = made_up.change(HOSTILE, HOSTILE, title=HOSTILE, note=HOSTILE, edits={HOSTILE: HOSTILE})
    trial = made_up.trial(HOSTILE, HOSTILE, change=change, why=HOSTILE, against=[HOSTILE])
    finding = made_up.finding(code=HOSTILE, title=HOSTILE, evidence=[HOSTILE], remedy=HOSTILE, changes=[HOSTILE])
    environment = replace(made_up.ENVIRONMENT, gpus=[HOSTILE], cpu=HOSTILE, platform=HOSTILE, python=HOSTILE)
    return made_up.tuning(
        name=HOSTILE,
        command=[HOSTILE],
        config=HOSTILE,
        environment=environment,
        date=HOSTILE,
        diagnosis=made_up.diagnosis(phases={HOSTILE: 0.1, "forward": 0.2}, findings=[finding]),
        facts=Facts(device=HOSTILE, optimizer=HOSTILE),
        trials=[trial],
        skipped=[trial],
        adopted=[change],
        same_training=made_up.same_training(evidence=HOSTILE, metric=HOSTILE),
        warnings=[HOSTILE],
    )


def hostile_run() -> Run:
    run = a_run(notes=[HOSTILE], metrics=[Metric(name=HOSTILE, value=1.0, step=1)])
    info = replace(run.info, name=HOSTILE, command=[HOSTILE], cwd=HOSTILE, reason=HOSTILE, changes={HOSTILE: HOSTILE})
    return replace(run, info=replace(info, outcome="crashed"))


UNKNOWN = Effect(ratio=1.8, low=0.0, high=UNBOUNDED, n=1, confidence=0.99, pairs=[1.8])
NO_CURVES = SameTraining(same=None, numerics="trajectory", evidence="")

RECORDS: dict[str, Run | Tuning | Comparison] = {
    "run": made_up.run(),
    "full run": full.run(),
    "hostile full run": full.run(HOSTILE),
    "run without steps": made_up.run(0),
    "run of one step": made_up.run(1),
    "run of which nothing is known": replace(
        a_run(facts=Facts(), metrics=[]),
        steps=[replace(step, samples=None, loss=None, phases={}) for step in a_run().steps],
    ),
    "run whose loss is NaN": replace(a_run(), steps=[replace(step, loss=math.nan) for step in a_run().steps]),
    "run of tiny steps": replace(a_run(), steps=[replace(step, wall=1e-9, phases={}) for step in a_run().steps]),
    "run of no time": replace(a_run(), steps=[replace(step, wall=0.0, phases={}) for step in a_run().steps]),
    "run of ages": replace(a_run(), steps=[replace(step, wall=7e12, phases={"loss": 7e12}) for step in a_run().steps]),
    "hostile run": hostile_run(),
    "tuning": made_up.tuning(),
    "nothing to gain": made_up.nothing_to_gain(),
    "tuning with unknown ends": made_up.tuning(
        effect=UNKNOWN, no_op=UNKNOWN, trials=[made_up.trial(effect=UNKNOWN, peak_memory=None, first_step=None)]
    ),
    "tuning without effect": made_up.tuning(effect=None, optimized=None, same_training=None, break_even_steps=None),
    "tuning of one seed": made_up.tuning(
        same_training=made_up.same_training(
            baseline_losses=[[math.nan, None]], candidate_losses=[], baseline_quality=[1.0], candidate_quality=[]
        )
    ),
    "hostile tuning": hostile_tuning(),
    "comparison": made_up.comparison(),
    "comparison of which nothing is known": made_up.comparison(
        effect=UNKNOWN, same_training=NO_CURVES, judgement="unclear", a_step_seconds=1e-9, b_step_seconds=1e9
    ),
    "hostile comparison": made_up.comparison(a=[HOSTILE], b=[], name=HOSTILE, date=HOSTILE, warnings=[HOSTILE]),
}


@pytest.fixture(params=RECORDS)
def page(request: pytest.FixtureRequest) -> str:
    return html.render(RECORDS[request.param])


def test_a_page_is_whole_and_light(page: str) -> None:
    """Every page is balanced, has one first heading, no level of headings left out, and is far below 1 MB."""
    parts = Page(page)
    assert len(page.encode()) < 300_000
    levels = [int(tag[1]) for tag in parts.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_a_page_needs_nothing_else(page: str) -> None:
    """A page has no script and fetches nothing, neither by attribute nor from its style; links lead to its parts."""
    parts = Page(page)
    assert "script" not in parts.tags
    assert not {"link", "img", "iframe", "object", "embed"} & set(parts.tags)
    assert [f'id="{target.removeprefix("#")}"' in page for target in parts.fetched] == [True] * len(parts.fetched)
    assert parts.handlers == []
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_a_page_shows_no_number_that_is_none(page: str) -> None:
    """What is missing is n/a or unknown: never nan, inf, None, or the figure that stands for it."""
    words = Page(page).words.replace(",", "")
    assert not re.search(r"\b(nan|inf|None)\b", words)
    assert "1000000000" not in words
    assert "1.00e+09" not in words


def test_every_chart_can_be_heard(page: str) -> None:
    """Each chart begins with a title and a description."""
    charts = re.findall(r'<svg class="chart"[^>]*>(.{0,200})', page, re.DOTALL)
    assert all(re.match(r"<title>[^<]+</title><desc>", start) for start in charts)


def test_a_page_is_the_same_each_time() -> None:
    """The same record gives the same bytes."""
    assert html.render(made_up.tuning()) == html.render(made_up.tuning())


def test_a_tuning_is_told_from_headline_to_environment() -> None:
    """The page of a tuning holds the verdict, the proof, what was tried, what will not help and how to use it."""
    words = " ".join(Page(html.render(made_up.tuning())).words.split())
    for expected in (
        "Faster: 1.91× [1.86, 1.96], 16 pairs, 99 % interval, with workers=2, precision=bf16.",
        "45.40 → 24.10 ms",
        "What was adopted, and how to use it",
        "hotlap run --with .hotlap/runs/",
        "before and after",
        "-9.80",
        "The proof, pair by pair",
        "Same training: yes",
        "Seed 2",
        "psnr (dB)",
        "Everything that was tried",
        "The gain does not clear the noise".lower(),
        "Not tried",
        "peak memory of the process",
        "DATA01",
        "What will not help",
        "The whole process",
        "Environment",
        "NVIDIA GeForce RTX 4090",
        "Not known (n/a):",
    ):
        assert expected.lower() in words.lower()


def test_a_run_is_told_with_its_diagnosis() -> None:
    """The page of a run holds its steps, its findings, its budget and its metrics."""
    words = Page(html.render(made_up.run())).words
    for expected in (
        "DATA01",
        "Step by step",
        "Where a step's time goes",
        "startup",
        "psnr",
        "35.900",
        "What will not help",
    ):
        assert expected in words


def test_a_run_of_which_all_is_known_shows_all() -> None:
    """Stages, the step as it went, data, memory by category and over time, ranks, reads, machine, and the way back."""
    page = html.render(full.run())
    words = Page(page).words
    for expected in (
        "A step as it went",
        "Step 44 (46.5 ms)",
        "Stages of the model",
        "Block",
        "The data side",
        "The loader was started 1 time, 1 of them with new worker processes",
        "What the peak of a step is made of",
        "optimizer state",
        "after forward: 930 MB (+750 MB)",
        "not recorded",
        "Over the steps",
        "1 worker",
        "Ranks",
        "Reads from the device",
        "blocks.0:12 in main",
        "4.00–6.00 ms",
        "Virtual machine",
        "OMP_NUM_THREADS=8",
        "How to reproduce",
        "cd /home/me/project",
        "hotlap profile -- python train.py",
    ):
        assert expected in words
    assert re.search(r"<title>forward: 8.20 ms, from 18.10 ms</title>", page)


def test_a_page_can_be_gone_through_by_its_sections() -> None:
    """Each section has a link at the top, in its order, whose words are its heading."""
    page = html.render(full.run())
    links = re.findall(r'<a href="#(\w+)">([^<]+)</a>', page)
    assert links == re.findall(r'<h2 id="(\w+)">([^<]+)</h2>', page)
    assert len(links) > 10
    assert page.index("<main>") < page.index("<nav") < page.index('id="s1"')


def test_tables_have_heads() -> None:
    """Each row of a table begins with its header, but for numbers, and each column with figures has one."""
    for record in (full.run(), made_up.tuning(), made_up.comparison()):
        for table in re.findall(r"<table.*?</table>", html.render(record), re.DOTALL):
            rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
            assert all('scope="row"' in row or 'scope="col"' in row for row in rows)


def test_a_diagnosis_that_is_there_is_not_made_again() -> None:
    """A page can be given the diagnosis that the caller made."""
    assert "Nothing stands out" in html.render(made_up.run(), made_up.nothing_to_gain().diagnosis)


def test_a_run_without_steps_says_what_happened() -> None:
    """A run that crashed before its first step has a page that says so and what a step is."""
    run = made_up.run(0)
    info = replace(run.info, outcome="crashed", exit_code=1, reason="ModuleNotFoundError: No module named 'x'")
    words = Page(html.render(replace(run, info=info))).words
    assert "The run took no training step." in words
    assert "crashed, exit code 1. ModuleNotFoundError" in words
    assert "optimizer.step()" in words


def test_secrets_are_not_on_the_page() -> None:
    """Keys and passwords of a command or of settings are masked wherever they would be shown."""
    secret = ["python", "t.py", "--api-key=sesame", "--password", "sesame", "HF_TOKEN=sesame"]
    run = made_up.run(20)
    pages = (
        html.render(replace(run, info=replace(run.info, command=secret, changes={"api_key": "sesame"}))),
        html.render(replace(made_up.run(0), info=replace(run.info, command=secret))),
        html.render(made_up.tuning(command=secret)),
        html.render(made_up.comparison(a=secret, b=secret)),
    )
    for page in pages:
        assert "sesame" not in page
        assert "--api-key=***" in page


def test_secrets_are_not_in_what_was_said_either() -> None:
    """Keys in variables, names of changes, errors and evidence are masked, in charts too."""
    run = full.run()
    reason = "ConnectionError: https://me:sesame@host/x"
    finding = made_up.finding(evidence=["The script sets WANDB_API_KEY=sesame."])
    change = made_up.change("api_key", "sesame", title="Another key")
    trial = made_up.trial("api_key", change=change)
    pages = (
        html.render(replace(run, info=replace(run.info, outcome="crashed", reason=reason))),
        html.render(run, made_up.diagnosis(findings=[finding])),
        html.render(made_up.tuning(trials=[trial], adopted=[change], warnings=[reason])),
    )
    for page in pages:
        assert "sesame" not in page
        assert "***" in page


def test_a_huge_record_stays_below_a_megabyte() -> None:
    """Thousands of steps, trials' pairs and letters do not make a page that nobody can open."""
    run = made_up.run(400)
    run = replace(run, steps=run.steps * 100, info=replace(run.info, command=["x" * 100_000]))
    assert len(html.render(run, made_up.diagnosis(steady_from=20_000))) < 1_000_000
    many = made_up.tuning(
        trials=[made_up.trial(value=str(i), effect=made_up.effect(n=20)) for i in range(60)],
        same_training=made_up.same_training(
            baseline_losses=made_up.curves(7, 20_000), candidate_losses=made_up.curves(7, 20_000)
        ),
    )
    assert len(html.render(many)) < 1_000_000

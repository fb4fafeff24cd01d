"""Markdown for a pull request: what is on it, and that nothing in a record can become markup."""

from __future__ import annotations

import re

import full
import made_up
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import replace
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hotlap.records import Comparison, Metric, Run, Tuning
from hotlap.report import markdown, marked

HOSTILE = (
    "a|b\\|c\\\\|d `x` ``y`` *b* _u_ ~~s~~ <script>alert(1)</script> <!-- --> </details> [l](http://evil.example) "
    "![i](http://evil.example/p.png) http://evil.example www.evil.example @everyone a@b.example #12 GH-34 $x$ &amp; "
    "\n\n# heading\n\n- item\n\n| a |\n|---|\n\n```\nfence\n```\n\x1b[2J"
)
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def tokens(source: str) -> list[Token]:
    """Every token, those inside of lines too."""
    found = []
    for token in PARSER.parse(source):
        found += [token, *(token.children or [])]
    return found


def seen(source: str) -> str:
    """What a reader sees: words and code, without the markup."""
    return "".join(token.content for token in tokens(source) if token.type in ("text", "code_inline", "fence"))


def hostile_tuning() -> Tuning:
    change = made_up.change(HOSTILE, HOSTILE, title=HOSTILE, note=HOSTILE, edits={HOSTILE: HOSTILE})
    trial = made_up.trial(HOSTILE, HOSTILE, change=change, why=HOSTILE, against=[HOSTILE])
    finding = made_up.finding(code=HOSTILE, title=HOSTILE, evidence=[HOSTILE], remedy=HOSTILE, changes=[HOSTILE])
    return made_up.tuning(
        name=HOSTILE,
        command=[HOSTILE],
        config=HOSTILE,
        environment=replace(made_up.ENVIRONMENT, gpus=[HOSTILE], cpu=HOSTILE, platform=HOSTILE, python=HOSTILE),
        date=HOSTILE,
        diagnosis=made_up.diagnosis(phases={HOSTILE: 0.1, "forward": 0.2}, findings=[finding]),
        trials=[trial],
        skipped=[trial],
        adopted=[change],
        same_training=made_up.same_training(evidence=HOSTILE, metric=HOSTILE),
        warnings=[HOSTILE],
    )


def hostile_run() -> Run:
    run = full.run(HOSTILE)
    info = replace(run.info, name=HOSTILE, command=[HOSTILE], cwd=HOSTILE, reason=HOSTILE, outcome="crashed")
    return replace(run, info=info, notes=[HOSTILE], metrics=[Metric(name=HOSTILE, value=1.0, step=1)])


RECORDS: dict[str, Run | Tuning | Comparison] = {
    "run": made_up.run(),
    "full run": full.run(),
    "run without steps": made_up.run(0),
    "tuning": made_up.tuning(),
    "nothing to gain": made_up.nothing_to_gain(),
    "tuning without effect": made_up.tuning(effect=None, optimized=None, same_training=None, break_even_steps=None),
    "comparison": made_up.comparison(),
    "hostile run": hostile_run(),
    "hostile tuning": hostile_tuning(),
    "hostile comparison": made_up.comparison(a=[HOSTILE], b=[HOSTILE], name=HOSTILE, date=HOSTILE, warnings=[HOSTILE]),
}


@pytest.mark.parametrize("name", RECORDS)
def test_nothing_in_a_record_becomes_markup(name: str) -> None:
    """No link, picture, HTML or mention comes from a record, and each table keeps its columns."""
    source = markdown.render(RECORDS[name])
    html = [token.content.strip() for token in tokens(source) if token.type.startswith("html")]
    ours = r"(</?details>|<summary>[^<>]*</summary>|</?code>)(\n(</?details>|<summary>[^<>]*</summary>))*"
    assert [each for each in html if not re.fullmatch(ours, each)] == []
    assert not {"link_open", "image", "s_open", "em_open", "blockquote_code"} & {token.type for token in tokens(source)}
    headings = [token.tag for token in tokens(source) if token.type == "heading_open"]
    assert headings == ["h3"]
    outside = re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^(`{3,}).*?^\1$", "", source))
    assert not re.search(r"@[\w-]", outside)
    assert not re.search(r"#\d", outside.replace("&#124;", ""))
    assert "".join(html).count("<details>") == "".join(html).count("</details>")


@pytest.mark.parametrize("name", RECORDS)
def test_tables_are_square(name: str) -> None:
    """Each row of a table has as many cells as its header."""
    rows: list[int] = []
    for token in PARSER.parse(markdown.render(RECORDS[name])):
        if token.type == "tr_open":
            rows.append(0)
        elif token.type in ("th_open", "td_open"):
            rows[-1] += 1
        elif token.type == "table_close":
            assert len(set(rows)) == 1
            rows = []


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_words_are_seen_as_they_were_written(content: str) -> None:
    """Whatever the words, a reader sees them, but for what is invisible and for spaces."""
    shown = " ".join(marked._one_line(content).split())
    assert seen(marked.name(content)).replace("\u200b", "").strip() == shown.strip()


@settings(max_examples=50)
@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40))
def test_code_is_one_piece_in_a_table(content: str) -> None:
    """Whatever a name holds, it stays in its cell."""
    rows = PARSER.parse("\n".join(marked.table(("a", "b"), [(marked.code(content), "last")], "<<")))
    assert [token.children[0].content for token in rows if token.type == "inline" and token.children][-1] == "last"


def test_a_tuning_is_told_for_a_pull_request() -> None:
    """The headline, before and after with interval and n, the findings with their evidence, and how to redo it."""
    source = markdown.render(made_up.tuning())
    assert source.startswith("### Faster: 1.91× \\[1.86, 1.96\\], 16 pairs, 99 % interval, with workers=2")
    words = seen(source)
    for expected in (
        "45.4 ms",
        "24.1 ms",
        "1.91× [1.86, 1.96], 16 pairs",
        "DATA01",
        "The step waits 18.1 ms of 46.5 ms (39 %) for its next batch.",
        "hotlap run --with .hotlap/runs/",
        "hotlap tune configs/restoration.yaml --fresh",
        "NVIDIA GeForce RTX 4090",
        "numerics: rounding",
    ):
        assert expected in words
    assert "<summary>Everything that was tried (4 changes, 2 not)</summary>" in source
    assert "<summary>Same training: yes</summary>" in source


def test_a_run_is_told_for_a_pull_request() -> None:
    """The phases, the stages, the memory and the command that measures it again."""
    words = seen(markdown.render(full.run()))
    for expected in ("sum of the leaves", "tail", "activations", "hotlap profile -- python train.py", "wall clock"):
        assert expected in words


def test_a_run_that_was_ended_early_is_ended_there_again() -> None:
    """By as many steps; what ran to its end does so again."""
    run = made_up.run(60)
    assert "hotlap profile -- python" in markdown.render(run)
    stopped = made_up.replace(run, info=made_up.replace(run.info, outcome="stopped"))
    assert "hotlap profile --steps 60 -- python" in markdown.render(stopped)


def test_secrets_are_not_in_it() -> None:
    """Keys and passwords of a command are masked, and the reader is told to put his own in."""
    source = markdown.render(made_up.comparison(a=["python", "t.py", "--api-key=sesame"]))
    assert "sesame" not in source
    assert "Put your own secrets in" in source


def test_it_fits_into_a_comment() -> None:
    """What is too long for GitHub loses parts that are folded away, and says so."""
    many = [made_up.trial(value=str(i), why="x" * 2000) for i in range(60)]
    source = markdown.render(made_up.tuning(trials=many))
    assert len(source) < 65_536
    assert "1 longer part left out" in source
    assert "How to reproduce" in source

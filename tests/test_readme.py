"""The pages show what was measured: excerpts are verbatim, and what is linked is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "README.zh-CN.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/changes.md",
    "docs/configurations.md",
    "docs/data.md",
    "docs/logs.md",
    "docs/estimate.md",
    "docs/method.md",
    "docs/report.md",
    "docs/watch.md",
    "docs/traces.md",
]
READMES = ["README.md", "README.zh-CN.md"]

_EXCERPT = re.compile(r"<!-- from (?P<file>\S+) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)
#: Stands for lines that were left out.
_LEFT_OUT = "…"


def excerpts(page: str) -> list[tuple[str, list[str]]]:
    """Return the file that each excerpt of a page names, and its lines as they must stand in that file."""
    return [
        (
            match["file"],
            [
                line.rstrip()
                for line in match["text"].splitlines()
                if line.strip() and not line.startswith("```") and line.strip() != _LEFT_OUT
            ],
        )
        for match in _EXCERPT.finditer((ROOT / page).read_text())
    ]


@pytest.mark.parametrize("page", PAGES)
def test_excerpts_are_verbatim(page: str) -> None:
    """Every line of an excerpt stands in the file it is from, in that order."""
    for file, lines in excerpts(page):
        assert (ROOT / file).is_file(), f"{page} shows {file}, which is not there"
        rest = iter([line.rstrip() for line in (ROOT / file).read_text().splitlines()])
        for line in lines:
            assert line in rest, f"{page}: this line is not in {file}, or not in this order: {line!r}"


@pytest.mark.parametrize("page", READMES)
def test_readme_shows_real_output(page: str) -> None:
    """The first screen of a README holds an excerpt of the committed demo."""
    found = dict(excerpts(page))
    assert found["benchmarks/results/demo.txt"]
    assert (ROOT / page).read_text().index("<!-- from") < 1200


def test_readmes_say_the_same() -> None:
    """Both languages show the same excerpts and the same code, and have as many sections."""
    english, chinese = ((ROOT / page).read_text() for page in READMES)
    assert excerpts(READMES[0]) == excerpts(READMES[1])
    assert commands(english) == commands(chinese)
    assert len(re.findall(r"^#+ ", english, re.MULTILINE)) == len(re.findall(r"^#+ ", chinese, re.MULTILINE))


def commands(text: str) -> list[str]:
    """Lines of code blocks without their comments, which are translated."""
    blocks = re.findall(r"^```(?:bash|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition("#")[0].rstrip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("page", READMES)
def test_commands_exist(page: str) -> None:
    """Every command that a README names exists, with its options."""
    from hotlap.cli import app

    known = set(app) - {"--help", "-h", "--version"}
    named = [shlex.split(line) for line in commands((ROOT / page).read_text()) if line.startswith("hotlap ")]
    assert {words[1] for words in named} == known
    for words in named:
        own = words[: words.index("--")] if "--" in words else words
        options = {name for argument in app[words[1]].assemble_argument_collection() for name in argument.names}
        assert {word for word in own if word.startswith("-")} <= options


@pytest.mark.parametrize("page", READMES)
def test_python_names_exist(page: str) -> None:
    """Every name of the Python API that a README uses exists."""
    import hotlap

    names = set(re.findall(r"\bhotlap\.([a-z_]+)\(", "\n".join(commands((ROOT / page).read_text()))))
    assert names
    assert names <= set(hotlap.__all__)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Files that a page links to exist, and so do the headings in them."""
    here = ROOT / page
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", here.read_text()):
        there = here.parent / target if target else here
        assert there.exists(), f"{page} links to {target}"
        assert not heading or heading in anchors(there.read_text()), f"{page} links to {target}#{heading}"


def anchors(text: str) -> set[str]:
    """The names that a Markdown page's headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

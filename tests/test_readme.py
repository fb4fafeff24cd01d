"""The pages show what was measured: excerpts are verbatim. The READMEs say what there is, in both languages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [path.relative_to(ROOT).as_posix() for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])]
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


@pytest.mark.parametrize(
    "pages", [READMES, ["docs/quickstart.md", "docs/quickstart.zh-CN.md"]], ids=lambda pages: pages[0]
)
def test_both_languages_say_the_same(pages: list[str]) -> None:
    """They show the same excerpts and the same code, and have as many sections."""
    english, chinese = ((ROOT / page).read_text() for page in pages)
    assert excerpts(pages[0]) == excerpts(pages[1])
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

"""The pages lead where they say, are in the site's navigation, and are no older than what they are made from."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest
import yaml

from hotlap.cli import app
from hotlap.cli import docs as commands
from hotlap.diagnose.docs import anchor
from hotlap.diagnose.rules import everything

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MARKDOWN = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])

_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", MARKDOWN, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files that a page links to exist, and so do the headings in them."""
    for target, heading in _LINK.findall(_CODE.sub("", page.read_text())):
        there = page.parent / target if target else page
        assert there.exists(), f"{name(page)} links to {target}"
        assert not heading or heading in headings(there), f"{name(page)} links to {target}#{heading}"


def headings(page: Path) -> set[str]:
    """What the headings of a page can be linked by."""
    return {anchor(text) for text in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("page", MARKDOWN, ids=name)
def test_commands_exist(page: Path) -> None:
    """Every command of hotlap that a page shows exists, with its options."""
    text = page.read_text()
    blocks = "\n".join(re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
    shown = re.findall(r"`(hotlap [^`\n]+)`", text) + re.findall(r"^(hotlap .+)$", blocks, re.MULTILINE)
    for line in shown:
        words = shlex.split(line, comments=True)[1:]
        own = words[: words.index("--")] if "--" in words else words
        assert own[0] in app or own[0] == "COMMAND", f"{name(page)}: {line}"
        known = {"--help", "--version"}
        if own[0] in app and not own[0].startswith("-"):
            known |= {each for argument in app[own[0]].assemble_argument_collection() for each in argument.names}
        options = {word.partition("=")[0] for word in own if re.match(r"--?[a-z]", word)}
        assert options <= known, f"{name(page)}: {line}"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name)
def test_headings_differ(page: Path) -> None:
    """No two headings of a page have the same anchor."""
    found = [anchor(text) for text in re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text()), re.MULTILINE)]
    assert len(found) == len(set(found))


def test_every_page_is_in_the_navigation() -> None:
    """And nothing is in it that is not there."""
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    named = set(navigation())
    folders = {entry for entry in named if entry.endswith("/")}
    assert named - folders <= there
    assert all((DOCS / folder).is_dir() for folder in folders)
    left_out = {page for page in there - named if not page.startswith(tuple(folders))}
    assert not left_out, "name them in mkdocs.yml, under nav"


def navigation() -> list[str]:
    """Every entry of mkdocs.yml's navigation."""

    class Loader(yaml.SafeLoader):
        """Reads what stands in the file; what Python would make of a tag is left out."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)
    waiting = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]
    found = []
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, str):
            found.append(entry)
        else:
            waiting += entry.values() if isinstance(entry, dict) else entry
    return found


def test_every_command_has_its_page() -> None:
    """docs/commands is what ``make pages`` writes: a page for each command, and none of others."""
    made = commands.pages()
    assert {f"{command}.md" for command in app if not command.startswith("-")} | {"index.md"} == made.keys()
    assert {path.name: path.read_text() for path in commands.FOLDER.glob("*.md")} == made, "run `make pages`"


def test_help_of_a_command_becomes_a_page() -> None:
    """Defaults, choices and what is required have their places; a bar does not end a cell."""
    page = commands.pages()["tune.md"]
    assert "| `--budget STR` | Time for all of it, e.g. 90s, 2m30s, 1h. | `10m` |" in page
    assert "One of `local`, `ray`. | `local` |" in page
    assert "```bash\nhotlap tune configs/restoration.yaml\nhotlap tune -- python train.py --config my.yaml\n```" in page
    assert "[default:" not in "".join(commands.pages().values())
    required = r"^\| `CONFIG` \| The configuration;.* \| \*required\* \|$"
    assert re.search(required, commands.pages()["train.md"], re.MULTILINE)


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[dict[str, ModuleType]]:
    """The scripts that write pages, which find one another beside themselves."""
    folder, before = str(ROOT / "benchmarks"), set(sys.modules)
    sys.path.insert(0, folder)
    yield {script: importlib.import_module(script) for script in ("pages", "claims", "figures", "recording")}
    sys.path.remove(folder)
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(folder):
            del sys.modules[module]


def test_what_was_measured_is_up_to_date(benchmarks: dict[str, ModuleType]) -> None:
    """docs/claims.md and docs/symptoms.md show the committed results."""
    for page, text in benchmarks["pages"].pages().items():
        assert (DOCS / page).read_text() == text, "run `make pages`"


def test_recording_is_of_the_committed_demo(benchmarks: dict[str, ModuleType]) -> None:
    """The picture shows every line of it, and fetches nothing."""
    recording = benchmarks["recording"]
    output = (recording.RESULTS / "demo.txt").read_text()
    picture = recording.PICTURE.read_text()
    assert picture == recording.recording(output), "run `make pages`"
    assert len(re.findall(r"<text ", picture)) >= sum(bool(line) for line in output.splitlines())
    assert re.findall(r"https?://[^\"' ]+", picture) == ["http://www.w3.org/2000/svg"]


def test_verdicts_follow_from_what_was_measured(benchmarks: dict[str, ModuleType]) -> None:
    """An interval above 1 makes a claim hold, one around 1 shows nothing, and one below the gain contradicts it."""
    claims, figures = benchmarks["claims"], benchmarks["figures"]
    pairs = {"fast": [1.4, 1.5, 1.6] * 3, "open": [0.8, 1.1, 1.4] * 3, "none": [0.8, 0.9, 0.95] * 3}
    known = {"lever": {lever: figures.effect(ratios, 0.95) for lever, ratios in pairs.items()}}

    def verdict(**said: object) -> str:
        return str(claims.Claim(point="A0", says="", found="", **said).judged(known))

    assert verdict(faster="lever[fast]") == "holds"
    assert verdict(faster="lever[open]") == "not shown"
    assert verdict(faster="lever[none]") == "does not hold"
    assert verdict(slower="lever[none]") == "holds"
    assert verdict(slower="lever[fast]") == "does not hold"
    assert verdict(faster="lever[fast]", least=2.0) == "does not hold"
    assert verdict(verdict="not measured") == "not measured"


def test_symptoms_name_findings_that_exist() -> None:
    """Every code on the page is one of the catalogue; each of the guide's six symptoms is there."""
    text = (DOCS / "symptoms.md").read_text()
    named = set(re.findall(r"\[([A-Z]+\d\d)\]\(findings\.md", text))
    assert len(named) > 50
    assert named <= {entry.code for entry in everything()}
    for symptom in ("memory grows", "gpu is idle", "forward pass is slow", "training is slow", "cache is hit", "nan"):
        assert symptom in text.lower()


def test_quickstart_finds_what_is_slow(tmp_path: Path) -> None:
    """The first command of the quickstart, on its script: the step waits for data."""
    shutil.copy(DOCS / "examples" / "train.py", tmp_path)
    words = ["profile", "--steps", "30", "--json", "--", sys.executable, "train.py"]
    done = subprocess.run(
        [sys.executable, "-m", "hotlap", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "DATA01" in [finding["code"] for finding in json.loads(done.stdout)["diagnosis"]["findings"]]


class Fetched(HTMLParser):
    """What a browser fetches when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon", "preconnect"):
            self.addresses.append(given.get("href") or "")


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="`make docs` installs mkdocs")
def test_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    """Without a warning; every page, and what it fetches lies in the site itself."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in DOCS.rglob("*.md"):
        assert (tmp_path / page.relative_to(DOCS).with_suffix(".html")).is_file()
    for page in tmp_path.rglob("*.html"):
        fetched = Fetched()
        fetched.feed(page.read_text())
        for address in filter(None, fetched.addresses):
            assert not urlsplit(address).netloc, f"{page.name} fetches {address}"
    assert not [path for path in tmp_path.rglob("*.css") if re.search(r"url\(['\"]?https?:", path.read_text())]

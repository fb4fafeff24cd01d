"""What `make docs` does beyond MkDocs: folders in the navigation, and files of the repository that pages link to.

A page may link to a file outside of docs/, as `../benchmarks/results/apt.md`. Such a file becomes a part of the site at
its path in the repository, and the link is written anew.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

#: The target of a link, up to its heading.
_TARGET = re.compile(r"(?<=\]\()(?!https?:)([^)#\s]+)")


def on_config(config: Any) -> Any:
    """Write out the folders of the navigation."""
    config.nav = [_written_out(entry) for entry in config.nav]
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add what the navigation and the links of pages name outside of docs/."""
    wanted = {path for path in _named(config.nav) if path.startswith("benchmarks/")}
    for file in files.documentation_pages():
        for match in _TARGET.finditer(file.content_string):
            path = _outside(match[1], file.src_uri)
            if path is not None:
                wanted.add(path)
    for path in sorted(wanted):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let links to such files lead to where they are in the site."""
    here = page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        path = _outside(match[1], here)
        return match[1] if path is None else posixpath.relpath(path, posixpath.dirname(here) or ".")

    return _TARGET.sub(moved, markdown)


def _outside(target: str, page: str) -> str | None:
    """The path in the repository of a file outside of docs/ that a page links to; None where it is no such file."""
    path = Path(os.path.normpath(DOCS / Path(page).parent / target))
    return path.relative_to(ROOT).as_posix() if path.is_file() and not path.is_relative_to(DOCS) else None


def _written_out(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {title: _written_out(inside) for title, inside in entry.items()}
    if isinstance(entry, list):
        return [_written_out(each) for each in entry]
    if not entry.endswith("/"):
        return entry
    folder = Path(os.path.normpath(DOCS / entry))
    base = DOCS if folder.is_relative_to(DOCS) else ROOT
    return [path.relative_to(base).as_posix() for path in sorted(folder.rglob("*.md"), key=_place)]


def _place(path: Path) -> tuple[Path, bool, str]:
    """By folders, the page about a folder first."""
    return path.parent, path.name != "index.md", path.name


def _named(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [path for each in (entry.values() if isinstance(entry, dict) else entry) for path in _named(each)]

"""``python -m hotlap.cli.docs`` writes docs/commands/, one page a command, from what ``--help`` says.

commands of the application ──> their docstrings, usage lines and parameters ──> {file name: page in Markdown}
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.cli import app
from hotlap.records import write_whole

if TYPE_CHECKING:
    from cyclopts.argument import Argument

FOLDER = Path(__file__).parents[3] / "docs" / "commands"

_MADE = "Made from what the commands themselves say by `python -m hotlap.cli.docs`"
#: Pages that say more than the help, beside docs/commands.
_GUIDES = {
    "compare": {"../method.md": "How a claim is made"},
    "estimate": {"../estimate.md": "Will it fit", "../data.md#before-it-runs": "The data side, before it runs"},
    "explain": {"../findings.md": "Findings", "../symptoms.md": "Recipes by symptom"},
    "export": {"../exports.md": "Exports"},
    "lint": {"../configurations.md": "Configurations before they run"},
    "optimize": {"../configurations.md#a-copy-for-this-machine-hotlap-optimize": "Configurations before they run"},
    "profile": {"../profile.md": "Where the time goes", "../findings.md": "Findings"},
    "read": {"../logs.md": "Logs", "../traces.md": "Traces of torch.profiler"},
    "report": {"../report.md": "The report"},
    "run": {"../tune.md#what-you-get": "What makes it faster"},
    "train": {"../trainings.md": "Trainings to try it on"},
    "tune": {"../tune.md": "What makes it faster", "../changes.md": "Changes", "../method.md": "How a claim is made"},
    "verify": {"../trainings.md": "Trainings to try it on"},
    "watch": {"../watch.md": "Watching a training"},
}


def pages() -> dict[str, str]:
    """Return the pages by the names of their files."""
    names = [name for name in app if not name.startswith("-")]
    return {"index.md": _index(names)} | {f"{name}.md": _page(name) for name in names}


def _index(names: list[str]) -> str:
    rows = "".join(f"| [`hotlap {name}`]({name}.md) | {_words(name)[0]} |\n" for name in names)
    return (
        "# Commands\n\n"
        "`--` separates hotlap's own options from the training command. [Output, exit codes and files](../output.md) "
        "are the same for all.\n\n"
        f"| command | what it does |\n|---|---|\n{rows}\n{_MADE}; `hotlap COMMAND --help` prints it.\n"
    )


def _page(name: str) -> str:
    groups = _groups(name)
    parts = [f"# hotlap {name}", _words(name)[0], f"```text\n{_usage(name, groups)}\n```", *_paragraphs(name)]
    for title, arguments in groups.items():
        parts += [f"## {title}", _table(arguments)]
    if name in _GUIDES:
        links = ", ".join(f"[{title}]({link})" for link, title in _GUIDES[name].items())
        parts.append(f"More about it: {links}.")
    parts.append(f"{_MADE}; `hotlap {name} --help` prints it.")
    return "\n\n".join(parts) + "\n"


def _words(name: str) -> list[str]:
    """The paragraphs of a command's docstring, without the section of its parameters."""
    text = inspect.cleandoc(app[name].help or "").partition("\nParameters\n---")[0]
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()] or [f"hotlap {name}"]


def _paragraphs(name: str) -> list[str]:
    """What follows the first sentence; paragraphs that are nothing but a command become blocks of code."""
    found: list[str] = []
    for text in _words(name)[1:]:
        command = re.fullmatch(r"`([^`]+)`", text)
        line = "" if command is None else f"{' '.join(command[1].split())}\n```"
        if line and found and found[-1].startswith("```bash"):
            found[-1] = found[-1].removesuffix("```") + line
        else:
            found.append(f"```bash\n{line}" if line else text)
    return found


def _usage(name: str, groups: dict[str, list[Argument]]) -> str:
    told = inspect.cleandoc(app[name].usage or "").removeprefix("Usage: ")
    if told:
        return "\n".join(line.strip() for line in told.splitlines())
    words = [each.names[0] if each.required else f"[{each.names[0]}]" for each in groups.get("Arguments", [])]
    return " ".join(["hotlap", name, *words, "[OPTIONS]"])


def _groups(name: str) -> dict[str, list[Argument]]:
    """The parameters that help shows, by the titles of their groups: arguments first, then common options."""
    found: dict[str, list[Argument]] = {"Arguments": [], "Options": []}
    for argument in app[name].assemble_argument_collection(parse_docstring=True):
        if argument.show:
            group: Any = argument.parameter.group
            title = group[0].name if group else "Parameters"
            found.setdefault("Options" if title == "Parameters" else title, []).append(argument)
    return {title: arguments for title, arguments in found.items() if arguments}


def _table(arguments: list[Argument]) -> str:
    rows = [_row(argument) for argument in arguments]
    return "\n".join(["| | what for | default |", "|---|---|---|", *rows])


def _row(argument: Argument) -> str:
    words = " ".join((argument.parameter.help or "").split())
    told = re.search(r"\s*\[default: (.+?)\]$", words)
    if told:
        words = words[: told.start()]
    default = _default(told[1] if told else argument.field_info.default)
    choices = argument.get_choices()
    if choices:
        words += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    names = ", ".join(f"`{each}{_value(argument)}`" for each in argument.names)
    if argument.required:
        default = "*required*"
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (names, words, default)) + " |"


def _value(argument: Argument) -> str:
    """What stands after the name of an option, as help has it."""
    tokens, several = argument.token_count()
    if not argument.names[0].startswith("-") or not tokens:
        return ""
    if argument.get_choices():
        return " CHOICE"
    types = str(argument.hint)
    return f" {'PATH' if 'Path' in types else 'INT' if 'int' in types else 'STR'}{'...' * several}"


def _default(value: object) -> str:
    if value is inspect.Parameter.empty or value is None or value is False:
        return ""
    return str(value) if " " in str(value) else f"`{value}`"


def main() -> None:
    """Write all pages, and take away those of commands that are no more."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for path in FOLDER.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        write_whole(FOLDER / name, text)


if __name__ == "__main__":
    main()

"""The words of a command: which set a value, and how another is set."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.tune.arguments import added, arguments, declared, ranks, replaced, split, value_of

SCRIPT = """\
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", "-b", type=int, default=16)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--amp", action="store_true")
parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--name", default="x")
parser.add_argument("rest", nargs=argparse.REMAINDER)
"""


def parsed(words: list[str]) -> dict[str, Any]:
    """What the script itself makes of its words."""
    scope: dict[str, Any] = {"argparse": argparse}
    exec(SCRIPT, scope)
    return dict(vars(scope["parser"].parse_args(words)))


WORDS = st.lists(
    st.sampled_from(["--batch-size=4", "--batch-size 8", "-b 2", "--lr 1e-3", "--amp", "--no-compile", "--name=a=b"]),
    max_size=4,
    unique=True,
)
NEW = st.sampled_from(
    [("batch_size", 3), ("lr", 0.25), ("amp", True), ("amp", False), ("compile", True), ("compile", False)]
)


@given(WORDS, NEW, st.sampled_from([[], ["more", "--lr", "9"]]))
def test_the_parser_reads_the_new_value_and_all_others_as_before(
    given_words: list[str], new: tuple[str, Any], rest: list[str]
) -> None:
    """Replaced where it stands, added where it does not, before the words that take all that follows."""
    name, value = new
    words = ["python", "train.py", *" ".join(given_words).split(), *rest]
    flags = declared(SCRIPT)
    flag = flags[f"--{name.replace('_', '-')}"]
    own = arguments(words, 2, len(words) - len(rest), flags)
    present = [argument for argument in own if argument.name in flag.names]
    if name == "compile" and "--no-compile" in given_words:
        return  # its own form of the flag, which is no name that was declared
    changed = replaced(words, present[-1], value) if present else added(words, flag, value)
    assert parsed(changed[2:]) == {**parsed(words[2:]), name: value}


@pytest.mark.parametrize(
    ("words", "script"),
    [
        ("python train.py --lr 1", 1),
        ("./train.py --lr 1", 0),
        ("torchrun --nproc_per_node 2 train.py --lr 1", 3),
        ("python -m project.train --lr 1", 2),
        ("python -m torch.distributed.run --nproc-per-node=2 train.py --lr 1", 4),
        ("lightning fit --lr 1", 0),
    ],
)
def test_where_the_trainings_own_words_begin(words: str, script: int) -> None:
    """After the script, the module or the program; what stands before is the launcher's."""
    assert split(words.split()) == script


def test_how_many_ranks_there_are() -> None:
    """By the launcher's words; a number that only the machine knows counts as one."""
    assert ranks(["torchrun", "--nproc_per_node=3", "train.py", "--nproc_per_node=5"]) == 3
    assert ranks(["torchrun", "--nproc-per-node", "gpu", "train.py"]) == 1
    assert ranks(["python", "train.py"]) == 1


def test_values_in_words() -> None:
    """As a parser would read them most likely."""
    assert [value_of(text) for text in (None, "True", "3", "3e-4", "none", "[1,2]", "bf16")] == [
        True,
        True,
        3,
        3e-4,
        None,
        [1, 2],
        "bf16",
    ]


def test_a_script_that_cannot_be_read_declares_nothing() -> None:
    """Nor one with several parsers, of which one may not take the flag."""
    assert declared("this is not Python") == {}
    assert declared(SCRIPT + "other = argparse.ArgumentParser()\n") == {}
    assert declared(SCRIPT + "parser.add_subparsers()\n") == {}

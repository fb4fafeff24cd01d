"""Which line of the output says why a training failed."""

from __future__ import annotations

import pytest

from hotlap.launch.ending import Exit, last_words, outcome_of
from hotlap.launch.plan import Limits

_CHAIN = "Traceback\nKeyError: 'lr'\nDuring handling of the above exception:\nconfig.ConfigError: no lr\nsaving logs"
_RANKS = """[rank1]: Traceback (most recent call last):
[rank1]: ValueError: lost
[rank0]: RuntimeError: Connection closed by peer
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
====="""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "it printed nothing"),
        ("loading\nSegmentation fault\n\n", "its last line was: Segmentation fault"),
        (_CHAIN, "config.ConfigError: no lr"),
        (_RANKS, "ValueError: lost"),
        ("train.py:3: UserWarning: old\ndone", "its last line was: done"),
        ("torch.OutOfMemoryError: CUDA out of memory.\n", "torch.OutOfMemoryError: CUDA out of memory."),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("\x1b[1;31mValueError:\x1b[0m no data\nbye\n", "ValueError: no data"),
        ("\x1b]0;training\x07\x1b[2K\x1b[32mready\x1b[m\n", "its last line was: ready"),
        ("x" * 1000, "its last line was: " + "x" * 300),
    ],
)
def test_last_words(output: str, words: str) -> None:
    """The exception counts, in a chain the last one, among ranks that of the first to fail."""
    assert last_words(output) == words


@pytest.mark.parametrize(
    ("for_memory", "outcome"), [(True, "out_of_memory"), (None, "out_of_memory"), (False, "crashed")]
)
def test_killed(for_memory: bool | None, outcome: str) -> None:
    """SIGKILL is for want of memory unless the kernel counted no such case."""
    end = Exit(exit=-9, peak=None, reason=None, ended=0.0)
    found, why = outcome_of(end, [], "", Limits(), for_memory)
    assert found == outcome
    assert "SIGKILL" in str(why)

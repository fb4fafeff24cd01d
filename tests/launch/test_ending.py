"""Which line of the output says why a training failed."""

from __future__ import annotations

import pytest

from hotlap.launch.ending import last_words

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
        ("loading\nSegmentation fault\n\n", "Segmentation fault"),
        (_CHAIN, "config.ConfigError: no lr"),
        (_RANKS, "ValueError: lost"),
        ("train.py:3: UserWarning: old\ndone", "done"),
        ("torch.OutOfMemoryError: CUDA out of memory.\n", "torch.OutOfMemoryError: CUDA out of memory."),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_last_words(output: str, words: str) -> None:
    """The exception counts, in a chain the last one, among ranks that of the first to fail."""
    assert last_words(output) == words

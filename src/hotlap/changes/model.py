"""A smaller model, or less of each picture, where the configuration has keys for it. Another training, always.

The depths and windows are those that the makers of the VRT training chose for themselves: for eight stages of
[8,8,8,8,4,4,4,8] blocks, conservative [8,7,8,8,4,4,4,6] and aggressive [8,6,6,8,4,4,4,4]; windows of 8, 7 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator

from hotlap.changes.situation import Situation
from hotlap.records import Change

#: Blocks fewer in each of the eight stages.
_FEWER_BLOCKS = {"conservative": (0, 1, 0, 0, 0, 0, 0, 2), "aggressive": (0, 2, 2, 0, 0, 0, 0, 4)}
_WINDOWS = (8, 7, 6)
_SMALLEST_PATCH = 32
_CHUNKS = {
    "fuse_chunk_size": "chunk of the fusion",
    "spike_chunk_size": "chunk of the spike attention",
    "max_batch_tokens": "tokens in a chunk",
}
#: Keys that alter the samples, and with them what a loss of so much means.
_DATA = ("patch_size", "crop_size")
_COMPUTING = ("forward", "loss", "backward", "recompute")


def propose(situation: Situation) -> list[Change]:
    return [*_depths(situation), *_windows(situation), *_patches(situation), *_chunks(situation)]


def _change(situation: Situation, key: str, value: object, title: str, note: str, spelled: str | None = None) -> Change:
    return Change(
        name=key,
        value=spelled or str(value),
        title=title,
        numerics="trajectory",
        alters_loss=key in _DATA,
        edits={key: value},
        bound=situation.bound(*_COMPUTING),
        note=note,
    )


def _depths(situation: Situation) -> Iterator[Change]:
    depths = situation.key("depths")
    if not isinstance(depths, list) or len(depths) != 8:
        return
    for name, fewer in _FEWER_BLOCKS.items():
        smaller = [max(1, depth - less) for depth, less in zip(depths, fewer, strict=True)]
        if smaller != depths:
            title = f"{name} depths {smaller}"
            yield _change(
                situation,
                "depths",
                smaller,
                title,
                f"{sum(depths) - sum(smaller)} of {sum(depths)} blocks fewer: a smaller model, which older checkpoints "
                "do not fit",
                name,
            )


def _windows(situation: Situation) -> Iterator[Change]:
    window = situation.key("window_size")
    for smaller in _WINDOWS if window in _WINDOWS else ():
        if smaller < window:
            note = f"attention sees {smaller} instead of {window} pixels: another model, and sizes must fit it"
            yield _change(situation, "window_size", smaller, f"attention windows of {smaller}", note)


def _patches(situation: Situation) -> Iterator[Change]:
    size = situation.key("patch_size")
    if isinstance(size, int) and size % 2 == 0 and size // 2 >= _SMALLEST_PATCH:
        note = "a quarter of the pixels in a sample, and less of a picture to learn from; meant for the beginning"
        yield _change(situation, "patch_size", size // 2, f"patches of {size // 2} pixels", note)


def _chunks(situation: Situation) -> Iterator[Change]:
    for key, what in _CHUNKS.items():
        size = situation.key(key)
        if isinstance(size, int) and size > 0:
            note = "more memory at once; attention in other pieces may be other attention"
            yield _change(situation, key, 2 * size, f"{what}: {2 * size}", note)

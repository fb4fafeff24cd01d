"""The network of VRT-Spike: its windows and its chunks against the crop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from hotlap.diagnose.lint.base import ConfigRule, Setup
from hotlap.records import ConfigFinding

#: Stages 1 to 7 by how often their pictures were halved; all that follow are at full size.
_HALVED = (0, 1, 2, 3, 2, 1, 0)
#: The network fills a crop up to a multiple of it.
_MULTIPLE = 8
#: Of the positions that windows hold.
_WASTED = 0.05


class PaddedWindows(ConfigRule):
    code = "CONFIG19"
    title = "Windows of attention reach beyond the crop"
    meaning = (
        "Attention is computed in windows. Where a picture is no multiple of the window it is filled up, at every "
        "scale that the network goes down to (1, 1/2, 1/4, 1/8), and the positions that were added are computed like "
        "the others. A picture that is smaller than a window is one window, and is not filled up."
    )
    evidence_needed = (
        "`patch_size` and `window_size` at each scale, weighted by the blocks of the stages there. More than 5 % of "
        "added positions is a finding."
    )
    remedy = "A crop that is a multiple of the window at every scale, or a window that divides it."
    limits = (
        "Positions are counted, not time: attention sees them, and the layers between do not. Another window or crop "
        "is another training."
    )

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        window, depths, patch = setup.get("window_size"), setup.get("depths"), setup.get("patch_size")
        if setup.workload != "vrt_spike" or not window or not depths or not patch:
            return
        for crop in [patch] if isinstance(patch, int) else dict.fromkeys(patch.values()):
            added = _added(crop, window, depths)
            if added <= _WASTED:
                continue
            sides = [_multiple(crop, _MULTIPLE) >> halved for halved in range(4)]
            filled = [side if side <= window else _multiple(side, window) for side in sides]
            near = [side for side in range(_MULTIPLE, 1025, _MULTIPLE) if _added(side, window, depths) == 0]
            below = max((side for side in near if side < crop), default=None)
            above = min((side for side in near if side > crop), default=None)
            crops = " or ".join(str(side) for side in (below, above) if side)
            windows = [size for size in (8, 7, 6) if _added(crop, size, depths) == 0]
            yield self.finding(
                setup,
                [
                    f"A crop of {crop} is {_listed(sides)} pixels at the scales of the network; windows of {window} "
                    f"make that {_listed(filled)}: {100 * added:.0f} % more positions, by the blocks at each scale."
                ],
                "So much more is computed in attention, for nothing.",
                {"window_size": windows[0]} if windows else {"patch_size": above or below},
                (f"Or {setup.place('patch_size')}: {crops}. " if windows else f"All that fit near it: {crops}. ")
                + "Either is another training.",
            )


def _added(crop: int, window: int, depths: Sequence[int]) -> float:
    """Positions that windows add, as a share of those that there are, over all blocks."""
    full = _multiple(crop, _MULTIPLE)
    there = held = 0
    for number, blocks in enumerate(depths):
        side = full >> (_HALVED[number] if number < len(_HALVED) else 0)
        there += blocks * side**2
        held += blocks * (side if side <= window else _multiple(side, window)) ** 2
    return held / there - 1


def _multiple(side: int, unit: int) -> int:
    return math.ceil(side / unit) * unit


def _listed(sides: Sequence[int]) -> str:
    return ", ".join(map(str, sides))


class TokensBeyondChunk(ConfigRule):
    code = "CONFIG20"
    title = "MAX_BATCH_TOKENS is more than CHUNK_SIZE lets through"
    meaning = (
        "A chunk is limited twice: CHUNK_SIZE bounds its side whatever the batch, MAX_BATCH_TOKENS bounds "
        "batch x frames x pixels. Where the chunk is already smaller than the tokens allow, more tokens change nothing."
    )
    evidence_needed = (
        "batch_size x frames x the pixels of a chunk, no larger than the crop, against MAX_BATCH_TOKENS where it was "
        "set to another value than its own."
    )
    remedy = "Raise CHUNK_SIZE with it; or leave MAX_BATCH_TOKENS as it is."
    limits = "Chunks bound what exists for a moment; what autograd keeps for backward is the same."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        patch = setup.get("patch_size")
        if setup.workload != "vrt_spike" or not patch or not setup.get("use_spikes"):
            return
        # Of one frame of a crop.
        crop = _multiple(patch if isinstance(patch, int) else max(patch.values()), _MULTIPLE)
        pictures = setup.get("batch_size") * setup.get("clip_length")
        for kind in ("fuse", "spike"):
            key, size = f"{kind}_max_batch_tokens", setup.get(f"{kind}_chunk_size")
            tokens = setup.get(key)
            side = min(size or crop, crop)
            most = pictures * side**2
            allowed = math.isqrt(tokens // pictures)
            if not setup.get(f"{kind}_adaptive_chunk") or not setup.chosen(key) or allowed <= side:
                continue
            if side == crop:
                remedy = {key: setup.defaults[key]}
                advice = f"The whole crop of {crop} is one chunk already: there is nothing to gain."
            else:
                remedy = {f"{kind}_chunk_size": min(allowed, crop)}
                advice = f"Or take {setup.place(key)} out."
            yield self.finding(
                setup,
                [
                    f"{setup.says(key)}; a chunk has at most {setup.get('batch_size')} x {setup.get('clip_length')} "
                    f"frames x {side} x {side} = {most} tokens, by {setup.says(f'{kind}_chunk_size')}."
                ],
                "It has no effect.",
                remedy,
                advice,
            )

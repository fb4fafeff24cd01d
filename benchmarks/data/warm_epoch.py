"""A warm epoch over PNG files: SampleCache beside no cache, and beside what else keeps samples.

    python benchmarks/data/warm_epoch.py [--rounds 7] [--shares 0.25,0.5,1]

240 pictures of 1280 x 720 as PNG, batches of 4, 2 workers that stay. At each budget every way has two epochs to fill,
then the ways take turns, an epoch each, in an order that rotates. Bytes are those of the whole node: where a way keeps
samples in each worker, half of it for each. Writes ``results/data/warm_epoch.json`` and ``.md``.

Peers, left out where they are not installed: stocaching (samples of one size in shared memory), diskcache (files), a
least-recently-used cache in each worker; and np.load of arrays that were decoded before, from the page cache.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from machine import RESULTS, circumstances, median_interval, sentence

from hotlap.data import SampleCache

PICTURES, HEIGHT, WIDTH = 240, 720, 1280
BYTES = 3 * HEIGHT * WIDTH
BATCH, WORKERS = 4, 2


class Decoded(Dataset[Tensor]):
    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as picture:
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


class LeastRecentlyUsed(Dataset[Tensor]):
    """As it is usually written: a dictionary in each worker."""

    def __init__(self, dataset: Dataset[Tensor], most: int) -> None:
        self.dataset, self.most = dataset, most
        self.kept: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return PICTURES

    def __getitem__(self, index: int) -> Tensor:
        if index in self.kept:
            self.kept.move_to_end(index)
            return self.kept[index]
        sample = self.dataset[index]
        self.kept[index] = sample
        if len(self.kept) * BYTES > self.most:
            self.kept.popitem(last=False)
        return sample


class Stocaching(Dataset[Tensor]):
    def __init__(self, dataset: Dataset[Tensor], most: int) -> None:
        from stocaching import SharedCache

        self.dataset = dataset
        self.cache = SharedCache(most / 2**30, PICTURES, (3, HEIGHT, WIDTH), torch.uint8)

    def __len__(self) -> int:
        return PICTURES

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
        return PICTURES

    def __getitem__(self, index: int) -> Tensor:
        sample = self.cache.get(index)
        if sample is None:
            decoded = self.dataset[index]
            if self.cache.volume() + BYTES <= self.most:
                self.cache.set(index, decoded.numpy())
            return decoded
        return torch.from_numpy(sample)


class Mapped(Dataset[Tensor]):
    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.npy"))

    def __len__(self) -> int:
        return PICTURES

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.load(self.files[index]))


def make_pictures(folder: Path) -> None:
    """Parts of real photographs, and the same decoded."""
    from skimage import data

    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.retina()]
    draw = random.Random(0)
    for number in range(PICTURES):
        photograph = Image.fromarray(photographs[number % len(photographs)])
        width = draw.randint(photograph.width // 2, photograph.width)
        height = min(photograph.height, width * HEIGHT // WIDTH)
        left, top = draw.randint(0, photograph.width - width), draw.randint(0, photograph.height - height)
        part = photograph.crop((left, top, left + width, top + height)).resize(
            (WIDTH, HEIGHT), Image.Resampling.BICUBIC
        )
        part.save(folder / f"{number:03}.png")
        np.save(folder / f"{number:03}.npy", np.ascontiguousarray(np.array(part).transpose(2, 0, 1)))


def ways(folder: Path, most: int, everything: bool) -> dict[str, Callable[[], Dataset[Tensor]]]:
    decoded = Decoded(folder)
    found: dict[str, Callable[[], Dataset[Tensor]]] = {
        "no cache": lambda: decoded,
        "SampleCache": lambda: SampleCache(decoded, (most + PICTURES * 128) / 2**30),
        "SampleCache, copy=False": lambda: SampleCache(decoded, (most + PICTURES * 128) / 2**30, copy=False),
        "LRU in each worker": lambda: LeastRecentlyUsed(decoded, most // WORKERS),
        "stocaching": lambda: Stocaching(decoded, most + PICTURES),
        "diskcache": lambda: OnDisk(decoded, most + PICTURES * 4096, folder / f"disk-{most}"),
    }
    return found | ({"np.load": lambda: Mapped(folder)} if everything else {})


def epoch(loader: DataLoader[Tensor]) -> float:
    began = time.perf_counter()
    for batch in loader:
        assert batch.shape == (BATCH, 3, HEIGHT, WIDTH)
    return time.perf_counter() - began


def measure(folder: Path, share: float, rounds: int) -> list[dict[str, Any]]:
    loaders: dict[str, DataLoader[Tensor]] = {}
    caches: dict[str, Dataset[Tensor]] = {}
    rows = []
    for name, make in ways(folder, int(share * PICTURES * BYTES), share == 1).items():
        try:
            caches[name] = make()
        except ImportError as error:
            rows.append({"way": name, "share": share, "failed": str(error)})
            continue
        options = {"num_workers": WORKERS, "persistent_workers": True}
        loaders[name] = DataLoader(caches[name], batch_size=BATCH, shuffle=True, **options)
        # To start, and to fill.
        epoch(loaders[name])
        epoch(loaders[name])
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    names = list(loaders)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(epoch(loaders[name]))
    for name, found in seconds.items():
        ratios = [base / each for base, each in zip(seconds["no cache"], found, strict=True)]
        against = [each / own for each, own in zip(found, seconds["SampleCache, copy=False"], strict=True)]
        rows.append(
            {
                "way": name,
                "share": share,
                "seconds": found,
                "faster": median_interval(ratios),
                "against_ours": median_interval(against),
            }
        )
        print(rows[-1], file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shares", default="0.25,0.5,1", help="of all pictures, that the budget holds")
    given = parser.parse_args()
    about = circumstances()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder)
        for share in map(float, given.shares.split(",")):
            rows += measure(folder, share, given.rounds)
    lines = [
        "# A warm epoch over PNG files",
        "",
        f"{PICTURES} pictures of {WIDTH} x {HEIGHT}, batches of {BATCH}, {WORKERS} workers; {given.rounds} epochs each",
        "in turns. Median of the ratios and its interval.",
        "",
        "| budget | way | seconds | times as fast as no cache | its time over that of SampleCache, copy=False |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {100 * row['share']:.0f} % | {row['way']} | {row['failed']} | | |")
            continue
        middle = median_interval(row["seconds"])[0]
        said = ["{:.2f} [{:.2f}, {:.2f}]".format(*row[key][:3]) for key in ("faster", "against_ours")]
        lines.append(f"| {100 * row['share']:.0f} % | {row['way']} | {middle:.2f} | {said[0]} | {said[1]} |")
    page = "\n".join([*lines, "", sentence(about), ""])
    place = RESULTS / "data"
    place.mkdir(exist_ok=True)
    (place / "warm_epoch.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    (place / "warm_epoch.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()

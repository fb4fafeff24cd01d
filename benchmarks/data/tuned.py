"""What the data side is worth to a script that knows nothing of it: `hotlap tune` of a training that decodes pictures.

    python benchmarks/data/tuned.py [--budget 5m]

A script of its own, with torch's loader and two workers: 240 pictures of 1280 x 720 as PNG (see ``warm_epoch``), crops
of 64 pixels at random places, a small network. The crop is drawn where samples are put together, so that the dataset's
samples are the same in every epoch. Asked: ``shared_samples`` is adopted, proven faster and the same training. Writes
``results/data/tuned.json`` and ``.md``. About 6 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from turns import circumstances, keep
from warm_epoch import PICTURES, make_pictures

from hotlap.records import Tuning

SCRIPT = '''"""A training on crops of pictures."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

SIDE = 64


class Pictures(Dataset):
    def __init__(self, folder):
        self.files = sorted(Path(folder).glob("*.png"))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        with Image.open(self.files[index]) as picture:
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def crops(pictures):
    found = []
    for picture in pictures:
        top = int(torch.randint(picture.shape[1] - SIDE, ()))
        left = int(torch.randint(picture.shape[2] - SIDE, ()))
        found.append(picture[:, top : top + SIDE, left : left + SIDE])
    return torch.stack(found).float() / 255


def main():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 3, 3, padding=1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(
        Pictures("pictures"), batch_size=8, shuffle=True, num_workers=2, persistent_workers=True, collate_fn=crops
    )
    for epoch in range(1000):
        for clean in loader:
            noisy = clean + 0.1 * torch.randn_like(clean)
            loss = nn.functional.mse_loss(noisy - model(noisy), clean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.5f}")


if __name__ == "__main__":
    main()
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="5m")
    given = parser.parse_args()
    about = circumstances()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        make_pictures(folder / "pictures", PICTURES)
        (folder / "train.py").write_text(SCRIPT)
        hotlap = [sys.executable, "-m", "hotlap", "tune", "--budget", given.budget, "--json"]
        command = [*hotlap, "--", sys.executable, "train.py"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, env=dict(os.environ), check=False)
    if done.returncode:
        sys.exit(done.returncode)
    tuning = msgspec.json.decode(done.stdout, type=Tuning)
    keep("tuned", about, figures(tuning), page(tuning, given.budget), small=False)


def figures(tuning: Tuning) -> dict[str, Any]:
    trials = [
        {"change": trial.change.id, "effect": msgspec.to_builtins(trial.effect), "kept": trial.kept, "why": trial.why}
        for trial in tuning.trials
    ]
    return {
        "adopted": [change.id for change in tuning.adopted],
        "judgement": tuning.judgement,
        "effect": msgspec.to_builtins(tuning.effect),
        "same_training": msgspec.to_builtins(tuning.same_training),
        "seconds": tuning.seconds,
        "trials": trials,
    }


def page(tuning: Tuning, budget: str) -> list[str]:
    lines = [
        "# A script that knows nothing of the cache",
        "",
        f"{PICTURES} pictures of 1280 x 720 as PNG, two workers, batches of 8; `hotlap tune --budget {budget}`.",
        "",
    ]
    effect, same = tuning.effect, tuning.same_training
    if effect is not None:
        found = f"{effect.ratio:.2f}x [{effect.low:.2f}, {effect.high:.2f}], {effect.n} pairs of fresh processes"
        lines += [
            f"{tuning.judgement}: {found}, with {', '.join(change.id for change in tuning.adopted) or 'nothing'}.",
            "",
        ]
    if same is not None:
        lines += [f"The same training: {same.same} ({same.evidence}).", ""]
    lines += ["| tried | times as fast | pairs | kept |", "|---|---|---|---|"]
    for trial in tuning.trials:
        if trial.effect is not None:
            lines.append(
                f"| {trial.change.id} | {trial.effect.ratio:.2f} [{trial.effect.low:.2f}, {trial.effect.high:.2f}] | "
                f"{trial.effect.n} | {'yes' if trial.kept else 'no'} |"
            )
    return lines


if __name__ == "__main__":
    main()

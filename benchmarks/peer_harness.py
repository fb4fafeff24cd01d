"""Gives the models of ``scripts`` to the peers that want a model in hand; ``peers.py`` runs it in their environment.

    python peer_harness.py autotune SCRIPT [BUDGET]     pytorch_autotune.autotune(...)
    python peer_harness.py lightning SCRIPT             lightning.pytorch.tuner.Tuner(...).scale_batch_size(...)

The last line of stdout is the result as JSON. Each gets what the script trains with: its model, its data, its loss, its
optimizer and its batch. On a CPU the batch finder cannot see that memory is out, so the process gets a limit at which
an allocation fails, as it would on a GPU.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, default_collate

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

#: Of the machine's memory that the batch finder may use.
MEMORY_SHARE = 0.9
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass
class Parts:
    """What a script trains with."""

    dataset: Any
    model: Any
    optimizer: Callable[[Any], Any]
    #: Batch to (arguments of the model, what the loss is computed with).
    split: Callable[[Any], tuple[tuple[Any, ...], Any]]
    loss: Callable[[Any, Any], Any]
    batch_size: int
    accumulation: int = 1


def _pair(batch: Any) -> tuple[tuple[Any, ...], Any]:
    return (batch[0],), batch[1]


def _tokens(output: Any, target: Any, **more: Any) -> Any:
    return F.cross_entropy(output.reshape(-1, output.size(-1)), target.reshape(-1), **more)


def parts(name: str) -> Parts:
    module: Any = importlib.import_module(name)
    torch.manual_seed(0)
    if name == "digits_deep":
        return Parts(
            module.get_data(),
            module.DeepNet(),
            lambda p: module.get_optimizer(p, 3e-4),
            _pair,
            F.cross_entropy,
            batch_size=32,
        )
    if name == "source_gpt":
        return Parts(
            module.CharDataset(128, 512),
            module.GPT(128),
            lambda p: torch.optim.AdamW(p, lr=6e-4, betas=(0.9, 0.95)),
            _pair,
            _tokens,
            batch_size=16,
        )
    if name == "unet_denoise":
        return Parts(
            module.NoisyPatches(), module.UNet(), lambda p: torch.optim.Adam(p, lr=1e-3), _pair, F.l1_loss, batch_size=8
        )
    if name == "rotations":
        pictures = Path(importlib.import_module("skimage").__file__ or "").parent / "data"
        return Parts(
            module.PngFolder(pictures),
            module.Net(),
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=5e-4),
            _pair,
            F.cross_entropy,
            batch_size=16,
        )
    if name == "dates_seq2seq":
        return Parts(
            module.DatePairs(),
            module.Seq2Seq(),
            lambda p: torch.optim.Adam(p, lr=5e-5),
            lambda batch: ((batch[0], batch[1][:, :-1]), batch[1][:, 1:]),
            lambda output, target: _tokens(output, target, ignore_index=module.PAD),
            batch_size=4,
            accumulation=8,
        )
    raise SystemExit(f"no parts of {name} are known here: add them to {__file__}")


def autotune(name: str, budget: str) -> dict[str, Any]:
    from pytorch_autotune import autotune as tune  # type: ignore[import-not-found]

    known = parts(name)
    known.model.train()
    arguments, target = known.split(default_collate([known.dataset[i] for i in range(known.batch_size)]))
    if len(arguments) == 1:
        example: Any = (arguments[0], target)
        loss: Callable[..., Any] = known.loss
    else:
        example = dict(zip(("source", "target"), arguments, strict=True))
        on_device = target.to(DEVICE)

        def loss(output: Any) -> Any:
            return known.loss(output, on_device)

    found = tune(
        known.model,
        example,
        loss_fn=loss,
        optimizer=known.optimizer,
        budget=int(budget) if budget.isdigit() else budget,
        device=DEVICE,
        cache=False,
    )
    best = found.report.winner
    return {"config": found.config.to_dict(), "speedup": best.speedup, "report": found.report.to_dict()}


def lightning(name: str) -> dict[str, Any]:
    import lightning.pytorch as pl
    from lightning.pytorch.tuner import Tuner

    known = parts(name)

    class Module(pl.LightningModule):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = known.model
            self.batch_size = known.batch_size

        def training_step(self, batch: Any, _: int) -> Any:
            arguments, target = known.split(batch)
            return known.loss(self.model(*arguments), target)

        def configure_optimizers(self) -> Any:
            return known.optimizer(self.model.parameters())

        def train_dataloader(self) -> Any:
            return DataLoader(known.dataset, batch_size=self.batch_size, shuffle=True)

    if DEVICE == "cpu":
        pages = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
        most = int(pages * MEMORY_SHARE)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            default_root_dir=folder,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            accumulate_grad_batches=known.accumulation,
        )
        found = Tuner(trainer).scale_batch_size(Module(), mode="power", init_val=known.batch_size)
    return {"batch_size": found, "was": known.batch_size}


if __name__ == "__main__":
    tool, script = sys.argv[1:3]
    result = autotune(script, *(sys.argv[3:] or ["balanced"])) if tool == "autotune" else lightning(script)
    print(json.dumps(result))

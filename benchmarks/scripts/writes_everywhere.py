"""A training that keeps everything in its own folder: checkpoints, event files, a table, a run folder like wandb's."""

import argparse
import csv
import json
import logging
import os
import random
import shutil
import sqlite3
import struct
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

HERE = Path(__file__).resolve().parent


class EventWriter:
    """Length, time, step, value: one record after the other, as TensorBoard does it."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"events.out.tfevents.{int(time.time())}.{os.getpid()}"

    def add_scalar(self, step, value):
        record = struct.pack("<dqf", time.time(), step, value)
        with open(self.path, "ab") as file:
            file.write(struct.pack("<Q", len(record)) + record)


def start_run(config):
    run = HERE / "wandb" / f"run-{time.strftime('%Y%m%d_%H%M%S')}-{random.getrandbits(40):010x}"
    (run / "files").mkdir(parents=True)
    (run / "files" / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in config.items()))
    shutil.copy(__file__, run / "files" / "train.py")
    latest = HERE / "wandb" / "latest-run"
    if latest.is_symlink():
        latest.unlink()
    latest.symlink_to(run.name)
    return run


def save(model, optimizer, step, keep):
    folder = HERE / "checkpoints"
    folder.mkdir(exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, folder / f"step_{step:06d}.pt")
    torch.save(state, folder / "last.pt.tmp")
    os.replace(folder / "last.pt.tmp", folder / "last.pt")
    for old in sorted(folder.glob("step_*.pt"))[:-keep]:
        old.unlink()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--save-every", type=int, default=20)
    parser.add_argument("--keep", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    (HERE / "logs").mkdir(exist_ok=True)
    logging.basicConfig(filename=HERE / "logs" / "train.log", level=logging.INFO)
    run = start_run(vars(args))
    events = EventWriter(HERE / "runs" / "training")
    database = sqlite3.connect(HERE / "experiments.db")
    database.execute("create table if not exists runs (name text, seed integer)")
    database.execute("insert into runs values (?, ?)", (run.name, args.seed))
    database.commit()

    cache = HERE / "cache" / "features.npy"
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        np.save(cache, np.random.default_rng(0).standard_normal((2048, 64), dtype=np.float32))
    features = torch.from_numpy(np.load(cache))
    labels = features[:, :10].argmax(1)
    loader = DataLoader(TensorDataset(features, labels), batch_size=64, shuffle=True)

    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    best, step = float("inf"), 0
    with open(HERE / "metrics.csv", "a", newline="") as table:
        rows = csv.writer(table)
        while step < args.steps:
            for x, y in loader:
                loss = F.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                if step % 10 == 0:
                    value = loss.item()
                    rows.writerow([step, value])
                    events.add_scalar(step, value)
                    logging.info("step %d loss %.4f", step, value)
                    with open(run / "files" / "history.jsonl", "a") as history:
                        history.write(json.dumps({"step": step, "loss": value}) + "\n")
                    if value < best:
                        best = value
                        (HERE / "best.json").write_text(json.dumps({"step": step, "loss": best}))
                if step % args.save_every == 0:
                    save(model, optimizer, step, args.keep)
                if step == args.steps:
                    break
    (run / "files" / "summary.json").write_text(json.dumps({"loss": loss.item()}))
    print(f"final loss {loss.item():.6f}")


if __name__ == "__main__":
    main()

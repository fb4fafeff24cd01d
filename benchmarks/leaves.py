"""Do the leaves of all steps add up to what a stopwatch outside the probe shows?

    python benchmarks/leaves.py [--repeats N]

    script      |---- its own stopwatch: from before the loop to after the last optimizer step ----|
    probe           |step 0|step 1| ...                                            |step n|
                 ^^^ before the first step                                                  ^ after the last

Three trainings: the trainer of hotlap (two micro-batches a step, validation, checkpoints), a plain loop with
accumulation, a loop with validation inside. The stopwatch is in the script, around its loop, and knows nothing of
steps. The figure is the sum of all leaves less the stopwatch, in per cent of the stopwatch; what lies at the two
edges counts against us. Writes ``results/leaves.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec
from machine import RESULTS, circumstances, sentence

from hotlap.launch import Plan, Training
from hotlap.records import write_whole

_PRELUDE = """
import sys, time, torch
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(1)
torch.manual_seed(0)
def data(n): return TensorDataset(torch.randn(n, 256), torch.randn(n, 1))
model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.GELU(), torch.nn.Linear(256, 1))
optimizer = torch.optim.AdamW(model.parameters())
criterion = torch.nn.MSELoss()
loader, held_out = DataLoader(data(2048), batch_size=32, shuffle=True), DataLoader(data(640), batch_size=32)
"""

_ACCUMULATION = (
    _PRELUDE
    + """
start = time.perf_counter()
for epoch in range(16):
    for number, (x, y) in enumerate(loader):
        (criterion(model(x), y) / 4).backward()
        if number % 4 == 3:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
print("STOPWATCH", time.perf_counter() - start)
"""
)

_VALIDATION = (
    _PRELUDE
    + """
start = time.perf_counter()
for number in range(12):
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    if number == 11:
        break
    model.eval()
    with torch.no_grad():
        quality = sum(criterion(model(x), y).item() for x, y in held_out)
    model.train()
    print(number, quality)
    torch.save(model.state_dict(), sys.argv[1])
print("STOPWATCH", time.perf_counter() - start)
"""
)

#: The trainer has no stopwatch around its loop alone, so it gets one: what it asks for when its loop begins, and the
#: time of the last optimizer step.
_TRAINER = """
import sys, time, torch
from hotlap.train import loop, load_config
torch.set_num_threads(1)
times = []
begin = loop.Batches.__iter__
def watched(self):
    times.append(time.perf_counter())
    yield from begin(self)
loop.Batches.__iter__ = watched
tidy = torch.optim.AdamW.zero_grad
def after(self, *args, **kwargs):
    tidy(self, *args, **kwargs)
    times.append(time.perf_counter())
torch.optim.AdamW.zero_grad = after
loop.train(load_config(sys.argv[1]))
print("STOPWATCH", times[-1] - times[0])
"""
_CONFIG = """output_dir: {folder}/out
steps: 60
batch_size: 2
accumulation_steps: 2
patch_size: 32
base_channels: 8
num_blocks: 2
optimizer: adamw
log_every: 10
validate_every: 20
save_every: 20
device: cpu
"""


def difference(script: str, argument: str, directory: Path) -> tuple[float, int, float]:
    """Seconds of the stopwatch, steps, and the sum of all leaves less the stopwatch in per cent."""
    with Training([sys.executable, "-c", script, argument], directory, Plan()) as training:
        training.wait()
    run = training.run()
    output = (directory / "output.log").read_text()
    stopwatch = next(float(line.split()[1]) for line in output.splitlines() if line.startswith("STOPWATCH"))
    leaves = sum(sum(step.phases.values()) for step in run.steps)
    return stopwatch, len(run.steps), 100 * (leaves - stopwatch) / stopwatch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    about = circumstances()
    found: dict[str, list[tuple[float, int, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config.yaml"
        config.write_text(_CONFIG.format(folder=folder))
        scripts = {
            "hotlap's trainer": (_TRAINER, str(config)),
            "plain loop, 4 micro-batches a step": (_ACCUMULATION, ""),
            "loop with validation inside": (_VALIDATION, str(folder / "model.pt")),
        }
        for repeat in range(arguments.repeats):
            for number, (title, (script, argument)) in enumerate(scripts.items()):
                found.setdefault(title, []).append(difference(script, argument, folder / f"run{repeat}-{number}"))
                print(title, found[title][-1], file=sys.stderr)
    result = {
        **about,
        "trainings": {
            title: [{"stopwatch": seconds, "steps": steps, "difference_percent": off} for seconds, steps, off in runs]
            for title, runs in found.items()
        },
    }
    write_whole(RESULTS / "leaves.json", msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    rows = [
        f"| {title} | {runs[0][1]} | {min(s for s, _, _ in runs):.2f} to {max(s for s, _, _ in runs):.2f} | "
        f"{min((off for _, _, off in runs), key=abs):+.3f} % | {max((off for _, _, off in runs), key=abs):+.3f} % |"
        for title, runs in found.items()
    ]
    text = (
        "# Leaves and stopwatch\n\nSum of all leaves of all steps less a stopwatch around the training's loop, the "
        f"nearest and the farthest of {arguments.repeats} runs each.\n\n"
        "| training | steps | stopwatch, s | nearest | farthest |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\n{sentence(about)}\n"
    )
    write_whole(RESULTS / "leaves.md", text)
    print(text)


if __name__ == "__main__":
    main()

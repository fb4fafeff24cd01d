"""What hotlap and its peers say in the end, and how one trains with it.

hotlap             `hotlap run --with RESULT`          train-doctor   its patch, applied to a copy
pytorch-autotune   the lines that it stands for, in a copy of the script      Lightning   `--batch-size N`
"""

from __future__ import annotations

import difflib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hotlap.records import write_whole


@dataclass(frozen=True)
class Script:
    name: str
    what: str
    #: The line that makes the model, after which a person would put what pytorch-autotune says.
    model: str
    #: Trained in a launch that is compared: some twenty seconds of the unchanged script, of minutes.
    epochs: int
    batch_option: str = "--batch-size"


SCRIPTS = [
    Script("digits_deep", "AdamW without foreach over 324 small tensors", "    model = DeepNet()\n", 12),
    Script("source_gpt", "checkpointing with memory to spare", "    model = GPT(args.context)\n", 3, "--batch_size"),
    Script("unet_denoise", "fp32 convolutions", "    net = UNet().to(device)\n", 2),
    Script("rotations", "pictures decoded without workers", "    model = Net()\n", 8),
    Script("dates_seq2seq", "micro-batches of 4, a sync in each", "    model = Seq2Seq().to(device)\n", 4),
]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool says in the end."""

    tool: str
    version: str
    command: str
    seconds: float
    recommends: str
    #: The ratio of throughput that it claims; None where it claims none.
    claim: float | None = None
    #: Whether it says that the training stays the same; None where it does not say.
    same: bool | None = None
    #: What to launch instead of the script; "script" and "tuned.py" (made by ``tuned.patch``) are replaced. None where
    #: nothing is recommended.
    launch: list[str] | None = None
    failed: str | None = None


HOTLAP = [sys.executable, "-m", "hotlap"]


def hotlap(output: str, script: Script, work: Path, folder: Path) -> dict[str, Any]:
    found = json.loads(output)
    write_whole(folder / "result.json", json.dumps(found).encode())
    if not found["adopted"]:
        return {"recommends": "nothing"}
    return {
        "recommends": ", ".join(f"{each['name']}={each['value']}" for each in found["adopted"]),
        "claim": found["effect"]["ratio"],
        "same": found["same_training"]["same"],
        "launch": [*HOTLAP, "run", "--with", "result.json", "--", sys.executable, "script"],
    }


def train_doctor(output: str, script: Script, work: Path, folder: Path) -> dict[str, Any]:
    found = json.loads(output)
    proven = found.get("proven")
    if not proven:
        return {"recommends": "nothing"}
    claim = {
        "recommends": proven["describe"],
        "claim": proven["ratio"]["point"],
        "same": proven["loss_check"]["status"] in ("identical", "within tolerance"),
    }
    patch = (found.get("patch") or {}).get("patch_path")
    if not patch:
        return {**claim, "failed": f"it wrote no patch: {(found.get('patch') or {}).get('reason')}"}
    shutil.copy(work / patch, folder / "tuned.patch")
    return {**claim, "launch": [sys.executable, "tuned.py"]}


def autotune(output: str, script: Script, work: Path, folder: Path) -> dict[str, Any]:
    found = json.loads(output.splitlines()[-1])
    config = found["config"]
    if config["precision"] == "fp32_default" and config["compile"] == "off":
        return {"recommends": "nothing"}
    name = script.model.strip().partition(" =")[0]
    lines = []
    if config["precision"] != "fp32_default":
        # All its other precisions set these, on a GPU.
        lines.append("torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True")
    if config["channels_last"]:
        lines.append(f"{name} = {name}.to(memory_format=torch.channels_last)")
    if config["precision"].startswith("amp"):
        dtype = {"amp_bf16": "bfloat16", "amp_fp16": "float16"}[config["precision"]]
        lines.append(f"{name}.forward = torch.autocast('cpu', dtype=torch.{dtype})({name}.forward)")
    if config["compile"] != "off":
        mode = None if config["compile"] == "default" else config["compile"]
        lines.append(f"{name} = torch.compile({name}, mode={mode!r})")
    text = (work / f"{script.name}.py").read_text()
    indent = script.model[: len(script.model) - len(script.model.lstrip())]
    tuned = text.replace(script.model, script.model + "".join(f"{indent}{line}\n" for line in lines))
    diff = difflib.unified_diff(text.splitlines(keepends=True), tuned.splitlines(keepends=True), "script", "tuned")
    write_whole(folder / "tuned.patch", "".join(diff))
    return {
        "recommends": ", ".join(f"{key}={value}" for key, value in config.items() if value not in (False, "off")),
        "claim": found["speedup"],
        "launch": [sys.executable, "tuned.py"],
    }


def lightning(output: str, script: Script, work: Path, folder: Path) -> dict[str, Any]:
    found = json.loads(output.splitlines()[-1])
    size = found["batch_size"]
    if size in (None, found["was"]):
        return {"recommends": "nothing"}
    return {"recommends": f"batch size {size}", "launch": [sys.executable, "script", script.batch_option, str(size)]}


#: From what a tool printed, the script, the folder it ran in and the folder to keep, to the rest of its ``Verdict``.
UNDERSTAND = {"hotlap": hotlap, "train-doctor": train_doctor, "autotune": autotune, "lightning": lightning}

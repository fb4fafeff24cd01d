"""hotlap against its peers on scripts that nobody prepared: speed reached, time to the verdict, wrong claims.

    python benchmarks/peers.py --peers-venv /tmp/peers [--only SCRIPT]

Five scripts of ``scripts``; `hotlap tune`, `train-doctor fix`, pytorch-autotune and Lightning's batch-size finder, each
at its own defaults (hotlap with five minutes), one at a time. With what each of them recommends in the end is then
trained, for a few of the script's epochs: in every round the unchanged script, the same again, and each recommendation,
in an order that rotates, all with the round's seed. Two ratios are kept: of the whole process, and of the epochs after
the first third, which compilation and start-up do not touch. How one trains with it: ``peer_verdicts.py``.

A claim is wrong where these pairs exclude a gain of 2 %, or one as large as was claimed, or where the training was
called the same and its final losses differ from the unchanged ones (same seeds) by more than those do between seeds.

The peers' environment is made where it is missing. All is kept in ``results/peers/SCRIPT`` as it is measured, and the
same command goes on where it stopped: delete a script's folder to measure it anew. Writes all that is kept to
``results/peers.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import torch
from machine import RESULTS, circumstances, sentence
from peer_verdicts import HOTLAP, SCRIPTS, UNDERSTAND, Script, Verdict

from hotlap.records import write_whole
from hotlap.tune.guard import compare_trainings
from hotlap.tune.statistics import effect, judge

HERE = Path(__file__).resolve().parent
KEPT = RESULTS / "peers"
PINNED = ["train-doctor==0.2.0", "pytorch-autotune==2.0.0", "lightning==2.6.6"]
ROUNDS = 5
HOTLAP_BUDGET = "5m"
AUTOTUNE_BUDGET = "balanced"
#: Seconds that a tool may take.
LONGEST = 1800.0
#: What the scripts import.
NEEDED = ["scikit-image", "scikit-learn", "pillow", "tqdm"]


class Peers:
    def __init__(self, venv: Path) -> None:
        self.python = str(venv / "bin" / "python")
        self.venv = venv

    def make(self) -> None:
        if not Path(self.python).exists():
            subprocess.run([sys.executable, "-m", "venv", str(self.venv)], check=True)
        install = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # torch first and alone, so that nothing pulls another build.
        for packages in ([f"torch=={torch.__version__.partition('+')[0]}"], [*PINNED, *NEEDED]):
            subprocess.run([*install, *packages], check=True, stdout=sys.stderr)

    def ask(self, tool: str, script: Script, folder: Path) -> Verdict:
        """Run a tool in a folder with nothing but the script; keep what it writes in ``folder``."""
        path = HERE / "scripts" / f"{script.name}.py"
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            shutil.copy(path, work)
            commands = {
                "hotlap": [*HOTLAP, "tune", "--json", "--budget", HOTLAP_BUDGET, "--", sys.executable, path.name],
                "train-doctor": [
                    str(self.venv / "bin" / "train-doctor"),
                    "fix",
                    "--json",
                    "--",
                    sys.executable,
                    path.name,
                ],
                "autotune": [self.python, str(HERE / "peer_harness.py"), "autotune", script.name, AUTOTUNE_BUDGET],
                "lightning": [self.python, str(HERE / "peer_harness.py"), "lightning", script.name],
            }
            began = time.monotonic()
            try:
                done = subprocess.run(
                    commands[tool], cwd=work, capture_output=True, text=True, timeout=LONGEST, check=False
                )
            except subprocess.TimeoutExpired as late:
                done = subprocess.CompletedProcess(
                    late.cmd, 124, _text(late.stdout), f"{_text(late.stderr)}\nno verdict within {LONGEST:.0f} s"
                )
            seconds = time.monotonic() - began
            told = done.stdout if tool != "hotlap" or done.returncode else "as in result.json"
            (folder / "output.txt").write_text(f"{told}\n--- stderr\n{done.stderr}\n--- exit {done.returncode}\n")
            said: dict[str, Any] = {
                "tool": tool,
                "version": self.version(tool),
                "command": shlex.join(commands[tool]),
                "seconds": round(seconds, 1),
            }
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                return Verdict(**said, recommends="nothing", failed=f"exit {done.returncode}: {last}")
            return Verdict(**said, **UNDERSTAND[tool](done.stdout, script, work, folder))

    def forget_places(self, folder: Path) -> None:
        """What is kept names programs, and not where they lie here."""
        for path in folder.iterdir():
            text = path.read_text()
            for place in (Path(self.python).parent, self.venv, Path(sys.executable).parent, HERE.parent):
                text = text.replace(f"{place}/", "")
            write_whole(path, re.sub(rf"{re.escape(tempfile.gettempdir())}/tmp\w+/", "", text))

    def version(self, tool: str) -> str:
        if tool == "hotlap":
            return str(circumstances()["versions"]["hotlap"])
        package = {"autotune": "pytorch-autotune"}.get(tool, tool)
        program = f"import importlib.metadata as m; print(m.version({package!r}))"
        return subprocess.run([self.python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def launch(words: list[str], script: Script, folder: Path, seed: int) -> dict[str, Any]:
    """Train once; when each epoch was printed, the final loss, and the seconds of all of it."""
    path = HERE / "scripts" / f"{script.name}.py"
    places = {
        "python": sys.executable,
        "script": str(path),
        "result.json": str(folder / "result.json"),
    }
    command = [places.get(word, word) for word in words] + ["--seed", str(seed), "--epochs", str(script.epochs)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    times: list[float] = []
    loss = None
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryFile("w+") as errors:
        if "tuned.py" in command:
            patch = ["patch", "--quiet", str(path), str(folder / "tuned.patch"), "-o", f"{work}/tuned.py"]
            subprocess.run(patch, check=True)
        began = time.perf_counter()
        with subprocess.Popen(
            command, cwd=work, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as training:
            assert training.stdout is not None
            for line in training.stdout:
                if line.startswith("epoch "):
                    times.append(time.perf_counter() - began)
                elif line.startswith("final loss "):
                    loss = float(line.split()[-1])
        seconds = time.perf_counter() - began
        if training.returncode or loss is None:
            errors.seek(0)
            sys.exit(f"{shlex.join(command)} ended with {training.returncode}:\n{errors.read()[-2000:]}")
    first = len(times) // 3
    return {
        "seconds": seconds,
        "epoch_seconds": (times[-1] - times[first]) / max(len(times) - 1 - first, 1),
        "epochs": times,
        "loss": loss,
    }


def asked(peers: Peers, script: Script) -> dict[str, Verdict]:
    """What each tool says, if it has not been asked before."""
    for tool in UNDERSTAND:
        folder = KEPT / script.name / tool
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "verdict.json").exists():
            print(f"{script.name}: {tool}", file=sys.stderr)
            verdict = peers.ask(tool, script, folder)
            write_whole(folder / "verdict.json", msgspec.json.format(msgspec.json.encode(verdict)))
            peers.forget_places(folder)
            print(f"  {verdict}", file=sys.stderr)
    return verdicts_of(script)


def verdicts_of(script: Script) -> dict[str, Verdict]:
    paths = {tool: KEPT / script.name / tool / "verdict.json" for tool in UNDERSTAND}
    return {tool: msgspec.json.decode(path.read_bytes(), type=Verdict) for tool, path in paths.items() if path.exists()}


def rounds_of(script: Script) -> list[dict[str, Any]]:
    kept = KEPT / script.name / "rounds.jsonl"
    return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []


def found(script: Script) -> dict[str, Any]:
    """All that is kept of a script."""
    done = rounds_of(script)
    return {
        "what": script.what,
        "epochs": script.epochs,
        "measured": json.loads((KEPT / script.name / "measured.json").read_text()),
        "unchanged_seconds": [each["unchanged"]["seconds"] for each in done],
        "again": judged(None, "again", done),
        "verdicts": {
            tool: {"verdict": msgspec.to_builtins(verdict), **judged(verdict, tool, done)}
            for tool, verdict in verdicts_of(script).items()
        },
    }


def rounds(script: Script, verdicts: dict[str, Verdict]) -> None:
    """Train the unchanged script, the same again and what is recommended, in an order that rotates."""
    done = rounds_of(script)
    arms = {"unchanged": [sys.executable, "script"], "again": [sys.executable, "script"]}
    arms |= {name: verdict.launch for name, verdict in verdicts.items() if verdict.launch is not None}
    for number in range(len(done), ROUNDS):
        names = list(arms)
        made = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            made[name] = launch(arms[name], script, KEPT / script.name / name, number)
            print(f"{script.name}, round {number + 1}, {name}: {made[name]['seconds']:.1f} s", file=sys.stderr)
        if not done:
            about = circumstances() | {"command": "python benchmarks/peers.py --peers-venv PLACE"}
            write_whole(KEPT / script.name / "measured.json", json.dumps(about, indent=1) + "\n")
        done.append(made)
        with open(KEPT / script.name / "rounds.jsonl", "a") as file:
            file.write(json.dumps(made) + "\n")


def judged(verdict: Verdict | None, name: str, done: list[dict[str, Any]]) -> dict[str, Any]:
    """What a recommendation reaches in these rounds, and whether it was rightly claimed."""
    pairs = [(each["unchanged"], each[name]) for each in done if name in each]
    if not pairs:
        return {"wrong": []}
    whole = effect([a["seconds"] / b["seconds"] for a, b in pairs], 0.95)
    epochs = effect([a["epoch_seconds"] / b["epoch_seconds"] for a, b in pairs], 0.95)
    training = compare_trainings(
        [[a["loss"]] for a, _ in pairs], [[b["loss"]] for _, b in pairs], "rounding", deterministic=False
    )
    wrong = []
    if verdict is not None and verdict.claim is not None and judge(epochs) in ("not faster", "slower"):
        wrong.append(f"claims {verdict.claim:.2f}x, and these pairs exclude a gain")
    elif verdict is not None and verdict.claim is not None and verdict.claim > epochs.high:
        wrong.append(f"claims {verdict.claim:.2f}x, and these pairs exclude more than {epochs.high:.2f}x")
    if verdict is not None and verdict.same and training.same is False:
        wrong.append("calls another training the same")
    return {
        "whole": msgspec.to_builtins(whole),
        "epochs": msgspec.to_builtins(epochs),
        "identical": all(a["loss"] == b["loss"] for a, b in pairs),
        "same_training": training.same,
        "evidence": training.evidence,
        "wrong": wrong,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-venv", type=Path, required=True)
    parser.add_argument("--only", choices=[script.name for script in SCRIPTS])
    given = parser.parse_args()
    peers = Peers(given.peers_venv.absolute())
    peers.make()
    results = {}
    for script in SCRIPTS:
        if given.only in (None, script.name):
            rounds(script, asked(peers, script))
        if (KEPT / script.name / "rounds.jsonl").exists():
            results[script.name] = found(script)
    write_whole(RESULTS / "peers.json", json.dumps({"results": results}, indent=1) + "\n")
    measured = [f"- {name}: {sentence(result['measured'])}" for name, result in results.items()]
    page = "\n".join([*table(results), "", *measured, ""])
    write_whole(RESULTS / "peers.md", page)
    print(page)


def table(results: dict[str, Any]) -> list[str]:
    lines = [
        "# hotlap and its peers on scripts that nobody prepared",
        "",
        "| script | tool | verdict after | recommends | claims | reached, epochs | reached, whole process "
        "| final losses | wrong claims |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        for tool in ("again", *result["verdicts"]):
            each = result["verdicts"].get(tool, result["again"])
            verdict = each.get("verdict")
            what = f"{name}: {result['what']}" if tool == "again" else ""
            said = (
                ["the same again", "", "", ""]
                if verdict is None
                else [
                    f"{tool} {verdict['version']}",
                    f"{verdict['seconds']:.0f} s",
                    verdict["failed"] or verdict["recommends"],
                    f"{verdict['claim']:.2f}x" if verdict["claim"] else "",
                ]
            )
            measured = ["1.00x", "1.00x", "the script itself"]
            if "epochs" in each:
                same = {True: "within seeds", False: "differ", None: "unclear"}[each["same_training"]]
                measured = [_ratio(each["epochs"]), _ratio(each["whole"]), "identical" if each["identical"] else same]
            lines.append(f"| {' | '.join([what, *said, *measured, '; '.join(each['wrong'])])} |")
    return lines


def _ratio(value: dict[str, Any]) -> str:
    return f"{value['ratio']:.2f}x [{value['low']:.2f}, {value['high']:.2f}]"


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


if __name__ == "__main__":
    main()

"""How long, how much at once, how fast it learns, and what happens between steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hotlap.diagnose.lint.base import ConfigRule, Setup, shown
from hotlap.records import ConfigFinding

#: Of an epoch's samples; of a training's steps; of its time.
_LEFT_OUT, _LONG_WARMUP, _MUCH = 0.1, 0.5, 0.25
#: Backward takes about as long as two forwards, by its products.
_FORWARDS = 3


class LeftOut(ConfigRule):
    code = "CONFIG14"
    title = "An epoch does not divide into steps"
    meaning = (
        "With `drop_last` an epoch consists of whole steps: what is left over is trained on in no step of that epoch. "
        "Where an epoch has fewer samples than a micro-batch on all ranks, there is no step at all."
    )
    evidence_needed = (
        "Samples of an epoch, where they are known without reading the data (restoration, and apt without a file of "
        "the user's), against batch_size x accumulation_steps x ranks. A tenth left out is a finding."
    )
    remedy = "A batch that divides the epoch better, or `drop_last: false`."
    limits = "Each epoch leaves out others, so over many epochs every sample is seen."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        samples, step, size = setup.epoch_samples, setup.effective_batch, setup.get("batch_size")
        if samples is None or step is None or size is None or not setup.get("drop_last"):
            return
        together = size * setup.ranks
        if together > samples:
            yield self.finding(
                setup,
                [f"{setup.says('batch_size')} on {setup.ranks} ranks is {together}; an epoch has {samples} samples."],
                "`hotlap train` refuses it: there is no step.",
                {"batch_size": max(1, samples // setup.ranks)},
            )
            return
        unit = step if step <= samples else together
        left = samples % unit
        if left >= _LEFT_OUT * samples:
            yield self.finding(
                setup,
                [f"An epoch has {samples} samples, and {unit} are taken at a time: {left} are left out of each epoch."],
                f"{100 * left / samples:.0f} % of every epoch is not trained on.",
                {"drop_last": False},
                "Or a batch that divides the epoch better.",
            )


class LongWarmup(ConfigRule):
    code = "CONFIG15"
    title = "The warm-up takes more than half of the training"
    meaning = "The learning rate reaches what `lr` says only at the end of the warm-up."
    evidence_needed = "`warmup_steps` against the steps of the training, by `steps` or by `epochs`."
    remedy = "A warm-up of a few per cent of the steps."
    limits = "Silent where the steps depend on data that are not read here."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        warmup, steps = setup.get("warmup_steps"), setup.steps
        if not warmup or not steps or warmup <= _LONG_WARMUP * steps:
            return
        refused = warmup >= steps
        yield self.finding(
            setup,
            [f"{setup.says('warmup_steps')}, and the training has {steps} steps."],
            "`hotlap train` refuses it." if refused else "Most of the training runs below the learning rate.",
            {"warmup_steps": steps // 20},
        )


class MuchValidation(ConfigRule):
    code = "CONFIG16"
    title = "Validating costs much of the training"
    meaning = "Between two validations there is so little training that a good part of the time goes into validating."
    evidence_needed = (
        "Pixels that a validation goes forward over, against those that the steps between two go over forward and "
        "backward, which is counted as three forwards (four where all activations are computed again). A quarter of "
        "both together is a finding."
    )
    remedy = "Validate more rarely, on fewer clips, or on smaller ones."
    limits = (
        "Counted, not measured, and with as many held-out clips as the configuration allows; what a pixel costs is "
        "taken to be the same in both. apt decodes token by token, which is not counted. `hotlap profile` measures it "
        "(LOOP01)."
    )

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        every, size = setup.get("validate_every"), setup.get("batch_size")
        patch = setup.get("patch_size")
        if not every or patch is None or size is None:
            return
        if setup.workload == "vrt_spike":
            number, side = setup.get("val_clips"), setup.get("val_pixels")
        elif setup.workload == "restoration":
            number, side = 3, 256
        else:
            return
        validated = number * side**2
        side_trained = patch if isinstance(patch, int) else min(patch.values())
        recomputed = setup.get("use_checkpoint") or (
            setup.get("use_checkpoint_attn") and setup.get("use_checkpoint_ffn")
        )
        # The other ranks wait for the one that validates.
        each = size * setup.micro_batches * side_trained**2 * (_FORWARDS + bool(recomputed))
        share = validated / (validated + every * each)
        if share < _MUCH:
            return
        rarer = math.ceil(validated * (1 - 0.1) / 0.1 / each)
        yield self.finding(
            setup,
            [
                f"{setup.says('validate_every')}: {number} pictures or clips of {side} x {side} after every {every} "
                f"steps of {size * setup.micro_batches} crops of {side_trained} x {side_trained} are about "
                f"{100 * share:.0f} % of all that is computed."
            ],
            "So much of the time is not spent on training.",
            {"validate_every": rarer},
            "That is about a tenth. 0 validates at the end only.",
        )


class RateNotRescaled(ConfigRule):
    code = "CONFIG17"
    title = "Another effective batch with the same learning rate"
    meaning = (
        "A step of more samples has a gradient with less noise, and there are fewer steps. With the same learning "
        "rate the training moves less far, and ends elsewhere."
    )
    evidence_needed = (
        "batch_size x accumulation_steps x ranks and `lr` in both configurations, this one and that of `--against`."
    )
    remedy = (
        "For SGD the rate times k, where the batch is k times as large (Goyal and others 2017); for the Adam family "
        "times the square root of k (Malladi and others 2022). Then compare the quality at equal samples "
        "(`hotlap tune --quality`). Or the same effective batch, by accumulation."
    )
    limits = (
        "Both rules hold up to some batch size only; that of SGD needs a warm-up. Both trainings are taken to run on "
        "as many ranks."
    )

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        base = setup.base or {}
        now, before = setup.effective_batch, None
        if base.get("batch_size"):
            before = base["batch_size"] * (base.get("accumulation_steps") or 1) * setup.ranks
        rate = setup.get("lr")
        if not now or not before or now == before or not isinstance(rate, (int, float)) or rate != base.get("lr"):
            return
        times = now / before
        optimizer = setup.get("optimizer")
        rescaled = {"linear": rate * times, "root": rate * math.sqrt(times)}
        rounded = {name: float(f"{value:.6g}") for name, value in rescaled.items()}
        rule = "linear" if optimizer == "sgd" else "root"
        accumulate = before // (setup.get("batch_size") * setup.ranks)
        advice = ""
        if accumulate and accumulate * setup.get("batch_size") * setup.ranks == before:
            advice = f"Or {setup.place('accumulation_steps')}: {accumulate}, and the same training as before."
        if optimizer is None:
            advice = f"With SGD {shown(rounded['linear'])}. {advice}".strip()
        yield self.finding(
            setup,
            [f"A step has {now} samples, and had {before}; {setup.says('lr')} in both."],
            f"The batch is {times:.3g} times as large, and the rate was not rescaled: another training.",
            {"lr": rounded[rule]},
            advice,
        )


class LoggedEveryStep(ConfigRule):
    code = "CONFIG18"
    title = "The loss is read in every step"
    meaning = (
        "Reading the loss makes the host wait until the device has computed it. In every step that means that nothing "
        "is handed over ahead, and the device waits for the host at the beginning of each step."
    )
    evidence_needed = "`log_every: 1`, and no CPU as the device."
    remedy = "Log every 10 steps or more rarely."
    limits = "Of a step that takes a second it costs nothing that matters: `hotlap profile` measures it (HOST01)."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        if setup.get("log_every") == 1 and not setup.on_cpu and setup.workload is not None:
            yield self.finding(
                setup,
                [f"{setup.says('log_every')}."],
                "On a GPU the host waits for it in every step.",
                {"log_every": 20},
            )

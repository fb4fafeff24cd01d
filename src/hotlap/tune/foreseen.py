"""Which changes a tuning could try, by what is known before it runs. Pure.

    seen before    Situation of that record ──> propose ──> tried | not tried, with the bound
    never seen     Situation of the command's keys ──> every family's changes ──> tried, as far as their bound allows
                     + "its loader has workers", "it repeats a block", ... ──> what is new there: tried if
    either         + "there is a GPU", "it runs on several ranks" ──> what is new there: not tried, and why

So nothing is listed here that the families do not have: their own code is asked, of trainings that might be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import msgspec

from hotlap.changes import Situation, conflicts, incompatible, possible, propose
from hotlap.diagnose import Machine
from hotlap.records import (
    Budget,
    Change,
    DataParallel,
    Dataset,
    Diagnosis,
    Environment,
    Excluded,
    Facts,
    Foreseen,
    Goal,
)

#: Of a record of a training that nobody has seen.
_UNSEEN = Diagnosis(
    findings=[],
    will_not_help=[],
    step_seconds=0.0,
    phases={},
    throughput=None,
    budget=Budget(wall=0.0, startup=0.0, warmup=0.0, steps=0.0, validation=0.0, checkpoint=0.0, logging=0.0, end=0.0),
    steady_from=0,
    steady_steps=0,
)
_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
#: Packages that a change needs.
LIBRARIES = ("bitsandbytes", "torchao")
#: Changes whose value is a size, which is that of the samples or gradients.
_SIZED = ("cache_samples", "shared_samples", "cache_decoded", "bucket_cap")
#: Of samples that might be kept.
_KEPT = Dataset(length=1000, stacked=True, alike=True, sample_bytes=1e5)
_RANKS = DataParallel(find_unused_parameters=True, unused=0, parameter_bytes=1 << 30, backwards=2, syncs=2)


class _Case(NamedTuple):
    """Something that a training may be, and the facts that it would have then."""

    when: str
    facts: Mapping[str, Any]
    wants_memory: bool = False


def unseen(
    keys: Mapping[str, Any] | None, environment: Environment, importable: Sequence[str], ranks: int, goal: Goal
) -> Situation:
    """A training of which the values of some keys are known."""
    known = dict(keys or {})
    optimizer = str(known.get("optimizer") or "").lower()
    checkpointing = [known[key] for key in known if key.startswith("use_checkpoint")]
    facts = Facts(
        device="cuda" if environment.gpus else "cpu",
        threads=environment.physical_cores or environment.cores,
        optimizer=_OPTIMIZERS.get(optimizer.removesuffix("8bit")),
        optimizer_bits=8 if optimizer.endswith("8bit") else None,
        importable=list(importable),
        autocast=known.get("mixed_precision_dtype", "bfloat16") if known.get("use_mixed_precision") else None,
        channels_last=known.get("channels_last"),
        compiled=known.get("compile_model"),
        checkpointing=any(checkpointing) if checkpointing else None,
        workers=known.get("num_workers"),
        prefetch_factor=known.get("prefetch_factor"),
        persistent_workers=known.get("persistent_workers"),
        pin_memory=known.get("pin_memory"),
        batch_size=known.get("batch_size"),
        world_size=ranks,
    )
    return Situation(
        diagnosis=_UNSEEN, facts=facts, environment=environment, machine=Machine(), keys=keys or None, goal=goal
    )


def foreseen(
    situation: Situation, asked: Sequence[Change], *, least_gain: float, other_trainings: bool
) -> list[Foreseen]:
    """Every change, in the order in which it would be tried: what was asked for comes first, and other trainings after
    all that trains the same.

    ``other_trainings``: they are compared by a metric; else they are listed and not tried.
    """
    seen = situation.diagnosis is not _UNSEEN
    found = [Foreseen(change=change, prospect="tried", why="asked for with --set") for change in asked]
    found += _of_record(situation, least_gain) if seen else _of_any(situation)
    known: dict[str, Foreseen] = {}
    for each in [*found, *_not_here(situation)]:
        known.setdefault(each.change.id, each)
    judged = [_judged(each, other_trainings or each.change in asked) for each in known.values()]
    return sorted(judged, key=lambda each: each.change.numerics == "trajectory")


def excluded(changes: Sequence[Foreseen]) -> list[Excluded]:
    """Pairs of those that may be tried, by name."""
    may = [each.change for each in changes if each.prospect != "not tried"]
    found: dict[tuple[tuple[str, str], str], Excluded] = {}
    for one, other in combinations(may, 2):
        reason = incompatible(one, other) if one.name != other.name else None
        if reason is not None:
            names = (one.name, other.name)
            found.setdefault((names, reason), Excluded(names=names, why=reason))
    return list(found.values())


def _of_record(situation: Situation, least_gain: float) -> list[Foreseen]:
    wanted, skipped = propose(situation, least_gain)
    tried = [Foreseen(change=change, prospect="tried", why=_at_most(change, situation.goal)) for change in wanted]
    return tried + [
        Foreseen(change=trial.change, prospect="not tried", why=trial.why.removeprefix("not tried: "))
        for trial in skipped
    ]


def _at_most(change: Change, goal: Goal) -> str:
    """What it can give, where that is known."""
    if goal == "memory":
        return "" if change.memory is None else f"at most {-change.memory[0] / 2**20:.1f} MiB off the peak"
    return "" if change.bound is None else f"at most {change.bound:.2f}x"


def _of_any(situation: Situation) -> list[Foreseen]:
    found: dict[str, Foreseen] = {}
    for case in [_Case("", {}), *_cases(situation.facts)]:
        it = _in(situation, case)
        for change in possible(it):
            obstacle = conflicts([change], it)
            plain = _unmeasured(change)
            if obstacle:
                each = Foreseen(change=plain, prospect="not tried", why=obstacle)
            else:
                each = Foreseen(change=plain, prospect="if" if case.when else "tried", why=case.when)
            found.setdefault(plain.id, each)
    return list(found.values())


def _cases(facts: Facts) -> Iterator[_Case]:
    """What only a look at the training tells, of all that is not known."""
    inside, outside = {"workers": 0}, {"workers": 2}
    if facts.workers is not None:
        inside = outside = {"workers": facts.workers}
    else:
        yield _Case("its loader has no workers", inside)
        yield _Case("its loader has workers", outside)
    same = {"samples_use_rng": False, "dataset": _KEPT, "batch_size": facts.batch_size or 8}
    if not inside["workers"]:
        whole = "its data set holds all samples as tensors"
        yield _Case("a sample is the same each time it is fetched, without workers", inside | same)
        yield _Case(whole, inside | {"dataset": Dataset(indexed=True)})
    if outside["workers"]:
        yield _Case("a sample is the same each time workers fetch it", outside | same)
    decoding = {"fetch_seconds": 1.0, "decode_seconds": 1.0, "decoded_again_share": 1.0}
    yield _Case("it decodes the same pictures again", (inside if not inside["workers"] else outside) | decoding)
    if facts.optimizer is None:
        yield _Case("its optimizer is Adam, AdamW or SGD", {"optimizer": "AdamW", "weight_decay": 0.01})
    if facts.checkpointing is None:
        yield _Case("it recomputes activations", {"checkpointing": True})
    if facts.channels_last is not True:
        yield _Case("it has convolutions over pictures", {"convolutions": 1, "channels_last": False})
    if facts.pin_memory is None and facts.device == "cuda":
        yield _Case("its loader does not pin its batches", inside | {"pin_memory": False})
        yield _Case("its loader pins its batches", inside | {"pin_memory": True})
    if facts.compiled is None or not facts.compiled:
        yield _Case("its model repeats a block", {"repeated_blocks": 3})
        yield _Case("the shapes of its inputs change", {"input_shapes": 2})
    yield _Case("it fills gradients with zeros", {"zeroed_gradients": True})
    yield _Case("collecting garbage takes time", {"gc_seconds": 1.0, "gc_collections": 1.0})
    if facts.device == "cpu":
        handed_out = {"steady_faults": 1e6, "page_fault_seconds": 1e-6, "system_seconds": 1.0}
        yield _Case("the kernel hands its memory out again at every step", handed_out)
    yield _Case("much of its sequences is padding", {"dataset": Dataset(padding=0.5)})
    yield _Case("it needs more memory than there is", {"blocks": 8, "optimizer": facts.optimizer or "AdamW"}, True)
    if facts.world_size > 1:
        yield _Case("it is DistributedDataParallel", {"data_parallel": _RANKS, "micro_batches": 2})


def _not_here(situation: Situation) -> Iterator[Foreseen]:
    """What another machine, or another start of the training, could try."""
    facts = situation.facts
    adam = {"optimizer": facts.optimizer or "AdamW", "optimizer_options": [], "importable": [*LIBRARIES]}
    everywhere = facts if situation.diagnosis is not _UNSEEN else msgspec.structs.replace(facts, convolutions=1)
    here = msgspec.structs.replace(situation, facts=everywhere)
    cases = []
    if situation.on_cpu:
        pinned = {"pin_memory": bool(facts.pin_memory)} if facts.workers is not None or not facts.optimizer else {}
        cases.append(_Case("there is no GPU here", adam | {"device": "cuda"} | pinned))
    else:
        cases.append(_Case("", adam))
    if facts.world_size < 2:
        ranks = {"world_size": 2, "data_parallel": _RANKS, "micro_batches": 2}
        cases.append(_Case("the command starts one process", ranks))
    there = possible(here)
    for case in cases:
        for change in possible(_in(here, case)):
            # Other ranks divide the cores otherwise, which is no other change.
            known = {each.name for each in there} if "world_size" in case.facts else {each.id for each in there}
            library = change.inject.get("eight_bit") or ("bitsandbytes" if change.name == "optimizer_8bit" else None)
            missing = f"the package {library} is not installed" if library and library not in facts.importable else ""
            reasons = [each for each in (case.when, missing) if each]
            if not known & {change.id, change.name} and reasons:
                yield Foreseen(change=_unmeasured(change), prospect="not tried", why=" and ".join(reasons))


def _unmeasured(change: Change) -> Change:
    """Without the figures of a training that was made up."""
    change = msgspec.structs.replace(change, bound=None)
    return msgspec.structs.replace(change, value="by size", inject={}, note="") if change.name in _SIZED else change


def _in(situation: Situation, case: _Case) -> Situation:
    return msgspec.structs.replace(
        situation,
        facts=msgspec.structs.replace(situation.facts, **case.facts),
        goal="memory" if case.wants_memory else situation.goal,
    )


def _judged(each: Foreseen, may_be_another: bool) -> Foreseen:
    if each.change.numerics != "trajectory" or may_be_another or each.prospect == "not tried":
        return each
    why = "it is another training, which is tried with --quality METRIC"
    return msgspec.structs.replace(each, prospect="not tried", why=why)

"""Whose word is ``batch_size``? The names that configurations and flags use for what hotlap can change.

    TRAIN.BATCH_SIZE, --batch-size, per_device_train_batch_size ...  ->  batch_size     (a canonical key)
    {"batch_size": 8}  ->  where it stands, in the words that are used there

The canonical keys are those of ``train.config``, by which a ``Change`` speaks, and a few that only other trainings
have. A name is recognised by its last part, anywhere in the tree. What stands under validation is none of ours, and
where two keys could be meant, neither is touched.

Sources of the names: transformers' ``TrainingArguments``, Lightning's ``Trainer``, BasicSR's options, mmengine's
``speed_up_training``, and the configurations that this project was made for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from hotlap.tune.keys import KEEP, Entry, Key, Place, Recognised

Kind = Literal["count", "count or none", "number", "switch", "counts"]


def names(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: Canonical key -> kind of value, and the names that mean it, in lower case with underscores.
_NAMES: dict[str, tuple[Kind, str]] = {
    "batch_size": (
        "count",
        "batch_size batchsize train_batch_size batch_size_per_gpu batch_size_per_device per_device_train_batch_size "
        "per_gpu_train_batch_size micro_batch_size train_micro_batch_size_per_gpu samples_per_gpu bs b",
    ),
    "accumulation_steps": (
        "count",
        "accumulation_steps gradient_accumulation_steps grad_accumulation_steps grad_accum_steps accum_steps "
        "accumulate_grad_batches accumulative_counts gradient_accumulation grad_accum accum_iter accum",
    ),
    "num_workers": (
        "count or none",
        "num_workers workers n_workers nworkers num_worker dataloader_num_workers num_worker_per_gpu "
        "num_workers_per_gpu workers_per_gpu total_workers loader_workers dataloader_workers data_workers j",
    ),
    "prefetch_factor": ("count", "prefetch_factor train_prefetch_factor dataloader_prefetch_factor"),
    "persistent_workers": ("switch", "persistent_workers dataloader_persistent_workers"),
    "pin_memory": ("switch", "pin_memory pin_mem dataloader_pin_memory"),
    "channels_last": ("switch", "channels_last use_channels_last"),
    "compile_model": ("switch", "compile_model compile torch_compile use_compile use_torch_compile"),
    "use_checkpoint": (
        "switch",
        "use_checkpoint gradient_checkpointing grad_checkpointing use_gradient_checkpointing activation_checkpointing "
        "use_activation_checkpointing",
    ),
    "use_checkpoint_attn": ("switch", "use_checkpoint_attn"),
    "use_checkpoint_ffn": ("switch", "use_checkpoint_ffn"),
    "lr": ("number", "lr learning_rate base_lr"),
    "log_every": (
        "count",
        "log_every print_freq print_every print_interval log_interval log_freq log_every_n_steps log_steps "
        "logging_steps",
    ),
    "patch_size": ("count", "patch_size crop_size train_crop_size gt_size train_patch_size"),
    "perceptual_every": ("count", "perceptual_every perceptual_interval perceptual_freq perceptual_loss_every"),
    "perceptual_layers": ("counts", "perceptual_layers vgg_layers perceptual_layer_ids"),
    "depths": ("counts", "vrt_depths depths"),
    "window_size": ("count", "window_size"),
    "fuse_chunk_size": ("count", "chunk_size"),
    "spike_chunk_size": ("count", "chunk_size"),
    "max_batch_tokens": ("count", "max_batch_tokens"),
    "keep_freed_memory": ("switch", "keep_freed_memory"),
    "group_by_length": ("switch", "group_by_length"),
    "pad_to_max_length": ("switch", "pad_to_max_length"),
}
_ALIASES = {canonical: names(aliases) for canonical, (_, aliases) in _NAMES.items()}
#: Every canonical key.
CANONICAL = frozenset(_NAMES) | names(
    "use_mixed_precision mixed_precision_dtype precision optimizer_implementation optimizer_8bit"
)
#: Names of one letter are flags, and nothing in a file.
_LETTERS = frozenset("bj")

#: Parts of a path below which a name means something else.
_OTHER_PURPOSE = names("val valid validation test testing eval evaluation infer inference predict demo")
_MODEL = names("model network net backbone encoder decoder vit arch generator discriminator")
_TRAINING = names("train training")
#: What a key's path has to hold besides its name.
_WITHIN = {"fuse_chunk_size": "fuse", "spike_chunk_size": "spike"}

#: How a half is called where the precision is one word: float32, bfloat16, float16.
_PRECISION_WORDS: tuple[tuple[Any, Any, Any], ...] = (
    ("32-true", "bf16-mixed", "16-mixed"),
    (32, "bf16", 16),
    ("32", "bf16", "16"),
    ("no", "bf16", "fp16"),
    ("fp32", "bf16", "fp16"),
    ("float32", "bfloat16", "float16"),
)
_SWITCHES = names("amp use_amp amp_enabled enable_amp use_mixed_precision mixed_precision use_autocast")
_DTYPES = names("amp_dtype mixed_precision_dtype autocast_dtype")


def normal(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()


def segments(path: str) -> list[str]:
    return [normal(part) for part in path.lstrip("-").split(".")]


def _parts(path: str) -> set[str]:
    return {part for segment in segments(path) for part in segment.split("_")}


def canonical_names(path: str) -> list[str]:
    """Canonical keys that a path may mean, by its name alone."""
    *above, last = segments(path)
    if len(last) == 1 and (last not in _LETTERS or not path.startswith("-")):
        return []
    if _parts(path) & _OTHER_PURPOSE:
        return []
    if above[-1:] == ["logger"] and last == "interval":
        return ["log_every"]
    found = [name for name, aliases in _ALIASES.items() if last in aliases]
    parts_above = {part for segment in above for part in segment.split("_")}
    if "patch_size" in found and parts_above & _MODEL:
        return []  # the patches of a vision transformer are its architecture
    return [name for name in found if name not in _WITHIN or _WITHIN[name] in parts_above]


def fits(kind: Kind, value: Any) -> bool:
    if kind == "switch":
        return isinstance(value, bool)
    if kind == "counts":
        return isinstance(value, list) and bool(value) and all(fits("count", each) for each in value)
    if isinstance(value, bool):
        return False
    if kind == "number":
        return _number(value) is not None
    return isinstance(value, int) and value >= (1 if kind == "count" else 0)


def recognise(entries: Sequence[Entry], ranks: int = 1) -> Recognised:
    """Find the canonical keys among the values that a training reads; ``ranks`` of it run."""
    keys: dict[str, Key] = {}
    refused: dict[str, str] = {}
    for name, (kind, _) in _NAMES.items():
        found = [
            entry
            for entry in entries
            if name in canonical_names(entry.place.path) and (fits(kind, entry.value) or _automatic(name, entry))
        ]
        chosen = _one(found)
        if isinstance(chosen, str):
            refused[name] = chosen
        elif chosen is not None:
            value = _number(chosen.value) if kind == "number" else chosen.value
            total = normal(chosen.place.path).endswith("total_workers")
            keys[name] = _key(name, entries, value, [chosen.place], ranks=ranks if total else 1)
    for special in (_precision, _optimizer, _sampling):
        special(entries, keys, refused)
    _checkpointing(entries, keys)
    return Recognised(keys, refused)


def _number(value: Any) -> float | int | None:
    """YAML 1.1 reads 3e-4 as a text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _automatic(name: str, entry: Entry) -> bool:
    return name == "num_workers" and entry.value == "auto"


def _one(found: Sequence[Entry]) -> Entry | str | None:
    """The entry that is meant, the reason why none can be named, or None where there is none."""
    found = [entry for entry in found if entry.given] or list(found)
    if len(found) > 1:
        training = [entry for entry in found if _parts(entry.place.path) & _TRAINING]
        nested = all("." in entry.place.path for entry in found)
        if len(training) == 1 and nested:
            found = training
    if len(found) > 1:
        places = " and ".join(str(entry.place) for entry in found[:3])
        return f"{places} could both be meant, so none of them is touched"
    return found[0] if found else None


def _key(
    name: str,
    entries: Iterable[Entry],
    value: Any,
    places: Sequence[Place],
    words: dict[Any, tuple[Any, ...]] | None = None,
    ranks: int = 1,
) -> Key:
    return Key(
        name=name, value=value, dialect=dialect(places[0], entries), places=tuple(places), words=words, ranks=ranks
    )


def _precision(entries: Sequence[Entry], keys: dict[str, Key], refused: dict[str, str]) -> None:
    ours = [entry for entry in entries if not _parts(entry.place.path) & _OTHER_PURPOSE]
    ways = [*_one_word(ours), *_wrapper(ours), *_switch(ours), *_bf16_and_fp16(ours)]
    given = [way for way in ways if any(_given(ours, place) for place in way[1])] or ways
    if len(given) > 1:
        places = " and ".join(str(way[1][0]) for way in given[:3])
        refused["use_mixed_precision"] = f"{places} could both be meant, so none of them is touched"
    elif given:
        value, where, words = given[0]
        keys["precision"] = _key("precision", entries, value, where, words)


_Way = tuple[str, list[Place], dict[Any, tuple[Any, ...]]]
_THREE = ("float32", "bfloat16", "float16")


def _given(entries: Iterable[Entry], place: Place) -> bool:
    return any(entry.place == place and entry.given for entry in entries)


def _one_word(entries: Iterable[Entry]) -> Iterable[_Way]:
    for entry in entries:
        *above, last = segments(entry.place.path)
        if last not in ("precision", "mixed_precision") or isinstance(entry.value, bool):
            continue
        if entry.value is None and above == ["trainer"]:
            yield "float32", [entry.place], dict(zip(_THREE, [(w,) for w in _PRECISION_WORDS[0]], strict=True))
            continue
        for words in sorted(_PRECISION_WORDS, key=lambda words: (words[0] == "no") != (last == "mixed_precision")):
            if (type(entry.value), entry.value) in [(type(word), word) for word in words]:
                spelled = {name: (word,) for name, word in zip(_THREE, words, strict=True)}
                yield _THREE[words.index(entry.value)], [entry.place], spelled
                break


def _wrapper(entries: Sequence[Entry]) -> Iterable[_Way]:
    for entry in entries:
        if segments(entry.place.path) == ["optim_wrapper", "type"] and entry.value in _WRAPPERS:
            dtype = Place(entry.place.source, "optim_wrapper.dtype")
            written = [other.value for other in entries if other.place == dtype]
            half = str((written or ["float16"])[0])
            yield (
                half if entry.value == "AmpOptimWrapper" else "float32",
                [entry.place, dtype],
                {
                    "float32": ("OptimWrapper", KEEP),
                    "bfloat16": ("AmpOptimWrapper", "bfloat16"),
                    "float16": ("AmpOptimWrapper", "float16"),
                },
            )


_WRAPPERS = ("OptimWrapper", "AmpOptimWrapper")


def _switch(entries: Sequence[Entry]) -> Iterable[_Way]:
    for entry in entries:
        if segments(entry.place.path)[-1] not in _SWITCHES or not isinstance(entry.value, bool):
            continue
        beside = [
            other
            for other in entries
            if segments(other.place.path)[-1] in _DTYPES
            and other.place.source == entry.place.source
            and other.place.path.rpartition(".")[0] == entry.place.path.rpartition(".")[0]
        ]
        words = next(
            (words for words in _PRECISION_WORDS[-2:] if len(beside) == 1 and beside[0].value in words[1:]), None
        )
        if words is None:
            # What it switches on cannot be told: on a GPU often fp16 with a scaler.
            yield "on" if entry.value else "float32", [entry.place], {"float32": (False,), "on": (True,)}
        else:
            half = _THREE[words.index(beside[0].value)]
            spelled = {"float32": (False, KEEP), "bfloat16": (True, words[1]), "float16": (True, words[2])}
            yield half if entry.value else "float32", [entry.place, beside[0].place], spelled


def _bf16_and_fp16(entries: Sequence[Entry]) -> Iterable[_Way]:
    found = {
        name: [e for e in entries if segments(e.place.path)[-1] == name and isinstance(e.value, bool)]
        for name in ("bf16", "fp16")
    }
    if any(len(each) > 1 for each in found.values()) or not any(found.values()):
        return
    there = [(name, each[0]) for name, each in found.items() if each]
    on = [name for name, entry in there if entry.value]
    halves = {"bf16": "bfloat16", "fp16": "float16"}
    words = {"float32": tuple(False for _ in there)} | {
        halves[half]: tuple(name == half for name, _ in there) for half, _ in there
    }
    yield halves[on[0]] if on else "float32", [entry.place for _, entry in there], words


def _optimizer(entries: Sequence[Entry], keys: dict[str, Key], refused: dict[str, str]) -> None:
    ways: list[tuple[Entry, dict[Any, Any], dict[Any, Any]]] = []
    for entry in entries:
        path = segments(entry.place.path)
        if path[-1] == "optimizer_implementation" and isinstance(entry.value, str):
            same = {word: (word,) for word in ("auto", "for-loop", "foreach", "fused")}
            ways.append((entry, same, {}))
        elif path[-1] == "optim" and str(entry.value).startswith("adamw_"):
            words = {"auto": ("adamw_torch",), "fused": ("adamw_torch_fused",)}
            ways.append((entry, words, {False: ("adamw_torch",), True: ("adamw_bnb_8bit",)}))
        elif path[-2:] == ["optim", "type"] and entry.value in ("adamw", "adamw8bit"):
            ways.append((entry, {}, {False: ("adamw",), True: ("adamw8bit",)}))
    chosen = _one([entry for entry, *_ in ways])
    if isinstance(chosen, str):
        refused["optimizer_implementation"] = chosen
    for entry, implementations, eight_bits in ways:
        for name, words in (("optimizer_implementation", implementations), ("optimizer_8bit", eight_bits)):
            known = [canonical for canonical, (word,) in words.items() if word == entry.value]
            if entry is chosen and known:
                keys[name] = _key(name, entries, known[0], [entry.place], words)


def _sampling(entries: Sequence[Entry], keys: dict[str, Key], refused: dict[str, str]) -> None:
    """transformers 5 has a word where it had a switch."""
    words = {False: ("random",), True: ("group_by_length",)}
    for entry in entries:
        if segments(entry.place.path)[-1] == "train_sampling_strategy" and entry.value in ("random", "group_by_length"):
            value = entry.value == "group_by_length"
            keys["group_by_length"] = _key("group_by_length", entries, value, [entry.place], words)


def _checkpointing(entries: Sequence[Entry], keys: dict[str, Key]) -> None:
    """Of attention and of the feed-forward network, each by itself and both together."""
    both = [keys[name] for name in ("use_checkpoint_attn", "use_checkpoint_ffn") if name in keys]
    if both and "use_checkpoint" not in keys:
        value = any(key.value for key in both)
        keys["use_checkpoint"] = _key("use_checkpoint", entries, value, [key.places[0] for key in both])


def dialect(place: Place, entries: Iterable[Entry]) -> str:
    """Whose names these are, for the user to see why a key is touched."""
    beside = [entry.place.path for entry in entries if entry.place.source == place.source]
    known = {segment for each in beside for segment in segments(each)}
    path = segments(place.path)
    if path[0] == "trainer" and len(path) > 1:
        return "Lightning"
    if {"train_dataloader", "optim_wrapper", "default_hooks"} & known:
        return "mmengine"
    if {"batch_size_per_gpu", "num_worker_per_gpu"} & known:
        return "BasicSR"
    if {"per_device_train_batch_size", "dataloader_num_workers"} & known:
        return "HF Trainer"
    if not place.source:
        return "a flag of the command"
    return "keys in capitals" if re.fullmatch(r"[A-Z0-9_]+", place.path.rpartition(".")[2]) else "a plain key"

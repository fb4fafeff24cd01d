"""Whether a training fits on a card, for the terminal: estimated before it runs."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import CardFit, MemoryEstimate, ScriptStep, TrainingEstimate, Variant
from hotlap.report import step_times, text
from hotlap.report.blocks import Report, blank, heading, prose, table
from hotlap.report.estimates import VERDICT_STYLES, binary

_CATEGORIES = {
    "activation": "activations",
    "parameter": "parameters",
    "gradient": "gradients",
    "optimizer": "optimizer state",
    "cast": "parameters in low precision",
    "input": "the batch",
    "buffer": "buffers",
    "temporary": "in passing",
    "kept": "made before the first step",
    "workspace": "workspace of operators",
}
_PARTS = 8
_LIMITS = (
    "Estimated, not measured: a step of this training was gone through with tensors that have no memory. Such peaks "
    "were checked against real ones on a CPU, and on no card (docs/estimate.md). Not in it: validation, which may use "
    "larger pictures, and other programs on the card."
)
_LIMITS_OF_SCRIPT = (
    "Estimated, not measured: the script ran to its first steps, in which what it has on its device was imitated by "
    "tensors that have no memory. Such peaks were checked against real ones on a CPU, and on no card "
    "(docs/estimate.md). Not in it: what the script does after these steps, larger batches than theirs (longer "
    "sequences, larger pictures), and other programs on the card."
)


def training(found: TrainingEstimate) -> Report:
    """Return whether it fits, what is needed for what, the largest micro-batch, and other settings or cards."""
    known = found.memory
    parts: list[RenderableType] = [
        prose(headline(found), style="bold" if found.verdict is None else VERDICT_STYLES[found.verdict]),
        prose(_what(found), indent=2, style="dim"),
        blank(),
        *table(_needed(found), ">>><", header=True),
        *heading(f"What the tensors are, at the peak (in {_moment(known)})"),
        *table(_shares(known), ">><"),
    ]
    if known.holders:
        parts += [*heading("The modules whose activations these are"), *table(_holders(known), ">><")]
    if found.seconds_at_peak is not None:
        parts += [*heading("Time, at the card's peak"), prose(_time(found, found.seconds_at_peak), indent=2)]
    parts += step_times.section(found)
    if found.script is not None and found.script.fixed is not None:
        parts += [*heading("Largest micro-batch"), prose(f"{text.NA}: {found.script.fixed}.", indent=2)]
    if found.largest is not None:
        parts += [*heading("Largest micro-batch"), prose(_largest(found), indent=2)]
    if found.variants:
        parts += [*heading("In other settings"), *table(_variants(found), "<<<><>>", header=True)]
        parts += [prose(_VARIANTS, indent=2, style="dim"), *step_times.variants(found)]
    if found.cards:
        parts += [*heading("On every card"), *table(_cards(found.cards), "><><", header=True)]
        parts += [prose(_CARDS, indent=2, style="dim"), *step_times.of_cards(found)]
    compiled = " Compiled code needs another amount, mostly less: this is of the model as it stands."
    if found.script is not None:
        parts += _of_script(found.script)
    limits = _LIMITS if found.script is None else _LIMITS_OF_SCRIPT
    return Report([*parts, blank(), prose(limits + compiled * found.compiled, indent=2, style="dim")])


def _of_script(script: ScriptStep) -> list[RenderableType]:
    """What was not as it would be: the reader has to know whether it matters."""
    said = []
    if script.answers:
        lines = ", ".join(f"{at} ({text.plural(count, 'time')})" for at, count in list(script.answers.items())[:_PARTS])
        more = f" and {len(script.answers) - _PARTS} more" if len(script.answers) > _PARTS else ""
        said.append(
            "Values that the script read of its tensors were made up (a loss of 1, a count of 0, no to a condition): "
            f"{lines}{more}."
        )
    if script.saves:
        said.append(f"torch.save was called {text.plural(script.saves, 'time')} and wrote nothing.")
    if script.late:
        said.append(
            f"{text.plural(script.late, 'optimizer')} of the script took no part in the {script.steps} steps that were "
            "gone through; what it needs when it does is not in it."
        )
    return [*heading("What was otherwise than in a run"), *(prose(each, indent=2) for each in said)] if said else []


def headline(found: TrainingEstimate) -> str:
    least, likely, most = (size - _given_back(found) for size in found.memory.total)
    if found.verdict is None or found.capacity is None:
        fitting = sum(card.verdict == "fits" for card in found.cards)
        return f"It fits on {fitting} of {len(found.cards)} cards: it needs {binary(likely)}."
    card, memory = found.card, binary(found.capacity)
    where = ", where cached memory is given back" if _given_back(found) else ""
    if found.verdict == "fits":
        left = binary(max(found.capacity - likely, 0))
        return f"It fits on {card}{where}: about {binary(likely)} of {memory}, which leaves {left}."
    if found.verdict == "tight":
        return f"It may just fit on {card}{where}: {binary(least)} to {binary(most)} of {memory}."
    return f"It does not fit on {card}: it needs about {binary(likely)}, and there are {memory}."


def _given_back(found: TrainingEstimate) -> int:
    """Bytes that are reserved where there is no end of memory, and not on this card."""
    if found.reserved is None or found.memory.reserved is None:
        return 0
    return found.memory.reserved - found.reserved


def _what(found: TrainingEstimate) -> str:
    shapes = " + ".join("x".join(map(str, shape)) or "a number" for shape in found.sample)
    setting = found.setting
    micro = f", {found.accumulation_steps} micro-batches in a step" if found.accumulation_steps > 1 else ""
    ranks = f", on each of {found.ranks} GPUs" if found.ranks > 1 else ""
    of = "A step of " * (found.script is not None)
    return (
        f"{of}{found.workload}: {found.parameters:,} parameters, a micro-batch of {found.batch_size}{micro}{ranks}, "
        f"{setting.precision}, {setting.optimizer}, checkpointing {setting.checkpointing}. A sample: {shapes}."
    )


def _needed(found: TrainingEstimate) -> list[tuple[str, str, str, str]]:
    known = found.memory
    least, likely, most = known.total
    rows = [
        ("least", "likely", "most", ""),
        ("", binary(known.allocated), "", "tensors at the peak (allocated)"),
        *([] if known.reserved is None else [("", binary(known.reserved), "", "what is reserved for them")]),
        *((binary(each.least), binary(each.likely), binary(each.most), each.name) for each in known.allowances),
        *(
            []
            if known.reserved is None
            else [(binary(least), binary(likely), binary(most), "all of it, with what is reserved")]
        ),
    ]
    if given_back := _given_back(found):
        rows.append(("", binary(given_back), "", "of it given back on this card, as cached"))
    if found.capacity is not None:
        of_what = "card" if known.device == "cuda" else "machine"
        rows.append(("", binary(found.capacity), "", f"memory of the {of_what}"))
    return rows


def _moment(known: MemoryEstimate) -> str:
    at = known.moment
    operator = at.operator.removeprefix("aten.").partition(".")[0]
    return f"{at.phase}, {operator}" if operator else at.phase


def _shares(known: MemoryEstimate) -> list[tuple[str, str, str]]:
    return [
        (binary(size), text.percent(size / known.requested), _CATEGORIES.get(name, name))
        for name, size in known.categories.items()
        if size
    ]


def _holders(known: MemoryEstimate) -> list[tuple[str, str, str]]:
    rows = list(known.holders.items())[:_PARTS]
    return [(binary(size), text.percent(size / known.requested), name or "(no module)") for name, size in rows]


def _largest(found: TrainingEstimate) -> str:
    largest = found.largest
    assert largest is not None
    seen = ", ".join(f"{batch} ({binary(size)})" for batch, size in largest.allocated.items())
    through = f" Gone through, with their peaks: {seen}."
    if largest.predicted is not None:
        batch, size = largest.predicted
        through += f" {batch} was predicted from others at {binary(size)}."
    if not largest.batch_size:
        return f"None: not even one sample fits.{through}"
    if largest.is_limit and found.script is not None:
        return (
            f"{largest.batch_size} or more, which is as many as are tried: its data set has to have two steps of them, "
            f"and a batch at most 2 GiB.{through}"
        )
    if largest.is_limit:
        return f"{largest.batch_size}, which is as many as this training can have.{through}"
    return f"{largest.batch_size}, even where context and workspace take the most that they may.{through}"


_VARIANTS = (
    "* as configured; all at the same micro-batch. At peak: what a step's products and convolutions take at the card's "
    "peak. The largest micro-batch is predicted from two that were gone through. The state in 8 bits is that of "
    "bitsandbytes."
)
_CARDS = (
    "The largest micro-batch is predicted from two that were gone through, with the most that may be taken besides."
)


def _variants(found: TrainingEstimate) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("recomputed", "precision", "optimizer", "allocated", "", "at peak", "largest")]
    return [*rows, *(_variant(each, is_this=each.setting == found.setting) for each in found.variants)]


def _variant(each: Variant, *, is_this: bool) -> tuple[str, ...]:
    setting = each.setting
    return (
        setting.checkpointing + " *" * is_this,
        setting.precision,
        setting.optimizer,
        binary(each.allocated),
        each.verdict,
        text.seconds(each.seconds_at_peak),
        text.NA if each.largest is None else str(each.largest),
    )


def _time(found: TrainingEstimate, at_peak: float) -> str:
    samples = found.batch_size * found.accumulation_steps * found.ranks
    which, at_most = "A step", ""
    if found.perceptual_every > 1:
        which, at_most = f"The dearest step, one in {found.perceptual_every} with the perceptual loss,", "at most "
    whole = f", and {found.steps:,} steps {at_most}{text.seconds(found.steps * at_peak)}" if found.steps else ""
    return (
        f"{which} has {text.figure(found.flops / 1e12)} TFLOP in products and convolutions. At the peak that the card "
        f"is sold with they take {text.seconds(at_peak)} ({text.figure(samples / at_peak)} samples/s){whole}."
    )


def _cards(cards: list[CardFit]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("memory", "", "largest", "")]
    return [
        *rows,
        *(
            (binary(card.memory), card.verdict, text.NA if card.largest is None else str(card.largest), card.name)
            for card in cards
        ),
    ]

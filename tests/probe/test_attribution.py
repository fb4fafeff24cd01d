"""What sequences of marks mean. Each is written as words, a moment apart."""

from __future__ import annotations

import pytest

from hotlap.probe.attribution import Plan, first_work, new_input
from hotlap.probe.timeline import BATCH

#: Short for what is written often. A number is a loader that hands a batch over; with "end", it has none left.
_WORDS = {
    "F": ["forward", "gap"],
    "E": ["evaluation", "gap"],
    "S": ["scalar", "gap"],
    "N": ["frozen", "gap"],
    "B": ["backward", "gap"],
    "G": ["grad", "gap"],
    "O": ["optimizer", "gap"],
    "Z": ["tidy", "gap"],
}


def kinds(text: str) -> list[str]:
    found = ["gap"]
    for word in text.split():
        if word.isdigit():
            found += [f"data {word}", BATCH]
        elif word.startswith("end"):
            found += [f"data {word.removeprefix('end')}", "gap"]
        else:
            found += _WORDS.get(word, [word, "gap"])
    return found


def phases(text: str, roles: dict[str, str] | None = None) -> list[str]:
    """The phase of each mark that is not a gap."""
    marks = kinds(text)
    plan = Plan(marks, {} if roles is None else roles)
    every = [plan.phases[slot] for slot in plan.slots]
    return [phase for kind, phase in zip(marks, every, strict=True) if kind not in ("gap", BATCH)]


def gaps(text: str) -> list[str]:
    marks = kinds(text)
    plan = Plan(marks, {})
    return [plan.phases[slot] for kind, slot in zip(marks, plan.slots, strict=True) if kind in ("gap", BATCH)]


def used(text: str, roles: dict[str, str] | None = None) -> tuple[int, int | None]:
    """Micro-batches, and samples when batch n has 10 to the power of n."""
    marks = kinds(text)
    plan = Plan(marks, {} if roles is None else roles)
    sizes: list[int | None] = [10**number for number in range(marks.count(BATCH))]
    return plan.micro_batches, plan.samples(sizes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 F B O", "data_wait forward backward optimizer"),
        ("1 Z F B O", "data_wait optimizer forward backward optimizer"),
        # A loss network after the model, and a model that returns its loss.
        ("1 F S B O", "data_wait forward loss backward optimizer"),
        ("1 S B O", "data_wait forward backward optimizer"),
        # A frozen network that compares output and target, and a frozen encoder before the model.
        ("1 F N N B O", "data_wait forward loss loss backward optimizer"),
        ("1 N F B O", "data_wait forward forward backward optimizer"),
        ("1 F loss B O 2 E loss", "data_wait forward loss backward optimizer validation validation validation"),
        # A teacher without gradients, an encoder before, metrics after: all of the micro-batch.
        ("1 E F B O", "data_wait forward forward backward optimizer"),
        ("1 F B E O", "data_wait forward backward forward optimizer"),
        # A model that trains in eval mode.
        ("1 E B O", "data_wait forward backward optimizer"),
        # Validation on its own loader, on the training's, on none, and one that forgot no_grad().
        ("1 F B O 2 E 2 E end2", "data_wait forward backward optimizer" + 5 * " validation"),
        ("1 F B O 1 E 1 E", "data_wait forward backward optimizer" + 4 * " validation"),
        ("1 F B O E E", "data_wait forward backward optimizer validation validation"),
        # In training mode without gradients: on a loader's batches as in eval mode, on nothing it makes data.
        ("1 F B O 2 sampling 2 sampling", "data_wait forward backward optimizer" + 4 * " validation"),
        ("1 sampling F B O", "data_wait forward forward backward optimizer"),
        ("sampling sampling F B O", "sampling sampling forward backward optimizer"),
        ("F B O sampling", "forward backward optimizer sampling"),
        ("1 F B O 2 F 2 F", "data_wait forward backward optimizer" + 4 * " validation"),
        # Data of the next step that was fetched before this one's optimizer.
        ("F B 1 O", "forward backward data_wait optimizer"),
        # A gradient penalty, and a training by autograd.grad alone.
        ("1 F G F B O", "data_wait forward backward forward backward optimizer"),
        ("1 F G", "data_wait forward backward"),
        # No gradients at all.
        ("1 E 1 E", "data_wait forward data_wait forward"),
        ("1 F B recompute O", "data_wait forward backward recompute optimizer"),
    ],
)
def test_what_work_means(text: str, expected: str) -> None:
    """A call of a model is validation unless a backward follows it on the same data, or came before its update."""
    assert phases(text) == expected.split()


def test_gaps_take_their_meaning_from_their_neighbours() -> None:
    """Between forward and backward a loss is computed; a validation ends with its loader, whatever comes next."""
    assert gaps("1 F B O") == ["other", "other", "loss", "other", "other"]
    expected = ["other", "other", "loss", "other", "other", "validation", "validation", "other", "other"]
    assert gaps("1 F B O 2 E end2 1") == expected


def test_functions_without_modules() -> None:
    """Where no module is called, what comes before backward is the forward."""
    assert gaps("1 B O") == ["other", "forward", "other", "other"]
    assert gaps("1 loss B O") == ["other", "forward", "loss", "other", "other"]


def test_a_batch_fetched_in_the_step_before() -> None:
    """The last micro-batch of an epoch, whose loader fetches one ahead, is as large as what was fetched last."""
    plan = Plan(["data 1", BATCH, "forward", "backward", "data 1", "forward", "backward", "optimizer"], {})
    assert (plan.micro_batches, plan.samples([4], before=3)) == (2, 7)


def test_inside_a_closure() -> None:
    """What an optimizer's closure does is told apart from what the optimizer does with it."""
    marks = ["data 1", BATCH, "optimizer", "forward", "optimizer", "backward", "optimizer", "forward", "optimizer"]
    marks += ["backward", "optimizer"]
    plan = Plan(marks, {})
    assert [plan.phases[slot] for slot in plan.slots] == [
        *("data_wait", "other", "other", "forward", "loss", "backward", "optimizer", "forward", "loss", "backward"),
        "optimizer",
    ]
    assert plan.micro_batches == 1


def test_gradients_are_cleared_inside_a_closure() -> None:
    """A closure that clears the gradients after its forward, or calls a loss module, goes on to its backward."""
    for between in ("tidy", "loss", "logging"):
        marks = ["data 1", BATCH, *("optimizer", "forward", "optimizer", between, "optimizer", "backward", "optimizer")]
        plan = Plan(marks, {})
        meant = [plan.phases[slot] for slot in plan.slots]
        assert (meant[4], meant[6], meant[8]) == ("loss", "loss", "optimizer"), between


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 F B O", (1, 1)),
        ("1 F B 1 F B O", (2, 11)),
        # All at once before the work, two loaders for one micro-batch, batches that were skipped.
        ("1 1 F B F B O", (2, 11)),
        ("1 2 F B O", (1, 11)),
        ("1 1 1 F B O", (1, 100)),
        # One batch for two networks; a critic that is called twice.
        ("1 F F B O F B O", (1, 1)),
        # A validation's batches are nobody's samples.
        ("1 F B O 2 E 2 E", (1, 1)),
        # Fetched ahead: for the first time, and then always.
        ("1 F B 1 O", (1, 1)),
        ("F B 1 O", (1, 1)),
        # Without a loader.
        ("F B F B O", (2, None)),
        ("F B O F B O", (1, None)),
    ],
)
def test_micro_batches_and_samples(text: str, expected: tuple[int, int | None]) -> None:
    """A micro-batch is data and the backward on it; its samples are those that it was fed."""
    assert used(text) == expected


def test_roles_are_learnt() -> None:
    """A loader that was left in the middle of a validation stays the validation's."""
    roles: dict[str, str] = {}
    phases("1 F B O 2 E 2", roles)
    assert roles == {"data 1": "training", "data 2": "validation"}
    assert phases("2 1 F B O", roles)[:2] == ["validation", "data_wait"]
    assert used("2 1 F B O", roles) == (1, 10)


def test_a_loader_that_was_evaluated_first_can_train() -> None:
    """A first look at the training data does not make them validation data."""
    roles: dict[str, str] = {}
    phases("1 F B O 2 E", roles)
    assert phases("2 F B O", roles)[0] == "data_wait"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "data 1"),
        ("Z 1 Z", "data 1"),
        ("logging 1 logging", "data 1"),
        ("1 E", "data 1"),
        # A new epoch begins with the end of the old one, a new loader or several.
        ("end1 1", "data 1"),
        ("1 2", "data 1"),
        # What a validation leaves behind is not the step's.
        ("3 E 3 E end3 1", "data 1"),
        ("3 E end3 3 E", None),
        ("3 E 3 1", "data 1"),
        ("", None),
        ("E", None),
        ("end1", None),
    ],
)
def test_where_a_step_begins(text: str, expected: str | None) -> None:
    """It begins with the wait for its first batch, whatever else lies between it and the work."""
    roles = {"data 3": "validation"}
    marks = kinds(text)
    index = new_input(marks, 0, roles)
    assert (None if index is None else marks[index]) == expected


def test_an_unknown_validation_before_a_step() -> None:
    """That its loader feeds no training shows in the work that was done on it."""
    marks = kinds("3 E 3 E end3 1")
    index = new_input(marks, 0, {})
    assert index is not None
    assert marks[index] == "data 1"


def test_where_work_begins_without_new_data() -> None:
    """With the first forward that is trained; in eval mode with the call right before backward."""
    assert first_work(kinds("E F B"), 0) == 3
    assert first_work(kinds("E E B"), 0) == 3
    assert first_work(kinds("B"), 0) == 1
    assert first_work(kinds("E"), 0) == 3


def test_waiting_for_other_ranks_inside_a_call_does_not_make_two_of_it() -> None:
    """Buffers are brought in line within the forward; one number that it returns is still its own."""
    marks = ["gap", "forward", "gradient_sync", "scalar", "gap", "backward", "gradient_sync", "gap", "optimizer"]
    plan = Plan(marks, {})
    assert [plan.phases[slot] for slot in plan.slots] == [
        *("other", "forward", "gradient_sync", "forward", "loss", "backward", "gradient_sync", "other", "optimizer")
    ]
    assert plan.micro_batches == 1


def test_a_collective_takes_the_place_of_what_it_interrupts() -> None:
    """After an evaluation it gathers what that found; between two calls of backward it changes no gap."""
    assert phases("F B O 3 E gradient_sync") == ["forward", "backward", "optimizer", *["validation"] * 3]
    assert phases("1 F B gradient_sync B O").count("gradient_sync") == 1

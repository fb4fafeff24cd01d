"""Each warning comes with its evidence, and none without."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_looks import GIB, gpu, machine, processes, sample, steps, watched

from hotlap.watch.sample import Gpu, GpuProcess


def said(looks: int = 20, **fields: Any) -> dict[str, str]:
    """What is said after so many looks that are alike."""
    history, _ = watched(looks, lambda i: sample(float(i), **fields))
    return {each.about: each.text for each in history.samples[-1].warnings}


def test_a_healthy_training_gets_no_warning() -> None:
    """Nothing is said."""
    assert said() == {}


def test_nothing_is_said_of_what_is_not_seen() -> None:
    """No driver, no record, no processes that may be looked at."""
    assert said(gpus=[], steps=None, processes=None) == {}
    blind = Gpu(index=0, processes=[GpuProcess(pid=7, watched=True)])
    assert said(gpus=[blind], steps=steps(step_seconds=None, phases={}, silence=None)) == {}


def test_memory_of_the_machine_is_critical() -> None:
    """From nine tenths on."""
    assert said(machine=machine(memory_used=57 * GIB)) == {}
    assert said(machine=machine(memory_used=60 * GIB))["memory"] == (
        "94 % of the machine's memory is in use (64.4 GB of 68.7 GB)"
    )


def test_the_limit_of_a_container_counts_as_memory() -> None:
    """The machine may have plenty."""
    full = said(processes=processes(group_used=19 * GIB, group_limit=20 * GIB))
    assert "95 % of what the control group may hold" in full["memory of the group"]


@pytest.mark.parametrize(
    ("wait", "step", "words"),
    [
        (0.009, 1.0, None),
        (0.2, 10.0, None),  # 2 % of a long step
        (0.035, 0.1, "a step waits 35.0 ms for its data, 35 % of it; the goal is less than 10 ms"),
        (0.008, 0.009, "a step waits 8.00 ms for its data, 89 % of it; that is less than 10 ms, but much"),
        (0.001, 0.009, None),
    ],
)
def test_data_time(wait: float, step: float, words: str | None) -> None:
    """Above the goal, or most of a short step."""
    phases = {"data_wait": wait, "forward": step - wait}
    found = said(gpus=[], steps=steps(step_seconds=step, phases=phases)).get("data")
    assert (found is None) if words is None else (found is not None and found.startswith(words))


def test_an_idle_gpu_is_said_with_its_cause() -> None:
    """Waiting for data, one busy Python thread, or nothing that is known."""
    idle = [gpu(utilization=40.0)]
    waits = steps(phases={"data_wait": 0.06, "forward": 0.04})
    assert said(gpus=idle, steps=waits)["idle"] == (
        "GPU 0 computes 40 % of the time, and the goal is 90 %: the training waits for its data for 60 % of a step"
    )
    assert "so Python may be too slow" in said(gpus=idle, processes=processes(main_thread=0.99))["idle"]
    assert "`hotlap profile` tells more" in said(gpus=idle)["idle"]
    assert "the training is not recorded" in said(gpus=idle, steps=None)["idle"]


def test_an_idle_gpu_of_others_is_none_of_ours() -> None:
    """Only cards on which the training computes, and only after some looks."""
    assert said(gpus=[gpu(), gpu(1, utilization=0.0, processes=[])]) == {}
    assert said(looks=3, gpus=[gpu(utilization=0.0)]) == {}


def test_several_cards_are_one_sentence() -> None:
    """Eight of the same would push everything else off the screen."""
    cards = [gpu(i, utilization=40.0 + i, throttled=["power limit"]) for i in range(8)]
    found = said(gpus=cards)
    assert found["clocks: power limit"] == "the clocks of GPUs 0 to 7 are held back: power limit"
    assert found["idle"].startswith("GPUs 0 to 7 compute 40 to 47 % of the time")
    assert said(gpus=[cards[1], cards[4]])["idle"].startswith("GPUs 1, 4 compute 41 to 44 %")


def test_cards_that_are_guessed_count_as_the_training_s() -> None:
    """And the warning says that it is of a guess."""
    foreign = [gpu(0, utilization=10.0, processes=[GpuProcess(pid=99999)]), gpu(1, utilization=0.0, processes=[])]
    assert said(gpus=foreign) == {}
    history, _ = watched(20, lambda i: sample(float(i), gpus=foreign, guessed=[0]))
    (found,) = history.samples[-1].warnings
    assert found.text.startswith("GPU 0 computes 10 %")
    assert found.guess


def test_what_a_card_did_before_it_was_the_training_s_is_no_idleness_of_it() -> None:
    """While it was guessed, or had no process of the training; nor is memory of that time a growth."""
    before = gpu(0, utilization=0.0, processes=[])

    def look(i: int, **fields: Any) -> Any:
        return sample(float(i), gpus=[gpu()]) if i >= 20 else sample(float(i), gpus=[before], **fields)

    for fields in ({}, {"guessed": [0]}):
        history, _ = watched(30, lambda i, fields=fields: look(i, **fields))
        assert all(not each.warnings for each in list(history.samples)[20:])
    growing = [
        sample(float(i), gpus=[gpu(memory_used=40 * GIB + i * GIB // 10, processes=[])], guessed=[0])
        for i in range(121)
    ]
    history, _ = watched(122, lambda i: growing[i] if i < 121 else sample(float(i)))
    assert [each.about for each in history.samples[-2].warnings] == ["gpu 0 growth"]
    assert history.samples[-1].warnings == []


def test_a_lost_gpu_and_a_loss_that_is_no_number() -> None:
    """Said at once."""
    found = said(looks=1, gpus=[gpu(utilization=None, lost=True)], steps=steps(not_finite_since=997))
    assert found["gpu 0 lost"] == "GPU 0 is lost: the driver no longer reaches it"
    assert found["loss"] == "the loss is no finite number since step 997 (NaN or infinite)"
    found = said(looks=1, steps=steps(not_finite_since=997, not_finite_before=True))
    assert found["loss"] == "the loss is no finite number since step 997 or before (NaN or infinite)"


def test_a_training_that_stands_still() -> None:
    """No step for far longer than one takes."""
    assert said(steps=steps(silence=20.0)) == {}
    assert said(steps=steps(silence=45.0))["silence"] == "no step has ended for 45.0 s; they took 100 ms"


def test_memory_that_grows_says_when_it_is_used_up() -> None:
    """0.1 GiB a second, and 48 GiB are free; the limit of a container comes first."""

    def grows(i: int, **fields: Any) -> Any:
        held = 8 * GIB + i * GIB // 10
        return sample(float(i), gpus=[], processes=processes(pss=held, held=held, **fields))

    (found,) = watched(121, grows)[0].samples[-1].warnings
    assert found.text == "the memory of the training grows by 6.44 GB a minute: out of memory in about 8 min 00 s"
    limited = watched(121, lambda i: grows(i, group_used=10 * GIB, group_limit=20 * GIB))[0].samples[-1].warnings
    assert limited[0].text.endswith("out of memory in about 100 s")


def test_memory_that_levels_off_is_no_growth() -> None:
    """A cache that has filled, and a jump."""

    def fills(i: int) -> Any:
        held = 8 * GIB + min(i, 60) * GIB // 10
        return sample(float(i), gpus=[], processes=processes(held=held))

    assert watched(200, fills)[0].samples[-1].warnings == []
    assert (
        watched(100, lambda i: sample(float(i), processes=processes(held=(8 + i // 50) * GIB)))[0].samples[-1].warnings
        == []
    )


def test_memory_of_a_gpu_that_grows() -> None:
    """Until the card is full."""
    history, _ = watched(121, lambda i: sample(float(i), gpus=[gpu(memory_used=40 * GIB + i * GIB // 10)]))
    (found,) = history.samples[-1].warnings
    assert found.text.startswith("the memory of GPU 0 grows by 6.44 GB a minute: out of memory in about")

"""As many workers as keep up, no more than there is room for, and in words why; by a clock that the test holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from hotlap.data import SampleCache, loader_settings, search
from hotlap.workers import batch_seconds, choose, to_keep_up


def test_the_formula() -> None:
    assert to_keep_up(0.1, 0.05) == 2
    assert to_keep_up(0.1, 0.05, 1.25) == 3
    assert to_keep_up(0.001, 1.0) == 1
    assert batch_seconds(8, miss=0.1, hit=0.01, hit_rate=0.75) == pytest.approx(0.26)


@pytest.mark.parametrize(
    ("given", "workers", "said"),
    [
        ({}, 5, "5 workers: a batch takes 200 ms to fetch and a step 55 ms without waiting"),
        ({"cores": 4}, 4, "for which 5 would be wanted; 4 cores allow no more"),
        ({"ranks": 4}, 4, "16 cores for 4 ranks allow no more"),
        ({"ready": 100 * 2**20, "memory": 250 * 2**20}, 2, "the memory for 100 MiB that each holds ready"),
        ({"fetch": 0.0003}, 0, "no workers: a batch takes 0.3 ms to fetch, and about 0.5 ms to hand over"),
        ({"fetch": 0.001}, 1, "1 worker: "),
        ({"step": 0.0}, 16, "16 cores allow no more"),
        ({"cores": 1, "ranks": 2}, 0, "0 workers: "),
    ],
)
def test_workers_are_chosen_and_explained(given: dict[str, Any], workers: int, said: str) -> None:
    fetch, step = given.pop("fetch", 0.2), given.pop("step", 0.055)
    found = choose(fetch, step, **({"cores": 16} | given))
    assert found.workers == workers
    assert said in found.why


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """Samples that take a hundredth of a second each, and numbers at random."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.asked = clock, 0

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> Any:
        self.clock.now += 0.01
        self.asked += 1
        return torch.rand(100)


def test_settings_from_a_few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 ms for a batch of six, and a step of 50: two workers. A step that is guessed is said to be."""
    monkeypatch.setattr("hotlap.data.loader.usable_cores", lambda: 16)
    clock = Clock()
    dataset, state = Slow(clock), torch.get_rng_state()
    found = loader_settings(dataset, 6, step_seconds=0.05, ranks=1, clock=clock)
    assert torch.equal(state, torch.get_rng_state())
    assert dataset.asked == 4
    assert found.num_workers == 2
    assert found.options()["persistent_workers"]
    assert "60 ms to fetch and a step 50 ms" in found.why
    guessed = loader_settings(dataset, 6, ranks=1, clock=clock)
    assert guessed.num_workers == 1
    assert "guessed" in guessed.why
    none = loader_settings(torch.zeros(10, 2), 8, ranks=1, clock=clock)
    assert none.options() == {"num_workers": 0, "pin_memory": torch.cuda.is_available()}


def test_hits_want_fewer_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotlap.data.loader.usable_cores", lambda: 16)
    monkeypatch.setattr("hotlap.probe.shared.samples.TWICE", 0)
    clock = Clock()

    class Same(Slow):
        def __getitem__(self, index: int) -> Any:
            self.clock.now += 0.01
            return torch.zeros(100)

    cache = SampleCache(Same(clock), 0.001, augment=lambda sample: sample + 0)
    torch.manual_seed(0)
    cold = loader_settings(cache, 30, step_seconds=0.05, hit_rate=0.0, ranks=1, clock=clock)
    warm = loader_settings(cache, 30, step_seconds=0.05, hit_rate=0.9, ranks=1, clock=clock)
    assert (cold.num_workers, warm.num_workers) == (8, 1)
    assert "hit rate of 90 %: 10 ms for a miss" in warm.why


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({0: 0.10, 1: 0.09, 2: 0.05, 4: 0.049, 6: 0.0495}, 2),
        ({0: 0.050, 1: 0.09, 2: 0.08, 4: 0.07, 6: 0.06}, 0),
        ({0: 0.10, 1: 0.09, 2: 0.08, 4: 0.07, 6: 0.05}, 6),
    ],
)
def test_the_fewest_that_are_as_fast(seconds: dict[int, float], expected: int) -> None:
    """Taking turns; what was fetched ahead, and a start that is slow, are not timed."""
    clock, tried = Clock(), []

    class Loader:
        def __init__(self, workers: int) -> None:
            self.workers = workers
            tried.append(workers)

        def __iter__(self) -> Iterator[int]:
            for number in range(5):
                clock.now += seconds[self.workers]
                yield number

    found = search(Loader, lambda batch: None, 4, most=8, batches=6, clock=clock)
    assert found.workers == expected
    assert found.seconds == pytest.approx(seconds)
    assert tried == [0, 1, 2, 4, 6, 1, 2, 4, 6, 0, 2, 4, 6, 0, 1]
    assert set(search(Loader, lambda batch: None, 4, most=2, batches=6, clock=clock).seconds) == {0, 1, 2}


def test_a_loader_without_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch"):
        search(lambda workers: [], lambda batch: None, 2)

"""A controller lets trainings run by blocks of steps, and stops all of them while it measures another."""

from __future__ import annotations

import time
from collections.abc import Callable

from living import processes

from hotlap.launch import Plan, Training
from hotlap.launch.guardian import state

GATED = Plan(gated=True)


def test_block(start: Callable[..., Training]) -> None:
    """A block returns the steps that ran in it, all but the first, and the next block goes on after them."""
    with start("train(1000)", GATED) as training:
        assert training.wait_for_gate()
        assert sum(line["k"] == "gate" for line in training.lines) == 1
        first = training.block(0.0, 3)
        second = training.block(0.0, 2)
    assert first is not None
    assert second is not None
    assert [step.i for step in first] == [2, 3, 4]
    assert [step.i for step in second] == [6, 7]
    assert training.run().info.outcome == "stopped"


def test_block_by_time(start: Callable[..., Training]) -> None:
    """A block lasts as long as was asked for, however many steps that takes."""
    with start("train(100000, 0.001)", GATED) as training:
        training.wait_for_gate()
        steps = training.block(0.1, 1)
    assert steps is not None
    assert len(steps) > 5


def test_end_within_a_block(start: Callable[..., Training]) -> None:
    """A training that ends in a block returns none, however it ends, and saying go to it later does no harm."""
    with start("train(3)", GATED) as training:
        training.wait_for_gate()
        assert training.block(0.0, 50) is None
        training.freeze()
        assert training.block(0.0, 1) is None
        training.release()
    assert training.run().info.outcome == "finished"
    with start("train(3)\nraise ValueError('x')", GATED, name="crash") as training:
        training.wait_for_gate()
        assert training.block(0.0, 50) is None
    assert training.run().info.reason == "exit code 1: ValueError: x"


def test_release(start: Callable[..., Training]) -> None:
    """A released training runs to its end."""
    with start("train(50)", GATED) as training:
        training.wait_for_gate()
        training.block(0.0, 1)
        training.release()
        training.wait()
    run = training.run()
    assert run.info.outcome == "finished"
    assert len(run.steps) == 50


def test_interleaved(start: Callable[..., Training]) -> None:
    """Of two trainings one runs and the other stands still, in turn, and neither loses a step."""
    a, b = start("train(10000)", GATED, name="a"), start("train(10000)", GATED, name="b")
    with a, b:
        for training in (a, b):
            assert training.wait_for_gate()
            training.freeze()
        for _ in range(3):
            for runs, stands in ((a, b), (b, a)):
                count = len(stands.lines)
                assert len(runs.block(0.0, 4) or []) == 4
                runs.freeze()
                stands.poll()
                assert len(stands.lines) == count
    assert [step.i for step in a.run().steps] == list(range(16))


def test_freeze_reaches_every_process(start: Callable[..., Training], token: str) -> None:
    """Workers, and ranks in sessions of their own, stand still too, and go on together."""
    body = (
        "import subprocess\n"
        "ticking = 'import time, sys\\nwhile True: time.sleep(0.001); print(1, flush=True)'\n"
        "tick = open(settings['run_dir'] + '/ticks', 'w')\n"
        "subprocess.Popen([sys.executable, '-S', '-c', ticking], stdout=tick, start_new_session=True)\n"
        "subprocess.Popen([sys.executable, '-S', '-c', ticking], stdout=tick)\n"
        "train(100000)"
    )
    with start(body, GATED) as training:
        training.wait_for_gate()
        ticks = training.directory / "ticks"
        while ticks.stat().st_size < 10:
            time.sleep(0.005)
        training.freeze()
        states = [state(pid) for pid in processes(token) if pid != training._guardian.pid]
        assert states == ["T"] * 3
        before = ticks.stat().st_size
        time.sleep(0.05)
        assert ticks.stat().st_size == before
        training.block(0.0, 1)
        while ticks.stat().st_size == before:
            time.sleep(0.005)
        training.freeze()
        # A frozen training ends like any other: nothing is left, which the fixture looks at.


def test_snapshot(start: Callable[..., Training]) -> None:
    """What has been recorded can be read while the training lives, here and from its directory."""
    with start("train(10000)", GATED) as training:
        training.wait_for_gate()
        training.block(0.0, 2)
        assert len(training.snapshot().steps) == 4
        run = training.run()
        assert len(run.steps) == 4
        assert run.info.outcome == "interrupted"
        assert run.info.reason == "it still runs, or hotlap was killed before it ended"
        assert run.info.ended >= run.steps[-1].t + run.steps[-1].wall

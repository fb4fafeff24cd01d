"""``log.jsonl`` of ``hotlap train``: each of its lines counts as what it is."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from log_reading import read_text

from hotlap.diagnose import diagnose_log
from hotlap.read import read
from hotlap.records import Reading

BEGIN = '{"step":0,"batch_size":4,"accumulation_steps":8,"ranks":1,"total_steps":937}\n'
END = '{"step":%d,"finished":true,"simple_exact_match":0.0}\n'


def course(steps: int = 22, health_every: int = 5, step_ms: float = 44.665, rate: float = 809.0) -> str:
    """Losses of each step; health and a validation now and then."""
    lines = []
    for step in range(1, steps + 1):
        lines.append(
            f'{{"step":{step},"loss":{2 / step},"lr":5e-05,"samples_per_second":{rate},"data_time_ms":1.25}}\n'
        )
        if step % health_every == 0:
            health = (
                '{"process_memory":500000000,"system_memory":2000000000,"total_memory":8000000000,"cpu":99.0,'
                f'"data_time_ms":1.5,"step_ms":{step_ms if step > health_every else 3 * step_ms},"disk_wait":null}}'
            )
            lines.append(f'{{"step":{step},"health":{health}}}\n')
        if step % 10 == 0:
            lines.append(f'{{"step":{step},"val_exact_match":0.{step},"val_character_error_rate":0.5}}\n')
    return "".join(lines) + END % steps


def codes(found: Reading) -> set[str]:
    return {finding.code for finding in diagnose_log(found).findings}


def ways(found: Reading) -> list[tuple[float, bool]]:
    return [(pytest.approx(each.seconds), each.wall) for each in found.step_times]


def test_settings_are_in_its_first_line(tmp_path: Path) -> None:
    """A step is all of its micro-batches, and nothing has to be given."""
    found = read_text(tmp_path, BEGIN + course())
    settings = (found.batch_size, found.accumulation, found.world_size, found.total_steps)
    assert [(each.value, each.origin) for each in settings] == [(each, "printed") for each in (4, 8, 1, 937)]
    assert ways(found) == [(0.044665, True), (32 / 809, False)]
    assert found.step_seconds.origin == "printed"
    assert found.step_seconds.how.startswith("median of 3 lines after the first with step_ms")


def test_what_is_given_wins(tmp_path: Path) -> None:
    found = read_text(tmp_path, BEGIN + course(), batch_size=2, world_size=2)
    assert (found.batch_size.origin, found.world_size.origin) == ("given", "given")
    assert ways(found)[1] == (32 / 809, False)


def test_the_last_settings_count(tmp_path: Path) -> None:
    """A training that went on with others writes them where it does."""
    found = read_text(tmp_path, BEGIN + course(5) + BEGIN.replace(":937", ":1000").replace(":8,", ":2,"))
    assert (found.accumulation.value, found.total_steps.value) == (2, 1000)


def test_clocks_differ_by_what_is_between_steps(tmp_path: Path) -> None:
    """Its rate is of whole steps without validations: no rate of one micro-batch (LOG03)."""
    assert codes(read_text(tmp_path, BEGIN + course(step_ms=60.0))) == {"LOG02"}
    assert codes(read_text(tmp_path, BEGIN + course(step_ms=40.0, rate=800.0))) == {"LOG01"}


def test_the_configuration_beside_an_older_log(tmp_path: Path) -> None:
    """The ranks are not in it."""
    (tmp_path / "config.json").write_text(json.dumps({"batch_size": 4, "accumulation_steps": 8, "lr": 5e-5}))
    found = read_text(tmp_path, course(health_every=100))
    assert (found.batch_size.value, found.accumulation.value) == (4, 8)
    assert found.accumulation.how == "accumulation_steps in config.json beside the log"
    assert found.step_seconds.how == "would follow from the throughput with --world-size"
    (tmp_path / "log.gz").write_bytes(gzip.compress(course(health_every=100).encode()))
    assert read([tmp_path / "log.gz"], world_size=1).step_seconds.value == pytest.approx(32 / 809)


def test_the_first_line_wins_over_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"batch_size": 5, "accumulation_steps": 9}))
    found = read_text(tmp_path, BEGIN + course())
    assert (found.batch_size.value, found.accumulation.value) == (4, 8)


@pytest.mark.parametrize(
    "beside", [None, "{", "[1]", '{"batch_size": 3}', '{"accumulation_steps": "auto"}', '{"accumulation_steps": true}']
)
def test_one_micro_batch_is_not_assumed(beside: str | None, tmp_path: Path) -> None:
    """Without accumulation nothing follows from the rate; health lines say the step's time all the same."""
    if beside is not None:
        (tmp_path / "config.json").write_text(beside)
    found = read_text(tmp_path, course(health_every=100), batch_size=4, world_size=1)
    assert (found.step_seconds.value, found.step_times) == (None, [])
    assert "micro-batches of a step, which no line says" in found.step_seconds.how
    found = read_text(tmp_path, course(), batch_size=4, world_size=1)
    assert ways(found) == [(0.044665, True)]
    health = "".join(line + "\n" for line in course().splitlines() if "health" in line)
    assert read_text(tmp_path, health, batch_size=4, world_size=1).throughput.value is None


def test_a_configuration_beside_another_log_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"batch_size": 4, "accumulation_steps": 8}))
    found = read_text(tmp_path, "iter 10: loss 2.5, time 20.00ms\n")
    assert (found.batch_size.value, found.accumulation.value) == (None, None)


def test_lines_of_one_process_are_no_ranks(tmp_path: Path) -> None:
    """Health, validations and the end repeat no step, and have no data time of a logged line."""
    found = read_text(tmp_path, BEGIN + course())
    (source,) = found.sources
    assert source.repeated == 0
    assert source.formats == {"hotlap train": 22, "hotlap train, health": 4, "remarks": 3}
    assert found.data_seconds.how == "mean of 22 lines"
    assert found.data_seconds.value == pytest.approx(1.25e-3)
    assert (found.steps.value, found.evaluations, found.restarts) == (22, 2, [])
    assert found.series["evaluation: exact_match"].value == [0.10, 0.20]


def test_memory_is_in_its_health_lines(tmp_path: Path) -> None:
    found = read_text(tmp_path, BEGIN + course())
    assert (found.process_memory.value, found.series["system memory"].lines) == (5e8, 4)
    assert found.device_memory.origin == "missing"
    full = (BEGIN + course()).replace('"system_memory":2', '"system_memory":7')
    assert "LOG07" not in codes(found)
    assert "LOG07" in codes(read_text(tmp_path, full.replace('"system_memory":70', '"system_memory":79')))


def test_a_training_that_ended_in_nan(tmp_path: Path) -> None:
    """Its last line is a loss of null, and nothing else."""
    course_until = "".join(line + "\n" for line in course().splitlines() if "finished" not in line)
    found = read_text(tmp_path, BEGIN + course_until + '{"step":30,"loss":null}\n')
    (finding,) = [each for each in diagnose_log(found).findings if each.code == "LOG05"]
    assert finding.evidence == ["1 of 23 printed losses is not finite, the first at step 30."]
    assert found.steps.value == 30
    assert found.data_seconds.how == "mean of 22 lines"


@pytest.mark.parametrize("before", ["", BEGIN], ids=["older", "with settings"])
def test_nan_before_the_first_logged_loss(before: str, tmp_path: Path) -> None:
    """Such a log is one of hotlap all the same."""
    found = read_text(tmp_path, before + '{"step":3,"loss":null}\n')
    assert found.format == "hotlap train"
    assert codes(found) == {"LOG05"}


def test_json_lines_of_others_are_left(tmp_path: Path) -> None:
    """A step and a loss are in many a log."""
    other = '{"step":3,"loss":0.5}\n{"step":4,"loss":null,"time":1}\n{"step":0,"batch_size":4}\n'
    assert read_text(tmp_path, BEGIN + course(3) + other).sources[0].formats == {"hotlap train": 3, "remarks": 1}

"""Prometheus' text format, as its own parser and node_exporter's textfile collector take it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import msgspec
import pytest
from recorded import STEP, recorded, steps

from hotlap.diagnose import diagnose
from hotlap.export import export, prometheus

SAMPLE = re.compile(r'([a-z_:]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\n"])*",?)+)\} (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Samples = list[tuple[str, dict[str, str], float]]


def parsed(text: str) -> tuple[dict[str, str], Samples]:
    """Return the kinds and the samples of a text that keeps to the format, and fail for any other."""
    assert text.endswith("\n")
    kinds: dict[str, str] = {}
    samples: Samples = []
    helped = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            assert helped not in kinds
            assert len(line.split(" ", 3)[3]) > 3
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == helped
            kinds[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            assert found[1] in (helped, f"{helped}_sum", f"{helped}_count")
            labels = {
                key: re.sub(r"\\(.)", lambda each: {"n": "\n"}.get(each[1], each[1]), value)
                for key, value in LABEL.findall(found[2])
            }
            samples.append((found[1], labels, float(found[3])))
    return kinds, samples


def value(samples: Samples, metric: str, **labels: str) -> float:
    (found,) = [each for each in samples if each[0] == metric and labels.items() <= each[1].items()]
    return found[2]


@pytest.mark.parametrize("count", [40, 41])
def test_the_middle_quantile_is_the_median(tmp_path: Path, count: int) -> None:
    """The one that the profile shows, also of an even number of steps."""
    walls = {i: STEP * (1 + 0.01 * (i % 7)) for i in range(count)}
    run, _ = recorded(tmp_path, count=count)
    run = msgspec.structs.replace(run, steps=[msgspec.structs.replace(each, wall=walls[each.i]) for each in run.steps])
    diagnosis = diagnose(run)
    _, samples = parsed(prometheus.render(run, diagnosis))
    assert value(samples, "hotlap_step_seconds", quantile="0.5") == pytest.approx(diagnosis.step_seconds)


def test_what_is_said(tmp_path: Path) -> None:
    """Seconds and bytes, with the run in each label."""
    run, _ = recorded(tmp_path, {"k": "metric", "name": "psnr", "value": 31.5, "step": 4}, count=40)
    kinds, samples = parsed(prometheus.render(run, diagnose(run)))
    assert kinds["hotlap_step_seconds"] == "summary"
    assert set(kinds.values()) == {"summary", "gauge"}
    assert {labels["run"] for _, labels, _ in samples} == {"profile-1"}
    assert value(samples, "hotlap_step_seconds", quantile="0.5") == pytest.approx(STEP)
    count = value(samples, "hotlap_step_seconds_count")
    assert value(samples, "hotlap_step_seconds_sum") == pytest.approx(count * STEP)
    assert value(samples, "hotlap_phase_seconds", phase="recompute") == pytest.approx(0.001)
    assert value(samples, "hotlap_throughput_samples_per_second") == pytest.approx(8 / STEP)
    assert value(samples, "hotlap_steps") == 40
    assert value(samples, "hotlap_metric", name="psnr") == 31.5
    assert value(samples, "hotlap_run_start_time_seconds") == 1795253400
    parts = [each[2] for each in samples if each[0] == "hotlap_budget_seconds"]
    assert math.fsum(parts) == pytest.approx(value(samples, "hotlap_run_duration_seconds"))
    stake = {labels["code"] for name, labels, _ in samples if name == "hotlap_finding_seconds"}
    assert stake <= {labels["code"] for name, labels, _ in samples if name == "hotlap_finding"}


def test_what_is_unknown_has_no_sample(tmp_path: Path) -> None:
    """Missing is not 0: no peak memory, no family of it."""
    run, _ = recorded(tmp_path, steps(6, [None] * 6))
    kinds, _ = parsed(prometheus.render(run, diagnose(run)))
    assert not {"hotlap_loss", "hotlap_peak_memory_bytes", "hotlap_metric"} & kinds.keys()


def test_labels_and_numbers_are_escaped(tmp_path: Path) -> None:
    """Quotes, backslashes and line ends in names; NaN and infinity as Prometheus writes them."""
    name = 'a "b" \\ c\nd'
    metric = {"k": "metric", "name": name, "value": 1.0, "step": 1}
    run, _ = recorded(tmp_path, steps(6, [1.0] * 5 + [math.nan]), metric, name=name)
    text = prometheus.render(run, diagnose(run))
    _, samples = parsed(text)
    assert {labels["run"] for _, labels, _ in samples} == {name}
    assert value(samples, "hotlap_metric", name=name) == 1.0
    assert math.isnan(value(samples, "hotlap_loss"))
    assert " NaN\n" in text


def test_the_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    """A collector that looks meanwhile sees the old one or the new one, and nothing is left beside it."""
    run, directory = recorded(tmp_path)
    place = tmp_path / "textfiles" / "hotlap.prom"
    export(run, directory, "prometheus", place)
    before = place.stat().st_ino
    export(run, directory, "prometheus", place)
    assert place.stat().st_ino != before
    assert [each.name for each in place.parent.iterdir()] == ["hotlap.prom"]


def test_the_parser_of_prometheus_reads_it(tmp_path: Path) -> None:
    """Where it is installed."""
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")
    run, _ = recorded(tmp_path, name='a "b" \\ c')
    text = prometheus.render(run, diagnose(run))
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert families["hotlap_step_seconds"].type == "summary"
    theirs = [(each.name, each.labels, each.value) for family in families.values() for each in family.samples]
    assert theirs == parsed(text)[1]

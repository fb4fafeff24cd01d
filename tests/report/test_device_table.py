"""The device's seconds beside the host's in the terminal."""

from __future__ import annotations

import io

import made_up
from rich.console import Console

from hotlap.records import DevicePhase, DevicePhases
from hotlap.report import terminal

PHASES = {"data_wait": 0.001, "forward": 0.004, "backward": 0.005}


def phase(host: float, at_least: float, at_most: float) -> DevicePhase:
    return DevicePhase(host=host, elapsed=host, at_least=at_least, at_most=at_most)


def printed(seen: DevicePhases | None) -> list[str]:
    out = io.StringIO()
    diagnosis = made_up.diagnosis(phases=PHASES, device=seen)
    Console(file=out, width=120).print(terminal.profile(made_up.run(), diagnosis))
    lines = out.getvalue().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("A steady step"))
    return lines[start + 1 : start + 11]


def test_the_device_has_a_column() -> None:
    seen = DevicePhases(
        steps=2,
        held=1,
        wall=0.01,
        phases={
            "data_wait": phase(0.001, 0.0, 0.0),
            "forward": phase(0.004, 0.0010, 0.0010),
            "backward": phase(0.005, 0.0010, 0.0030),
        },
        dry=1.0,
        host_waits=0.0,
    )
    lines = printed(seen)
    assert lines[0].split() == ["phase", "host", "device", "of", "step"]
    assert lines[2].split()[:5] == ["forward", "4.00", "ms", "1.00", "ms"]
    assert lines[3].split()[:4] == ["backward", "5.00", "ms", "1.00–3.00"]
    assert lines[4].split()[:4] == ["other", "0.00", "ms", "n/a"]
    assert lines[5].split()[:8] == ["sum", "of", "the", "leaves", "10.00", "ms", "2.00–4.00", "ms"]
    assert "20.0 % to 40.0 % of the step" in " ".join(" ".join(lines[6:]).split())


def test_without_a_device_the_table_is_the_host_s() -> None:
    assert printed(None)[0].split()[0] == "data_wait"

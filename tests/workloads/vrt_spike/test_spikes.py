from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hotlap.errors import ConfigError
from hotlap.workloads.vrt_spike.spikes import read_dat, time_steps, write_dat

whole_bytes = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 17)).filter(lambda s: np.prod(s) % 8 == 0)


@given(spikes=whole_bytes.flatmap(lambda shape: arrays(np.bool_, shape)), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(spikes: np.ndarray, data: st.DataObject, tmp_path: Path) -> None:
    """Bit by bit, as a whole and in any part, frames that end inside a byte included."""
    path = tmp_path / "x.dat"
    write_dat(path, spikes)
    steps, height, width = spikes.shape
    assert path.stat().st_size == spikes.size // 8
    assert time_steps(path, height, width) == steps
    found = read_dat(path, height, width)
    assert found.dtype == np.bool_
    assert np.array_equal(found, spikes)
    start = data.draw(st.integers(0, steps - 1))
    stop = data.draw(st.integers(start + 1, steps))
    assert np.array_equal(read_dat(path, height, width, start, stop), spikes[start:stop])


def test_the_layout_of_the_bytes(tmp_path: Path) -> None:
    """The lowest bit of the first byte is the first pixel of the bottom row; a byte of 2 x 4 pixels is a time step."""
    path = tmp_path / "x.dat"
    path.write_bytes(bytes([0b0000_0001, 0b1010_0000]))
    first, second = read_dat(path, 2, 4).astype(int).tolist()
    assert first == [[0, 0, 0, 0], [1, 0, 0, 0]]
    assert second == [[0, 1, 0, 1], [0, 0, 0, 0]]
    write_dat(tmp_path / "y.dat", np.array([first, second], np.uint8))
    assert (tmp_path / "y.dat").read_bytes() == path.read_bytes()


def test_a_length_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """With the lengths that would be, and the sizes of common cameras that the file could have."""
    path = tmp_path / "x.dat"
    path.write_bytes(bytes(12_500))
    with pytest.raises(
        ConfigError, match=r"2\.44 time steps of 160 x 256 .*\(10240 or 15360 bytes\).*may be 250 x 400"
    ):
        time_steps(path, 160, 256)
    assert time_steps(path, 250, 400) == 1


def test_an_empty_stream_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.dat").touch()
    with pytest.raises(ConfigError, match=r"0 bytes.*\(8 bytes\)"):
        read_dat(tmp_path / "x.dat", 8, 8)


def test_a_stream_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.dat cannot be read \(No such file"):
        time_steps(tmp_path / "x.dat", 8, 8)


def test_time_steps_that_are_not_there_are_refused(tmp_path: Path) -> None:
    write_dat(tmp_path / "x.dat", np.zeros((3, 8, 8), np.bool_))
    with pytest.raises(ConfigError, match="has 3 time steps, but 2 to 4 are asked for"):
        read_dat(tmp_path / "x.dat", 8, 8, 2, 4)


def test_spikes_that_do_not_fill_bytes_are_not_written(tmp_path: Path) -> None:
    """Nobody could tell from such a file how many time steps it has."""
    with pytest.raises(ConfigError, match="3 x 5 x 5 spikes, which do not fill whole bytes"):
        write_dat(tmp_path / "x.dat", np.zeros((3, 5, 5), np.bool_))

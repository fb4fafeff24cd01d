from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hotlap.errors import ConfigError
from hotlap.workloads.vrt_spike.simulate import (
    Floats,
    count,
    intensity_by_interval,
    intensity_by_window,
    linear_light,
    luminance,
    simulate,
    srgb,
)

THRESHOLD, STEPS = 4.0, 400
CONSTANT = np.full((8, 8), 0.37)
GRADIENT = np.tile(np.linspace(0.05, 1.0, 64), (4, 1))


def spikes_of(picture: Floats) -> np.ndarray:
    return simulate(picture[None], threshold=THRESHOLD, substeps=STEPS, seed=1)


@pytest.mark.parametrize("picture", [CONSTANT, GRADIENT], ids=["constant", "gradient"])
def test_intensity_is_found_in_a_window(picture: Floats) -> None:
    """Within threshold / T: what is left over is less than one threshold."""
    error = np.abs(intensity_by_window(spikes_of(picture), THRESHOLD) - picture)
    assert error.max() < THRESHOLD / STEPS


@pytest.mark.parametrize("picture", [CONSTANT, GRADIENT], ids=["constant", "gradient"])
def test_intensity_is_found_in_an_interval(picture: Floats) -> None:
    """Within I^2 / (threshold - I): the interval is threshold / I rounded up or down."""
    error = np.abs(intensity_by_interval(spikes_of(picture), STEPS // 2, THRESHOLD) - picture)
    assert (error < picture**2 / (THRESHOLD - picture)).all()


def test_an_interval_that_is_not_closed_gives_darkness() -> None:
    spikes = np.zeros((6, 1, 3), np.bool_)
    spikes[[1, 4], 0, 0] = True
    spikes[1, 0, 1] = True
    assert intensity_by_interval(spikes, 2, 3.0).tolist() == [[1.0, 0.0, 0.0]]


def test_the_phase_comes_from_the_seed_and_is_uniform() -> None:
    """Else all pixels of a flat picture would fire at the same time."""
    first, again, other = (simulate(np.full((1, 64, 64), 0.5), threshold=4.0, substeps=8, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # One in eight pixels at every time step, 512 of 4096: standard deviation sqrt(4096 x 1/8 x 7/8) = 21.
    assert np.abs(first.sum((1, 2)) - 512).max() < 5 * 21


def test_a_moving_picture_is_collected_frame_by_frame() -> None:
    """The spikes of an exposure are its mean light, as its blur is."""
    frames = np.random.default_rng(0).random((5, 16, 16))
    spikes = simulate(frames, threshold=2.0, substeps=40, seed=0)
    assert len(spikes) == 200
    assert np.abs(intensity_by_window(spikes, 2.0) - frames.mean(0)).max() < 2.0 / 200
    for index, frame in enumerate(frames):
        assert np.abs(intensity_by_window(spikes[index * 40 :][:40], 2.0) - frame).max() < 2.0 / 40


def test_a_threshold_that_would_lose_spikes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"threshold is 0\.5: a white pixel adds 1"):
        simulate(np.ones((1, 2, 2)), threshold=0.5, substeps=4, seed=0)


@given(
    spikes=arrays(np.bool_, st.tuples(st.integers(1, 40), st.just(2), st.just(3))),
    bins=st.integers(1, 50),
)
def test_a_bin_is_the_floor_of_its_time(spikes: np.ndarray, bins: int) -> None:
    """bin = floor(t K / T), for more bins than time steps too, and no spike is lost."""
    expected = np.zeros((bins, 2, 3), int)
    for step, frame in enumerate(spikes):
        expected[step * bins // len(spikes)] += frame
    assert np.array_equal(count(spikes, bins), expected)


def test_counts_come_in_the_smallest_type_that_holds_them() -> None:
    many = np.ones((600, 1, 1), np.bool_)
    assert count(many, 4).dtype == np.uint8
    assert count(many, 2).dtype == np.uint16
    assert count(many, 2).tolist() == [[[300]], [[300]]]


@given(value=st.floats(0, 1))
def test_the_transfer_function_is_undone(value: float) -> None:
    assert float(srgb(linear_light(np.array(value)))) == pytest.approx(value, abs=1e-6)


def test_the_transfer_function_is_that_of_srgb() -> None:
    """The middle grey 0.5 is 21.4 % of the light; luminance is that of scikit-image."""
    assert float(linear_light(np.array(0.5))) == pytest.approx(0.2140, abs=1e-4)
    picture = skimage.data.coffee()[:20, :20] / 255
    expected = skimage.color.rgb2xyz(picture)[..., 1]
    np.testing.assert_allclose(luminance(linear_light(picture)), expected, atol=1e-4)

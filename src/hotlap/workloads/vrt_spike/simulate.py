"""A spike camera in numbers: what it makes of a film, and what can be read back from its spikes.

    sRGB frames -> linear light -> luminance -> every pixel integrates and fires -> (T, H, W) of 0 and 1
                                                                                       |-> counts in K bins
                                                                                       '-> intensity

Intensity read back, from a window or from an interval, is a check: the restoration itself takes the counts.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from hotlap.errors import ConfigError

Spikes = NDArray[np.bool_]
Floats = NDArray[np.floating]


def linear_light(picture: Floats) -> Floats:
    """Undo the transfer function of sRGB (IEC 61966-2-1): 0..1 to 0..1."""
    return np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4).astype(picture.dtype)


def srgb(light: Floats) -> Floats:
    """Apply the transfer function of sRGB: 0..1 to 0..1."""
    curve = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, curve).astype(light.dtype)


def luminance(light: Floats) -> Floats:
    """Luminance of linear RGB (..., 3), by the primaries of sRGB (ITU-R BT.709): what a monochrome sensor sees."""
    return light @ np.array([0.2126, 0.7152, 0.0722], light.dtype)


def simulate(intensity: Floats, *, threshold: float, substeps: int, seed: int) -> Spikes:
    """Integrate and fire: (F, H, W) of linear light from 0 to 1 becomes (F * substeps, H, W).

    At every time step a pixel adds its intensity to what it has collected; at ``threshold`` it fires, and the threshold
    is taken off. A frame lasts ``substeps`` time steps. What a pixel has collected at the start is uniform between 0
    and the threshold, drawn from the seed, as if the camera had been on for long. A threshold under 1 is refused: a
    white pixel would have to fire more than once in a time step.
    """
    if threshold < 1:
        raise ConfigError(f"the spike threshold is {threshold:g}: a white pixel adds 1 a time step, so set 1 or more")
    frames, height, width = intensity.shape
    spikes = np.empty((frames * substeps, height, width), np.bool_)
    collected = np.random.default_rng(seed).random((height, width)) * threshold
    for step in range(len(spikes)):
        collected += intensity[step // substeps]
        np.greater_equal(collected, threshold, out=spikes[step])
        collected -= threshold * spikes[step]
    return spikes


def count(spikes: Spikes, bins: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Voxels: spikes of each pixel in K equal parts of the time, (T, H, W) to (K, H, W).

    Time step t belongs to bin floor(t K / T). With fewer time steps than bins some bins stay empty. The counts come in
    the smallest type that holds them, a quarter of the memory of float32 as a rule.
    """
    # Bin k begins at the smallest t with t K >= k T.
    edges = [-(-k * len(spikes) // bins) for k in range(bins + 1)]
    largest = max(stop - start for start, stop in itertools.pairwise(edges))
    voxels = np.zeros((bins, *spikes.shape[1:]), np.uint8 if largest < 256 else np.uint16)
    for k in range(bins):
        np.sum(spikes[edges[k] : edges[k + 1]], axis=0, dtype=voxels.dtype, out=voxels[k])
    return voxels


def intensity_by_window(spikes: Spikes, threshold: float) -> Floats:
    """Intensity (H, W) from the mean count of (T, H, W): "texture from playback", Zhu and others 2019.

    For constant light the error is below threshold / T: the collected light, T x intensity, and the light of the
    counted spikes differ by what is left over, less than one threshold.
    """
    fired: Floats = spikes.mean(axis=0)
    return fired * threshold


def intensity_by_interval(spikes: Spikes, step: int, threshold: float) -> Floats:
    """Intensity (H, W) at a time step from the interval between the spikes around it: "texture from interval".

    After Zhu and others 2019. For constant light I the interval is threshold / I rounded up or down, so that the error
    is below I^2 / (threshold - I). Where there is no spike on one of the sides the intensity is 0.
    """
    before, after = spikes[: step + 1][::-1], spikes[step + 1 :]
    interval = before.argmax(0) + after.argmax(0) + 1
    return np.where(before.any(0) & after.any(0), threshold / interval, 0.0)

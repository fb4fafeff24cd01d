from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hotlap.errors import ConfigError
from hotlap.workloads.vrt_spike.clips import Clips, HeldOut, Voxels
from hotlap.workloads.vrt_spike.folders import Scene, find_scenes, precompute_voxels
from hotlap.workloads.vrt_spike.spikes import write_dat

HEIGHT, WIDTH, STEPS, BINS = 32, 40, 24, 6
#: Frames of the two scenes.
FRAMES = (5, 4)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Two scenes whose pictures say what belongs to them.

    Red of sharp is the number of spikes of the pixel, green of sharp and blur the number of the frame.
    """
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for number, frames in enumerate((*FRAMES, 3)):
        scene = root / ("test" if number == 2 else "train") / str(number)
        for kind in ("blur", "sharp", "spike"):
            (scene / kind).mkdir(parents=True)
        for index in range(frames):
            spikes = generator.random((STEPS, HEIGHT, WIDTH)) < 0.5
            picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            picture[..., 1] = 10 * number + index
            Image.fromarray(picture).save(scene / "blur" / f"{index}.png")
            picture[..., 0] = spikes.sum(0)
            Image.fromarray(picture).save(scene / "sharp" / f"{index}.png")
            write_dat(scene / "spike" / f"{index}.dat", spikes)
    found = find_scenes(root)
    assert [len(scene.frames) for scene in found[0]] == list(FRAMES)
    return found[0]


def clips(scenes: list[Scene], voxels: Voxels | None = None, seed: int = 0) -> Clips:
    return Clips(
        scenes,
        voxels or Voxels(BINS),
        frames=3,
        crop_size=lambda epoch: 8 if epoch == 0 else 16,
        seed=seed,
    )


def equal(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_parts_of_a_sample_belong_together(scenes: list[Scene]) -> None:
    """Whatever the crop and the flips, each pixel has its own spikes, and each frame its own pictures."""
    dataset = clips(scenes)
    for number in range(20):
        rgb, spikes, target = dataset[number]
        assert rgb.dtype == spikes.dtype == target.dtype == torch.float32
        torch.testing.assert_close(spikes.sum(1), target[:, 0] * 255)
        assert torch.equal(rgb[:, 1], target[:, 1])
        numbers = (rgb[:, 1, 0, 0] * 255).round()
        assert (numbers.diff() == 1).all()


def test_every_clip_has_its_turn(scenes: list[Scene]) -> None:
    """Three clips of three frames in the scene of five, two in the scene of four."""
    first = [int((clips(scenes)[number][0][0, 1, 0, 0] * 255).round()) for number in range(6)]
    assert first == [0, 1, 2, 10, 11, 0]


def test_crops_and_flips_are_many(scenes: list[Scene]) -> None:
    """The same clip, drawn eight times, is never the same, and is turned over along each axis in some."""
    samples = [clips(scenes)[5 * number][2][0, 0] for number in range(8)]
    assert len({sample[:8, :8].numpy().tobytes() for sample in samples}) == 8
    whole = torch.from_numpy(np.array(Image.open(scenes[0].frames[0].sharp))[..., 0]).float() / 255
    turned = set()
    for sample in samples:
        size = len(sample)
        windows = whole.unfold(0, size, 1).unfold(1, size, 1)
        turned |= {
            axes
            for axes in ((), (0,), (1,), (0, 1))
            if (windows == (sample.flip(axes) if axes else sample)).all(-1).all(-1).any()
        }
    assert len(turned) >= 3


def test_the_crop_follows_the_epoch(scenes: list[Scene]) -> None:
    """The epoch is inside the number, so that workers need not be told."""
    dataset = clips(scenes)
    assert len(dataset) == 5
    shapes = [tuple(part.shape) for part in dataset[4]] + [tuple(part.shape) for part in dataset[5]]
    assert shapes == [(3, 3, 8, 8), (3, BINS, 8, 8), (3, 3, 8, 8), (3, 3, 16, 16), (3, BINS, 16, 16), (3, 3, 16, 16)]


def test_a_sample_depends_on_seed_and_number_alone(scenes: list[Scene]) -> None:
    dataset = clips(scenes)
    state = torch.get_rng_state()
    first = dataset[3]
    dataset[4]
    assert equal(first, dataset[3])
    assert equal(first, clips(scenes)[3])
    assert not equal(first, clips(scenes, seed=1)[3])
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"


def test_workers_give_the_same_batches(scenes: list[Scene]) -> None:
    def batches(workers: int) -> list[list[torch.Tensor]]:
        return list(DataLoader(clips(scenes), batch_size=4, num_workers=workers))

    assert all(equal(tuple(a), tuple(b)) for a, b in zip(batches(0), batches(2), strict=True))


def test_precomputed_voxels_give_the_same_samples(scenes: list[Scene]) -> None:
    precompute_voxels(scenes, BINS)
    computed, read = clips(scenes), clips(scenes, Voxels(BINS, precomputed=True))
    assert all(equal(computed[number], read[number]) for number in (0, 7, 12))


def test_counts_may_come_as_their_logarithm(scenes: list[Scene]) -> None:
    counts, logarithms = clips(scenes)[0][1], clips(scenes, Voxels(BINS, log_counts=True))[0][1]
    torch.testing.assert_close(logarithms.exp() - 1, counts)


def test_a_crop_that_does_not_fit_is_refused(scenes: list[Scene]) -> None:
    dataset = Clips(scenes, Voxels(BINS), frames=3, crop_size=lambda _: 36, seed=0)
    assert dataset.largest_crop == 32
    with pytest.raises(ConfigError, match=r"crop is 36 x 36 and scene 0 is 40 x 32 pixels: lower the crop to 32"):
        dataset[0]


def test_clips_longer_than_every_scene_are_refused(scenes: list[Scene]) -> None:
    with pytest.raises(ConfigError, match="a clip has 6 frames and the longest scene 5"):
        Clips(scenes, Voxels(BINS), frames=6, crop_size=lambda _: 8, seed=0)


def test_held_out_clips_are_the_middle_and_share_no_frame(scenes: list[Scene]) -> None:
    """Two frames at a time, two clips of each scene; limited to two, one of each scene."""
    samples = list(HeldOut(scenes, Voxels(BINS), frames=2, pixels=36))
    assert [tuple(part.shape) for part in samples[0]] == [(2, 3, 32, 36), (2, BINS, 32, 36), (2, 3, 32, 36)]
    numbers = [(rgb[:, 1, 0, 0] * 255).round().int().tolist() for rgb, _, _ in samples]
    assert numbers == [[0, 1], [2, 3], [10, 11], [12, 13]]
    whole = torch.from_numpy(np.array(Image.open(scenes[0].frames[0].sharp))[..., 0]).float() / 255
    assert torch.equal(samples[0][2][0, 0], whole[:, 2:38])
    few = list(HeldOut(scenes, Voxels(BINS), frames=2, limit=2))
    assert [int((rgb[0, 1, 0, 0] * 255).round()) for rgb, _, _ in few] == [0, 10]


def test_scenes_a_few_at_a_time(scenes: list[Scene]) -> None:
    """Only the order of the clips is another one; they come out of the latest frames, as they do out of none."""
    order = torch.randperm(5).tolist()
    for together in (0, 1):
        dataset = Clips(scenes, Voxels(BINS), frames=3, crop_size=lambda _: 8, seed=0, cache_gb=0.01, together=together)
        assert dataset.cache is not None
        found = dataset.grouped(order, 2, torch.Generator())
        assert sorted(found) == list(range(5))
        if together:
            # The first three clips are of one scene, the others of the other.
            assert [number < 3 for number in found] in ([True] * 3 + [False] * 2, [False] * 2 + [True] * 3)
        else:
            assert found == order
        assert all(equal(clips(scenes)[number], dataset[number]) for number in [*found, *found])
        assert dataset.cache.policy == ("fifo" if together else "never_evict")
        assert dataset.cache.stats().hits


def test_no_picture_is_read_before_it_is_asked_for(scenes: list[Scene], tmp_path: Path) -> None:
    """A data set of hundreds of gigabytes starts at once."""
    gone = [
        scene._replace(frames=[frame._replace(blur=tmp_path / "x.png") for frame in scene.frames]) for scene in scenes
    ]
    dataset = clips(gone)
    with pytest.raises(ConfigError, match=r"x\.png cannot be read as a picture"):
        dataset[0]

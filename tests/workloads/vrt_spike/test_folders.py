from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hotlap.errors import ConfigError
from hotlap.workloads.vrt_spike.folders import find_scenes, precompute_voxels, read_voxels
from hotlap.workloads.vrt_spike.simulate import count
from hotlap.workloads.vrt_spike.spikes import write_dat

HEIGHT, WIDTH, STEPS, FRAMES = 16, 24, 12, 4
#: Spikes of a whole scene, of four frames of twelve time steps.
SPIKES = np.random.default_rng(0).random((FRAMES * STEPS, HEIGHT, WIDTH)) < 0.4

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make scenes, each with a .dat for every frame, or one for the whole."""

    def scenes(
        *places: str, blur: str = "blur", sharp: str = "sharp", spike: str = "spike", together: bool = False
    ) -> Path:
        for place in places:
            for kind in (blur, sharp, spike):
                (tmp_path / place / kind).mkdir(parents=True)
            for index in range(FRAMES):
                for kind in (blur, sharp):
                    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / place / kind / f"{index:06}.png")
                if not together:
                    part = SPIKES[index * STEPS :][:STEPS]
                    write_dat(tmp_path / place / spike / f"{index:06}.dat", part)
            if together:
                write_dat(tmp_path / place / spike / "all.dat", SPIKES)
        return tmp_path

    return scenes


@pytest.mark.parametrize(
    "names",
    [{}, {"together": True}, {"blur": "blur_gamma", "sharp": "gt", "spike": "spikes"}],
    ids=["a stream each", "one stream", "other names"],
)
def test_frames_have_the_spikes_of_their_exposure(make: Make, names: dict[str, str]) -> None:
    """Whether every frame has its .dat or the scene has one, cut into equal parts."""
    training, held_out = find_scenes(make("train/b", "train/a", "test/c", **names))
    assert [scene.name for scene in training] == ["a", "b"]
    assert [scene.name for scene in held_out] == ["c"]
    scene = held_out[0]
    assert (scene.height, scene.width) == (HEIGHT, WIDTH)
    assert [frame.sharp.name for frame in scene.frames] == [f"{index:06}.png" for index in range(FRAMES)]
    for index, frame in enumerate(scene.frames):
        expected = count(SPIKES[index * STEPS :][:STEPS], 4)
        assert np.array_equal(read_voxels(scene, frame, 4, precomputed=False), expected)
        area = (slice(3, 9), slice(1, 20))
        assert np.array_equal(read_voxels(scene, frame, 4, precomputed=False, area=area), expected[:, 3:9, 1:20])


def test_every_fifth_scene_is_held_out_where_the_folder_does_not_say(make: Make) -> None:
    training, held_out = find_scenes(make(*"abcdef"))
    assert [scene.name for scene in training] == ["a", "b", "c", "d", "f"]
    assert [scene.name for scene in held_out] == ["e"]


def test_the_last_of_few_scenes_is_held_out(make: Make) -> None:
    training, held_out = find_scenes(make(*"abc"))
    assert [scene.name for scene in training] == ["a", "b"]
    assert [scene.name for scene in held_out] == ["c"]


@pytest.mark.parametrize("together", [False, True])
def test_precomputed_voxels_are_those_that_would_be_computed(make: Make, together: bool) -> None:
    """They are written once, beside the streams, one byte a count."""
    root = make("train/a", "test/b", together=together)
    scenes, _ = find_scenes(root)
    assert precompute_voxels(scenes, 4) == FRAMES
    assert precompute_voxels(scenes, 4) == 0
    assert precompute_voxels(scenes, 2) == FRAMES
    assert precompute_voxels(scenes, 4) == FRAMES
    assert sorted(path.name for path in (root / "train/a/spike").glob("*.npy")) == [f"00000{i}.npy" for i in range(4)]
    for frame in scenes[0].frames:
        area = (slice(3, 9), slice(1, 20))
        found = read_voxels(scenes[0], frame, 4, precomputed=True, area=area)
        assert found.dtype == np.uint8
        assert np.array_equal(found, read_voxels(scenes[0], frame, 4, precomputed=False, area=area))


def test_voxels_older_than_their_stream_are_made_anew(make: Make) -> None:
    scenes, _ = find_scenes(make("train/a", "test/b"))
    precompute_voxels(scenes, 4)
    frame = scenes[0].frames[2]
    write_dat(frame.stream, np.zeros((STEPS, HEIGHT, WIDTH), np.bool_))
    later = frame.voxels.stat().st_mtime + 10
    os.utime(frame.stream, (later, later))
    assert precompute_voxels(scenes, 4) == 1
    assert not read_voxels(scenes[0], frame, 4, precomputed=True).any()


def test_voxels_of_another_number_of_bins_are_refused(make: Make) -> None:
    scenes, _ = find_scenes(make("train/a", "test/b"))
    precompute_voxels(scenes, 4)
    with pytest.raises(ConfigError, match=r"000000\.npy has the shape \(4, 16, 24\), but 8 bins of 16 x 24 are asked"):
        read_voxels(scenes[0], scenes[0].frames[0], 8, precomputed=True)


def test_voxels_that_are_not_there_are_named(make: Make) -> None:
    scenes, _ = find_scenes(make("train/a", "test/b"))
    with pytest.raises(ConfigError, match=r"000000\.npy cannot be read as voxels"):
        read_voxels(scenes[0], scenes[0].frames[0], 4, precomputed=True)


def remove(root: Path) -> None:
    (root / "train/a/sharp/000002.png").unlink()


def remove_stream(root: Path) -> None:
    (root / "train/a/spike/000001.dat").unlink()


def remove_all(root: Path) -> None:
    for path in (root / "train/a").rglob("*.png"):
        path.unlink()


def enlarge(root: Path) -> None:
    Image.new("RGB", (32, 16)).save(root / "train/a/sharp/000003.png")


def shorten(root: Path) -> None:
    path = root / "train/a/spike/000001.dat"
    path.write_bytes(path.read_bytes()[:-5])


def damage(root: Path) -> None:
    path = root / "train/a/blur/000000.png"
    path.write_bytes(path.read_bytes()[:10])


def rename(root: Path) -> None:
    (root / "train/a/spike").rename(root / "train/a/events")


def rename_part(root: Path) -> None:
    (root / "test").rename(root / "later")


def join(root: Path) -> None:
    for path in (root / "train/a/spike").iterdir():
        path.unlink()
    write_dat(root / "train/a/spike/all.dat", SPIKES[:-1])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove, r"blur/000002\.png has no counterpart 000002 in \S+/sharp: add it"),
        (remove_stream, r"blur/000001\.png has no counterpart 000001 in \S+/spike: add it"),
        (remove_all, r"train/a/blur has no picture \(\.jpeg, \.jpg, \.png\)"),
        (enlarge, r"sharp/000003\.png is 32 x 16 pixels and others of its scene are 24 x 16"),
        (shorten, r"000001\.dat has 571 bytes, which is 11\.90 time steps of 16 x 24 .*\(528 or 576 bytes\)"),
        (damage, r"000000\.png cannot be read as a picture"),
        (rename, r"train/a has no folder spike or spikes: a scene has blur, sharp and spike"),
        (rename_part, r"has no folder test or val or valid: put some of the scenes into one"),
        (join, r"all\.dat has 47 time steps for 4 frames, which do not divide evenly: cut it to 44"),
    ],
)
def test_a_fault_is_named_with_its_place(make: Make, spoil: Callable[[Path], None], said: str) -> None:
    root = make("train/a", "test/b")
    spoil(root)
    with pytest.raises(ConfigError, match=said):
        find_scenes(root)


def test_a_single_scene_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="has one scene: training needs two"):
        find_scenes(make("a"))


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no scene: each is a folder that holds blur, sharp and spike"):
        find_scenes(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere cannot be read \(No such file"):
        find_scenes(tmp_path / "nowhere")


def test_a_stream_that_was_cut_off(make: Make) -> None:
    """At a whole number of time steps, which its size alone does not tell."""
    root = make("train/a", "test/b")
    path = root / "train" / "a" / "spike" / "000002.dat"
    path.write_bytes(path.read_bytes()[: STEPS // 2 * HEIGHT * WIDTH // 8])
    with pytest.raises(
        ConfigError, match=r"000002\.dat has 6 time steps and others of its scene 12: it may be cut off"
    ):
        find_scenes(root)


def test_streams_may_differ_a_little(make: Make) -> None:
    root = make("train/a", "test/b")
    path = root / "train" / "a" / "spike" / "000002.dat"
    path.write_bytes(path.read_bytes()[: (STEPS - 1) * HEIGHT * WIDTH // 8])
    assert [frame.stop for frame in find_scenes(root)[0][0].frames] == [12, 12, 11, 12]

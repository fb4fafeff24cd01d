from __future__ import annotations

from pathlib import Path

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.errors import ConfigError
from hotlap.workloads import efficientnet
from hotlap.workloads.efficientnet import load_efficientnet
from hotlap.workloads.perceptual import Backbone, Features, PerceptualLoss


def photograph(name: str) -> Tensor:
    """The middle of a photograph, as the classifier was trained: (1, 3, 224, 224)."""
    picture = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None].float() / 255
    side = min(picture.shape[-2:])
    top, left = (picture.shape[-2] - side) // 2, (picture.shape[-1] - side) // 2
    square = picture[..., top : top + side, left : left + side]
    return F.interpolate(square, size=(224, 224), mode="bicubic", antialias=True).clamp(0, 1)


@pytest.mark.parametrize(
    ("name", "classes"),
    [("chelsea", range(281, 286)), ("coffee", (504, 967, 968)), ("rocket", (657, 744, 812))],
    ids=["a cat", "a cup of coffee", "a rocket"],
)
def test_the_classifier_sees_what_is_there(name: str, classes: range | tuple[int, ...]) -> None:
    """The weights are those of ImageNet, each at its place: the first class of a photograph is right."""
    network = load_efficientnet().eval()
    with torch.no_grad():
        logits = network(photograph(name))
    assert int(logits.argmax()) in classes


def test_the_weights_are_all_of_the_file() -> None:
    """4.65 million parameters, as published, and loading them draws nothing from the global generator."""
    state = torch.get_rng_state()
    network = load_efficientnet()
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"package no_such_package, which is not here .* or choose another backbone"):
        PerceptualLoss("efficientnet_lite0")


def test_features_have_the_published_channels_and_sizes() -> None:
    features = Features("efficientnet_lite0", [0, 2, 4, 7, 10, 14, 15])
    shapes = [tuple(found.shape[1:]) for found in features(torch.rand(1, 3, 64, 96))]
    assert shapes == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (80, 4, 6), (112, 4, 6), (192, 2, 3), (320, 2, 3)]


def test_a_backbone_is_frozen_and_stays_in_evaluation() -> None:
    """Training the module around it changes neither what it gives nor its statistics."""
    loss = PerceptualLoss("efficientnet_lite0")
    x = torch.rand(2, 3, 32, 32)
    before = loss.features(x)
    around = nn.ModuleList([loss]).train()
    assert all(torch.equal(a, b) for a, b in zip(before, loss.features(x), strict=True))
    assert not any(module.training for module in loss.features.modules())
    assert not any(parameter.requires_grad for parameter in around.parameters())


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "random"])
def test_the_gradient_reaches_the_output_alone(backbone: Backbone) -> None:
    loss = PerceptualLoss(backbone)
    output, target = torch.rand(1, 2, 3, 32, 32, requires_grad=True), torch.rand(1, 2, 3, 32, 32, requires_grad=True)
    value = loss(output, target)
    value.backward()
    assert value > 0
    assert output.grad is not None
    assert float(output.grad.abs().sum()) > 0
    assert target.grad is None
    assert loss(target, target) == 0


def test_the_layers_count_alike() -> None:
    """The loss is the mean over the layers of their mean absolute differences."""
    x, y = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    each = [float(PerceptualLoss("efficientnet_lite0", [layer])(x, y)) for layer in (0, 3)]
    assert float(PerceptualLoss("efficientnet_lite0", [0, 3])(x, y)) == pytest.approx(sum(each) / 2)


@pytest.mark.parametrize("layers", [[], [16], [-1]])
def test_a_layer_that_is_not_there_is_refused(layers: list[int]) -> None:
    with pytest.raises(ConfigError, match="efficientnet_lite0 wants at least one, each from 0 to 15"):
        PerceptualLoss("efficientnet_lite0", layers)


def test_random_features_are_the_same_every_time_and_do_not_train() -> None:
    state = torch.get_rng_state()
    first, second = Features("random", [0, 2]), Features("random", [0, 2])
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"
    x = torch.rand(1, 3, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(first(x), second(x), strict=True))
    assert not any(parameter.requires_grad for parameter in first.parameters())


@pytest.mark.parametrize(("backbone", "convolutions"), [("vgg16", (2, 2, 3, 3, 3)), ("vgg19", (2, 2, 4, 4, 4))])
def test_vgg_takes_the_weights_that_torchvision_keeps(
    backbone: Backbone, convolutions: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file in torch's folder, and its absence is said with the place and the address."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"hub/checkpoints/{backbone}-\w+\.pth: put the file there"):
        PerceptualLoss(backbone)
    weights, inputs, index = {}, 3, 0
    for count, outputs in zip(convolutions, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            weights[f"features.{index}.weight"] = torch.tensor(1e-3).expand(outputs, inputs, 3, 3)
            weights[f"features.{index}.bias"] = torch.tensor(0.5).expand(outputs)
            inputs, index = outputs, index + 2
        index += 1
    weights["classifier.0.weight"] = torch.zeros(1)
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    name = {"vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}[backbone]
    torch.save(weights, checkpoints / name)
    first, last = Features(backbone, [0, 22])(torch.full((1, 3, 16, 16), 0.5))
    assert first.shape == (1, 64, 16, 16)
    assert last.shape[1:] == (512, 2, 2)
    normalized = sum((0.5 - mean) / deviation for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225)))
    assert float(first[0, 0, 8, 8]) == pytest.approx(0.5 + 9e-3 * normalized, rel=1e-4)

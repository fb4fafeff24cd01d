"""Perceptual loss: how far two pictures are apart in the features of a frozen network.

    efficientnet_lite0   outputs of the 16 bottlenecks, trained on ImageNet; weights from a package
    vgg16, vgg19         outputs of the layers of VGG's ``features``, trained on ImageNet; weights that torchvision got
    random               outputs of three convolutions with random weights: needs nothing

Johnson, Alahi and Fei-Fei 2016, with the absolute difference in the place of the squared one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.errors import ConfigError
from hotlap.workloads import efficientnet
from hotlap.workloads.efficientnet import load_efficientnet

Backbone = Literal["efficientnet_lite0", "vgg16", "vgg19", "random"]
#: Of VGG the last layer before each of the first pools, of EfficientNet the last bottleneck of each size.
USUAL_LAYERS: dict[Backbone, tuple[int, ...]] = {
    "efficientnet_lite0": (0, 2, 4, 10),
    "vgg16": (3, 8, 15, 22),
    "vgg19": (3, 8, 17, 26),
    "random": (2,),
}
#: Convolutions before each pool, their channels, and the file that torchvision keeps the weights in.
VGG = {
    "vgg16": ((2, 2, 3, 3, 3), "vgg16-397923af.pth"),
    "vgg19": ((2, 2, 4, 4, 4), "vgg19-dcbb9e9d.pth"),
}
VGG_CHANNELS = (64, 128, 256, 512, 512)
#: Of ImageNet, for values of 0..1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Features(nn.Module):
    """Maps RGB (N, 3, H, W) in 0..1 to the outputs of the chosen layers. Frozen, and always as in evaluation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Backbone, layers: Sequence[int]) -> None:
        super().__init__()
        self.chain, mean, deviation = _CHAINS[backbone]()
        if not layers or not all(0 <= layer < len(self.chain) for layer in layers):
            raise ConfigError(
                f"the perceptual layers are {list(layers)}: {backbone} wants at least one, "
                f"each from 0 to {len(self.chain) - 1}"
            )
        self.chain = self.chain[: max(layers) + 1]
        self.layers = tuple(layers)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        x = (x - self.mean) / self.deviation
        found = []
        for layer in self.chain:
            x = layer(x)
            found.append(x)
        return [found[layer] for layer in self.layers]

    def train(self, mode: bool = True) -> Features:
        """Stay as in evaluation: a frozen network keeps its statistics."""
        return super().train(False)


class PerceptualLoss(nn.Module):
    """Mean over the layers of the mean absolute difference between the features of (..., 3, H, W) in 0..1."""

    def __init__(self, backbone: Backbone, layers: Sequence[int] | None = None) -> None:
        super().__init__()
        self.features = Features(backbone, USUAL_LAYERS[backbone] if layers is None else layers)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(target.reshape(-1, *target.shape[-3:]))
        found = self.features(output.reshape(-1, *output.shape[-3:]))
        return torch.stack([F.l1_loss(a, b) for a, b in zip(found, wanted, strict=True)]).mean()


#: Layers one after the other, and the mean and deviation of each colour that they expect.
_Chain = tuple[nn.ModuleList, Sequence[float], Sequence[float]]


def _efficientnet() -> _Chain:
    network = load_efficientnet()
    first, *others = network.blocks
    chain = nn.ModuleList([nn.Sequential(network.stem, first), *others])
    return chain, [efficientnet.MEAN] * 3, [efficientnet.DEVIATION] * 3


def _vgg(backbone: str) -> _Chain:
    """VGG's ``features`` (Simonyan and Zisserman 2015); the weights are those that torchvision downloads."""
    convolutions, name = VGG[backbone]
    chain, inputs = nn.ModuleList(), 3
    # On "meta": the usual initialisation would draw from the global generator.
    with torch.device("meta"):
        for count, outputs in zip(convolutions, VGG_CHANNELS, strict=True):
            for _ in range(count):
                chain.extend([nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()])
                inputs = outputs
            chain.append(nn.MaxPool2d(2))
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not file.is_file():
        raise ConfigError(
            f"the perceptual loss takes its features from {backbone}, whose weights are not in {file}: put the file "
            f"there (https://download.pytorch.org/models/{name}), or choose efficientnet_lite0"
        )
    weights = torch.load(file, map_location="cpu", weights_only=True)
    chain.load_state_dict(
        {key.removeprefix("features."): value for key, value in weights.items() if key.startswith("features.")},
        assign=True,
    )
    return chain, MEAN, DEVIATION


def _random(channels: int = 32, seed: int = 1234) -> _Chain:
    """Three frozen convolutions with random weights, the same ones every time.

    This is not the perceptual loss of the papers, whose features come from a network trained on ImageNet. Random
    features need no download and cost about as much per pixel; they do weigh edges and texture, but nobody has shown
    that they please the eye as trained ones do.
    """
    generator = torch.Generator().manual_seed(seed)
    chain = nn.ModuleList()
    for index, (inputs, outputs) in enumerate(itertools.pairwise([3, channels, channels, channels])):
        # On "meta" first: the usual initialisation would draw from the global generator.
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, device="meta").to_empty(device="cpu")
        nn.init.kaiming_normal_(layer.weight, generator=generator)
        chain.append(nn.Sequential(*([nn.AvgPool2d(2)] if index else []), layer, nn.ReLU()))
    return chain, [0.0] * 3, [1.0] * 3


_CHAINS: dict[Backbone, Callable[[], _Chain]] = {
    "efficientnet_lite0": _efficientnet,
    "vgg16": partial(_vgg, "vgg16"),
    "vgg19": partial(_vgg, "vgg19"),
    "random": _random,
}

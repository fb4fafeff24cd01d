"""Trainings of many kinds, small enough to be run in seconds: each makes all that it needs, and returns its step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from hotlap.estimate.eight_bit import EightBitAdam
from hotlap.estimate.memory import Step, training
from hotlap.workloads.apt.model import APT
from hotlap.workloads.apt.model import loss as apt_loss
from hotlap.workloads.restoration.network import RestorationNet
from hotlap.workloads.vrt_spike.network import VrtSpike

BF16 = torch.bfloat16


def _mean(output: Any) -> Tensor:
    value: Tensor = (output.float() ** 2).mean()
    return value


class Classifier(nn.Sequential):
    """Four halvings, with batch norm and a fully connected end."""

    def __init__(self, width: int = 32) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for stage in range(4):
            wider = width * 2**stage
            layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.BatchNorm2d(wider), nn.ReLU(), nn.MaxPool2d(2)]
            channels = wider
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 100))


def cnn(optimizer: Callable[..., Any], *, channels_last: bool = False, **how: Any) -> Step:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = Classifier()
    if channels_last:
        # Network.to(memory_format=...) is not known to imitated tensors.
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)
    pictures = torch.randn(16, 3, 64, 64).contiguous(memory_format=layout)
    labels = torch.randint(0, 100, (16,))
    return training(
        model, optimizer(model.parameters()), [pictures], lambda out: F.cross_entropy(out.float(), labels), **how
    )


def restoration(optimizer: Callable[..., Any], *, checkpoint: bool = False, **how: Any) -> Step:
    model = RestorationNet(48, 6, use_checkpoint=checkpoint)
    noisy, clean = torch.randn(8, 3, 48, 48), torch.randn(8, 3, 48, 48)
    return training(model, optimizer(model.parameters()), [noisy], lambda out: F.l1_loss(out.float(), clean), **how)


def vrt_spike(optimizer: Callable[..., Any], *, checkpoint: bool = False, **how: Any) -> Step:
    model = VrtSpike(
        bins=8,
        depths=(2, 2, 2, 2, 2, 2, 2, 1, 1),
        embed_dim=24,
        reconstruction_dim=36,
        window=(4, 8, 8),
        deformable_groups=4,
        checkpoint_attention=checkpoint,
        checkpoint_feed_forward=checkpoint,
    )
    batch = [torch.randn(1, 4, 3, 64, 64), torch.randn(1, 4, 8, 64, 64)]
    sharp = torch.randn(1, 4, 3, 64, 64)
    return training(
        model,
        optimizer(model.parameters()),
        batch,
        lambda out: torch.sqrt((out.float() - sharp) ** 2 + 1e-6).mean(),
        **how,
    )


def apt(optimizer: Callable[..., Any], *, checkpoint: bool = False, **how: Any) -> Step:
    model = APT(use_checkpoint=checkpoint)
    source, target = torch.randint(1, 5000, (16, 48)), torch.randint(1, 5000, (16, 48))
    return training(model, optimizer(model.parameters()), [source, target], lambda out: apt_loss(out, target), **how)


def encoder(optimizer: Callable[..., Any], **how: Any) -> Step:
    """Torch's own transformer layers."""
    layer = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True)
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return training(model, optimizer(model.parameters()), [torch.randn(8, 128, 256)], _mean, **how)


def lstm(optimizer: Callable[..., Any], **how: Any) -> Step:
    model = nn.LSTM(128, 256, num_layers=2, batch_first=True)
    return training(model, optimizer(model.parameters()), [torch.randn(16, 64, 128)], lambda out: _mean(out[0]), **how)


def perceptron(optimizer: Callable[..., Any], **how: Any) -> Step:
    """Many parameters and a small batch: most is needed by the optimizer."""
    model = nn.Sequential(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 1024))
    return training(model, optimizer(model.parameters()), [torch.randn(16, 1024)], _mean, **how)


def gan() -> Step:
    """Two networks and two optimizers that take turns."""
    generator = nn.Sequential(
        nn.ConvTranspose2d(64, 128, 4),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 3, 4, 2, 1),
        nn.Tanh(),
    )
    critic = nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, 2, 1),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(128 * 64, 1),
    )
    of_generator = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999))
    of_critic = torch.optim.Adam(critic.parameters(), 2e-4, (0.5, 0.999))
    real = torch.randn(64, 3, 32, 32)
    judge = F.binary_cross_entropy_with_logits

    def step() -> None:
        made = generator(torch.randn(64, 64, 1, 1))
        of_critic.zero_grad()
        judge(critic(real), torch.ones(64, 1)).backward()
        judge(critic(made.detach()), torch.zeros(64, 1)).backward()
        of_critic.step()
        of_generator.zero_grad()
        judge(critic(made), torch.ones(64, 1)).backward()
        of_generator.step()

    return step


class EightBitOnCpu(EightBitAdam):
    """With what bitsandbytes' update has beside the state on a CPU, parameter by parameter; on CUDA it has nothing."""

    #: In float32: both moments, the gradient, the root of the second moment and what that is divided by.
    copies = 5

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                [torch.empty_like(parameter) for _ in range(self.copies)]


def eight_bit(parameters: Any) -> Any:
    """AdamW of bitsandbytes where tensors have memory, and in imitation what the estimate takes for it."""
    parameters = list(parameters)
    if isinstance(parameters[0], FakeTensor):
        return EightBitOnCpu(parameters)
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(parameters, lr=1e-3)


Sgd = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
Adam, AdamW = partial(torch.optim.Adam, lr=1e-3), partial(torch.optim.AdamW, lr=1e-3)
Foreach, Fused = partial(AdamW, foreach=True), partial(AdamW, fused=True)

CASES: dict[str, Callable[[], Step]] = {
    "cnn, SGD": partial(cnn, Sgd),
    "cnn, AdamW foreach, channels last": partial(cnn, Foreach, channels_last=True),
    "cnn, Adam, bf16": partial(cnn, Adam, autocast=BF16),
    "restoration, Adam": partial(restoration, Adam),
    "restoration, Adam, checkpointing": partial(restoration, Adam, checkpoint=True),
    "restoration, SGD, 3 micro-batches": partial(restoration, Sgd, accumulation_steps=3),
    "vrt_spike, AdamW, clipping": partial(vrt_spike, AdamW, clip=1.0),
    "vrt_spike, AdamW, checkpointing": partial(vrt_spike, AdamW, checkpoint=True),
    "vrt_spike, AdamW, bf16": partial(vrt_spike, AdamW, autocast=BF16),
    "apt, Adam": partial(apt, Adam),
    "apt, AdamW foreach, checkpointing": partial(apt, Foreach, checkpoint=True),
    "apt, Adam, bf16, 2 micro-batches": partial(apt, Adam, autocast=BF16, accumulation_steps=2),
    "encoder, AdamW fused": partial(encoder, Fused),
    "lstm, Adam, clipping": partial(lstm, Adam, clip=1.0),
    "perceptron, AdamW foreach": partial(perceptron, Foreach),
    "perceptron, SGD": partial(perceptron, Sgd),
    "perceptron, AdamW in 8 bits": partial(perceptron, eight_bit),
    "apt, AdamW in 8 bits, checkpointing": partial(apt, eight_bit, checkpoint=True),
    "gan, two Adam": gan,
}

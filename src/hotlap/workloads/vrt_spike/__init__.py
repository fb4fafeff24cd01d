"""VRT-Spike: a video transformer removes motion blur, told by a spike camera what moved during the exposure.

film (a data set out of a video) or folders (GoPro+Spike) -- spikes, simulate -- clips -- (blurred, voxels, sharp)
network: vrt (stages 1 to 8; blocks, windows; flow, alignment) + spike_encoder, spike_attention (in chunks)
loss:    Charbonnier (+ perceptual) (+ what a teacher says)
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hotlap.errors import ConfigError
from hotlap.train.config import VrtSpikeConfig
from hotlap.train.config.base import size_at
from hotlap.workloads import Batch
from hotlap.workloads.perceptual import PerceptualLoss
from hotlap.workloads.quality import psnr, psnr_y, ssim_y
from hotlap.workloads.vrt_spike.chunks import Chunking
from hotlap.workloads.vrt_spike.clips import Clips, HeldOut, Voxels
from hotlap.workloads.vrt_spike.distill import Teacher
from hotlap.workloads.vrt_spike.film import Film, make_data_set
from hotlap.workloads.vrt_spike.folders import Frame, find_scenes, precompute_voxels
from hotlap.workloads.vrt_spike.network import VrtSpike

#: Under the root of Charbonnier's loss, sqrt(d**2 + eps**2): where it turns from a square to a line.
EPSILON = 1e-3
#: Entries of ``depths`` as published, and the groups at the end of them in which a window holds one frame.
PUBLISHED_DEPTHS, INDEPENDENT_GROUPS = 13, 2
#: What LPIPS would download.
ALEXNET = "alexnet-owt-7be5be79.pth"
#: Frames in a window of self-attention, as published.
WINDOW_FRAMES = 6


class Deblurring:
    """The task (see ``hotlap.workloads.Task``)."""

    weight = None

    def __init__(self, config: VrtSpikeConfig, device: torch.device) -> None:
        sizes = [config.patch_size] if isinstance(config.patch_size, int) else config.patch_size.values()
        self._frames, self._bins, self._largest = config.clip_length, config.voxel_bins, max(sizes)
        self.model: nn.Module = build_network(config).to(device)
        self._perceptual: Callable[[Tensor, Tensor], Tensor] | None = None
        if config.use_perceptual:
            self._perceptual = PerceptualLoss(config.perceptual_backbone, config.perceptual_layers).to(device)
        self._weight, self._every = config.perceptual_weight, config.perceptual_every
        self._teacher: Teacher | None = None
        if config.teacher is not None:
            self._teacher = Teacher(Path(config.teacher), config, self.model, device, build_network)

    def inputs(self, batch: Batch) -> Batch:
        return batch[:2]

    def loss(self, output: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        output, target = output.float(), batch[2]
        losses = {"charbonnier": torch.sqrt((output - target) ** 2 + EPSILON**2).mean()}
        total = losses["charbonnier"]
        if self._perceptual is not None and step % self._every == 0:
            losses["perceptual"] = self._perceptual(output, target)
            total = total + self._weight * losses["perceptual"]
        if self._teacher is not None:
            losses["distillation"] = self._teacher.loss(output, batch)
            total = total + losses["distillation"]
        return {"loss": total, **losses}

    def blank(self, samples: int) -> Batch:
        return tuple(
            torch.empty(samples, self._frames, channels, self._largest, self._largest)
            for channels in (3, self._bins, 3)
        )


class VideoDeblurring(Deblurring):
    """The workload (see ``hotlap.workloads.Workload``).

    Quality is PSNR of the colours in dB, and PSNR and SSIM of the luminance, on held-out clips, against the blurred
    input; and LPIPS where it is asked for.
    """

    metric = "psnr"
    simple_method = "the blurred input"

    def __init__(self, config: VrtSpikeConfig, device: torch.device, ranks: int = 1) -> None:
        root = made_of_film(config) if config.data_dir is None else Path(config.data_dir)
        training, held_out = find_scenes(root)
        shortest = min((frame for scene in (*training, *held_out) for frame in scene.frames), key=_time_steps)
        if config.voxel_bins > _time_steps(shortest):
            raise ConfigError(
                f"{config.path('voxel_bins')} is {config.voxel_bins}, and {shortest.stream} has "
                f"{_time_steps(shortest)} time steps for a frame, so that some bins would always be empty: ask for "
                "fewer bins"
            )
        if config.precomputed_voxels:
            precompute_voxels([*training, *held_out], config.voxel_bins)
        voxels = Voxels(config.voxel_bins, config.log1p, config.precomputed_voxels)
        crop_size = partial(size_at, config.patch_size)
        cache_gb = config.cache_size_gb if config.use_ram_cache else 0.0
        self.dataset = Clips(
            training,
            voxels,
            frames=config.clip_length,
            crop_size=crop_size,
            seed=config.seed,
            cache_gb=cache_gb,
            together=config.group_sequences,
        )
        sizes = [config.patch_size] if isinstance(config.patch_size, int) else list(config.patch_size.values())
        if max(sizes) > self.dataset.largest_crop:
            raise ConfigError(
                f"{config.path('patch_size')} is {max(sizes)}, and the pictures in {root} allow "
                f"{self.dataset.largest_crop}: lower it"
            )
        clips = HeldOut(held_out, voxels, frames=config.clip_length, pixels=config.val_pixels, limit=config.val_clips)
        workers = config.workers(ranks)
        self._held_out: DataLoader[Batch] = DataLoader(
            clips,
            num_workers=workers,
            prefetch_factor=config.val_prefetch_factor if workers else None,
            # Not from the global generator: validating must not change what comes after it.
            generator=torch.Generator(),
        )
        self._device = device
        super().__init__(config, device)
        self._lpips = _lpips(device) if config.use_lpips else None
        with torch.no_grad():
            self.simple_quality = self._quality(lambda rgb, _: rgb)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._quality(model)

    def _quality(self, restore: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
        """Mean over the frames of all clips, restored values cut to the range of a picture."""
        found: dict[str, list[Tensor]] = {"psnr": [], "psnr_y": [], "ssim_y": []}
        for batch in self._held_out:
            rgb, spikes, target = (part.to(self._device) for part in batch)
            restored = restore(rgb, spikes).float().clamp(0, 1)[0]
            # Whatever the precision of the training: the variances of SSIM cancel in bfloat16.
            with torch.autocast(self._device.type, enabled=False):
                found["psnr"].append(psnr(restored, target[0]))
                found["psnr_y"].append(psnr_y(restored, target[0]))
                found["ssim_y"].append(ssim_y(restored, target[0]))
                if self._lpips is not None:
                    found.setdefault("lpips", []).append(self._lpips(2 * restored - 1, 2 * target[0] - 1).flatten())
        return {name: float(torch.cat(values).mean()) for name, values in found.items()}


def made_of_film(config: VrtSpikeConfig) -> Path:
    return make_data_set(film_folder(config), Film(source=config.film))


def film_folder(config: VrtSpikeConfig) -> Path:
    """Where the data set of the configuration's film goes, by itself: another film must not take its place."""
    return Path(config.film_dir) / f"{Path(config.film).stem}-{zlib.crc32(config.film.encode()):08x}"


def build_network(config: VrtSpikeConfig) -> VrtSpike:
    def chunking(kind: str) -> Chunking:
        return Chunking(
            getattr(config, f"{kind}_chunk_size"),
            getattr(config, f"{kind}_chunk_shape"),
            getattr(config, f"{kind}_adaptive_chunk"),
            getattr(config, f"{kind}_max_batch_tokens"),
        )

    return VrtSpike(
        bins=config.voxel_bins if config.use_spikes else None,
        depths=config.depths,
        embed_dim=config.embed_dims[0],
        reconstruction_dim=config.embed_dims[1],
        heads=config.vrt_heads,
        window=(WINDOW_FRAMES, config.window_size, config.window_size),
        alignment=config.alignment,
        # As published, where stage 8 is given as there: its last two groups finish each frame by itself.
        independent_groups=INDEPENDENT_GROUPS if len(config.depths) == PUBLISHED_DEPTHS else 0,
        checkpoint_attention=config.use_checkpoint_attn,
        checkpoint_feed_forward=config.use_checkpoint_ffn,
        spike_heads=config.spike_heads,
        spike_chunking=chunking("spike"),
        fuse_heads=config.fuse_heads,
        fuse_chunking=chunking("fuse"),
    )


def _time_steps(frame: Frame) -> int:
    return frame.stop - frame.start


def _lpips(device: torch.device) -> nn.Module:
    try:
        lpips = importlib.import_module("lpips")
    except ImportError:
        raise ConfigError(
            "VAL.USE_LPIPS is true, and lpips is not installed: pip install lpips, or set it to false"
        ) from None
    file = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not file.is_file():
        raise ConfigError(
            f"VAL.USE_LPIPS is true, and the weights that it needs are not in {file}: put the file there "
            f"(https://download.pytorch.org/models/{ALEXNET}), or set it to false"
        )
    network: nn.Module = lpips.LPIPS(net="alex", verbose=False).to(device)
    return network

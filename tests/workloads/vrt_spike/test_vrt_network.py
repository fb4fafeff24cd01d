"""The whole network at small size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hotlap.errors import ConfigError
from hotlap.workloads.vrt_spike.blocks import BlockOptions
from hotlap.workloads.vrt_spike.chunks import Chunking
from hotlap.workloads.vrt_spike.network import VrtSpike, published_deblurring
from hotlap.workloads.vrt_spike.stages import Rescale, Stage

BINS = 4


def tiny(**replaced: Any) -> VrtSpike:
    """A network of which every part takes part: weights that begin with zeros get random ones."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "bins": BINS,
        "depths": (2, 1, 1, 1, 1, 1, 2, 2),
        "embed_dim": 8,
        "reconstruction_dim": 12,
        "heads": 2,
        "window": (4, 4, 4),
        "deformable_groups": 2,
        "flow_levels": 3,
        "flow_width": 4,
        "spike_channels": 2,
        "spike_heads": 2,
        "fuse_heads": 2,
    }
    network = VrtSpike(**arguments | replaced)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def clip(batch: int = 1, frames: int = 3, height: int = 16, width: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(batch, frames, 3, height, width), torch.rand(batch, frames, BINS, height, width)


def parts(network: VrtSpike) -> dict[str, int]:
    """Parameters by part, in thousands."""
    counted: dict[str, int] = {}
    for name, parameter in network.vrt.named_parameters():
        stage, *inner = name.split(".")
        part = f"stage 1 to 7: {inner[0]}" if stage.startswith("stage") and stage != "stage8" else stage
        counted[part] = counted.get(part, 0) + parameter.numel()
    return {part: round(count / 1000) for part, count in counted.items()}


def test_the_published_network_has_the_published_number_of_parameters() -> None:
    """18.3 M, part by part."""
    network = published_deblurring()
    assert parts(network) == {
        "flow": 1440,
        "first": 3,
        "stage 1 to 7: rescale": 130,
        "stage 1 to 7: groups": 7300,
        "stage 1 to 7: alignment": 4226,
        "stage 1 to 7: fuse": 1359,
        "stage8": 3853,
        "last": 3,
    }
    assert sum(parameter.numel() for parameter in network.parameters()) == 18_313_023


@pytest.mark.parametrize("alignment", ["warp", "dcn"])
def test_gradients_reach_every_parameter(alignment: str) -> None:
    network = tiny(alignment=alignment)
    network(*clip(frames=4)).square().mean().backward()
    unreached = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_any_size_and_any_number_of_frames(frames: int) -> None:
    rgb, spikes = clip(2, frames, 19, 5)
    assert tiny()(rgb, spikes).shape == rgb.shape


@pytest.mark.parametrize("bins", [1, 5, 32])
def test_any_number_of_bins(bins: int) -> None:
    rgb, _ = clip(height=8, width=8)
    out = tiny(bins=bins)(rgb, torch.rand(1, 3, bins, 8, 8))
    assert out.shape == rgb.shape
    assert bool(out.isfinite().all())


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    network = tiny().eval()
    rgb, spikes = clip(batch=2)
    with torch.no_grad():
        together = network(rgb, spikes)
        alone = torch.cat([network(rgb[i : i + 1], spikes[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_untrained_network_returns_its_input() -> None:
    """So what training adds is what is measured."""
    network = VrtSpike(bins=BINS, depths=(1,) * 8, embed_dim=24, reconstruction_dim=24)
    rgb, spikes = clip(height=9, width=10)
    assert torch.equal(network(rgb, spikes), rgb)


def test_frames_see_their_neighbours_and_spikes() -> None:
    network = tiny().double()
    rgb, spikes = (x.double() for x in clip())
    before = network(rgb, spikes)
    changed = rgb.clone()
    changed[:, 2] += 0.5
    assert not torch.allclose(network(changed, spikes)[:, 1], before[:, 1], rtol=0, atol=1e-6)
    assert not torch.allclose(network(rgb, spikes.flip(2)), before, rtol=0, atol=1e-6)


def test_the_twin_without_spikes_is_the_same_network_without_its_branch() -> None:
    network, twin = tiny(), tiny(bins=None)
    rgb, spikes = clip()
    names = {name for name, _ in network.named_parameters()}
    rest = {name.split(".")[0] for name in names - {name for name, _ in twin.named_parameters()}}
    assert rest == {"spike_encoder", "spike_attention", "fuse"}
    assert torch.equal(twin(rgb, spikes), twin(rgb))


def test_without_voxels_a_network_with_a_spike_branch_refuses() -> None:
    with pytest.raises(ValueError, match="voxels"):
        tiny()(clip()[0])


def test_chunks_change_nothing_but_rounding_and_are_counted() -> None:
    whole = tiny(fuse_chunking=Chunking(None, adaptive=False), spike_chunking=Chunking(None, adaptive=False))
    chunked = tiny(fuse_chunking=Chunking(4), spike_chunking=Chunking(8, shape="row"))
    with torch.no_grad():
        torch.testing.assert_close(whole(*clip()), chunked(*clip()), rtol=1e-4, atol=1e-5)
    assert set(whole.chunks().values()) == {1}
    assert [chunked.chunks()[f"fuse.{scale}"] for scale in range(4)] == [16, 4, 1, 1]
    assert [chunked.chunks()[f"spike_attention.{scale}"] for scale in range(4)] == [4, 1, 1, 1]


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointed in (False, True):
        network = tiny(checkpoint_attention=checkpointed, checkpoint_feed_forward=checkpointed)
        network(*clip()).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert a is not None
        assert b is not None
        assert torch.equal(a, b)


def test_a_clip_of_one_size_after_validation_of_another_trains() -> None:
    """Nothing that is kept from inference mode stands in the way of a gradient."""
    network = tiny()
    with torch.inference_mode():
        network(*clip(height=24))
    network(*clip()).mean().backward()


def test_stages_are_named_as_in_the_documents() -> None:
    names = [name for name, _ in tiny().vrt.named_children() if name.startswith("stage")]
    assert names == [f"stage{number}" for number in range(1, 9)]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"depths": (2,) * 7}, "give 8 entries"),
        ({"depths": (2,) * 7 + (0,)}, "at least one block"),
        ({"embed_dim": 10}, "embed_dim 10"),
        ({"reconstruction_dim": 9}, "reconstruction_dim 9"),
        ({"deformable_groups": 3}, "deformable_groups 3"),
        ({"independent_groups": 2}, "independent_groups 2"),
        ({"fuse_heads": 3}, "fuse_heads 3"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**replaced)


def test_thirteen_depths_are_six_groups_of_stage_8() -> None:
    network = tiny(depths=(1,) * 7 + (1, 2, 1, 1, 1, 3), independent_groups=2)
    groups = list(network.vrt.stage8.groups)
    assert [len(group.blocks) for group in groups] == [1, 2, 1, 1, 1, 3]
    assert [group.window[0] for group in groups] == [4, 4, 4, 4, 1, 1]


def test_three_quarters_of_the_blocks_have_mutual_attention() -> None:
    blocks = [block for group in tiny(depths=(8,) * 8).vrt.stage2.groups for block in group.blocks]
    assert [block.mutual_attention is not None for block in blocks] == [True] * 6 + [False] * 2


def test_halving_and_doubling_move_pixels_into_channels_and_back() -> None:
    half, double = Rescale(8, "half"), Rescale(8, "double")
    for rescale in (half, double):
        rescale.norm, rescale.linear = nn.Identity(), nn.Identity()
    x = torch.arange(2 * 4 * 6 * 8.0).view(1, 2, 4, 6, 8)
    halved = half(x)
    assert halved.shape == (1, 2, 2, 3, 32)
    assert set(halved[0, 1, 1, 2].tolist()) == set(x[0, 1, 2:4, 4:6].flatten().tolist())
    assert torch.equal(double(halved), x)


def test_a_stage_compiles_as_one_graph() -> None:
    """Nothing in it sends the tracer back to Python."""
    torch.manual_seed(0)
    stage = Stage(8, 2, (2, 4, 4), BlockOptions(heads=2), scaling="half", alignment="dcn", deformable_groups=2)
    x, flows = torch.randn(1, 3, 16, 16, 8), torch.randn(2, 1, 2, 2, 8, 8)
    compiled = torch.compile(stage, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, flows), stage(x, flows))
    torch._dynamo.reset()


def test_it_runs_in_bfloat16_autocast() -> None:
    network = tiny().eval()
    rgb, spikes = clip()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(rgb, spikes)
    with torch.no_grad():
        torch.testing.assert_close(mixed.float(), network(rgb, spikes), rtol=0.1, atol=0.1)

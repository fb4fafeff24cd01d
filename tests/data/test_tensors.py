"""Tensors as batches: what torch's loader would give, in its order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hotlap.data import TensorBatches


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("options", [{"shuffle": True}, {"shuffle": True, "drop_last": True}, {}])
def test_the_batches_of_torchs_loader(seeded: bool, options: dict[str, Any]) -> None:
    """Epoch after epoch, and what is drawn afterwards is the same, too."""
    data = torch.randn(35, 3), torch.arange(35)
    found = []
    for kind, source in ((DataLoader, TensorDataset(*data)), (TensorBatches, data)):
        torch.manual_seed(7)
        generator = torch.Generator().manual_seed(1) if seeded else None
        batches = kind(source, batch_size=8, generator=generator, **options)
        assert len(batches) == (4 if "drop_last" in options else 5)
        epochs = [tuple(batch) for _ in range(3) for batch in batches]
        after = torch.rand(2) if generator is None else torch.rand(2, generator=generator)
        found.append((epochs, after))
    (torchs, then), (ours, now) = found
    assert len(torchs) == len(ours)
    for one, other in zip(torchs, ours, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(then, now)


def test_a_tree_stays_one() -> None:
    data = {"x": torch.arange(10).view(5, 2), "y": [torch.arange(5)]}
    batches = list(TensorBatches(data, 2))
    assert batches[1]["x"].tolist() == [[4, 5], [6, 7]]
    assert batches[2]["y"][0].tolist() == [4]
    batches[0]["x"].zero_()
    assert data["x"][0].tolist() == [0, 1]
    assert TensorBatches(torch.zeros(3), 2).samples == 3


def test_a_device_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples stay where they are, and batches go there."""
    assert TensorBatches(torch.zeros(8), 2, device="meta").reason is None
    monkeypatch.setattr("hotlap.data.tensors._free", lambda device: 10)
    batches = TensorBatches(torch.zeros(8), 2, device="meta")
    assert "more than half" in str(batches.reason)
    assert next(iter(batches)).device.type == "meta"


def test_what_cannot_be_indexed_is_refused() -> None:
    with pytest.raises(TypeError, match="must be tensors"):
        TensorBatches([torch.zeros(2), "text"], 1)
    with pytest.raises(ValueError, match=r"\[2, 3\] samples"):
        TensorBatches((torch.zeros(2), torch.zeros(3)), 1)

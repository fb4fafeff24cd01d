from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hotlap.workloads.apt.dac import attach, smoothed
from hotlap.workloads.apt.model import APT


def small() -> APT:
    return APT(vocabulary_size=20, d_model=16, layers=1, heads=2, d_hidden=32, length=12, dropout=0.0)


def gradients(model: APT) -> dict[str, Tensor]:
    model.zero_grad()
    source = torch.arange(4, 16).view(2, 6)
    model(source, source).logsumexp(-1).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_low_rank_part_is_the_best_there_is() -> None:
    """Against the singular value decomposition of the normalised rows, where the spectrum falls off."""
    left, right = torch.linalg.qr(torch.randn(30, 12)).Q, torch.linalg.qr(torch.randn(20, 12)).Q
    gradient = left * 0.2 ** torch.arange(12.0) @ right.T
    norms = gradient.norm(dim=1, keepdim=True)
    u, s, v = torch.linalg.svd(gradient / norms, full_matrices=False)
    expected = norms * (u[:, :3] * s[:3] @ v[:3])
    assert float((smoothed(gradient, rank=3, damping=0.0) - expected).norm() / expected.norm()) < 0.01


@pytest.mark.parametrize("damping", [0.0, 0.5, 1.0])
def test_the_residual_comes_back_damped(damping: float) -> None:
    """Damping goes in a straight line from the approximation to the gradient itself."""
    gradient = torch.randn(12, 20)
    low = smoothed(gradient, rank=4, damping=0.0)
    assert torch.linalg.matrix_rank(low / gradient.norm(dim=1, keepdim=True)) == 4
    torch.testing.assert_close(smoothed(gradient, rank=4, damping=damping), low + damping * (gradient - low))


def test_rows_keep_their_scale() -> None:
    """A row that is multiplied gives a row that is multiplied: one large row does not drown the others."""
    gradient = torch.randn(12, 20)
    scale = 2.0 ** torch.arange(-18, 18, 3)[:, None]
    assert torch.equal(smoothed(gradient * scale, rank=3, damping=0.5), smoothed(gradient, rank=3, damping=0.5) * scale)


def test_empty_rows_and_overflow() -> None:
    """Rows of an embedding that no token used stay zero; an overflow stays visible to the gradient scaler."""
    gradient = torch.randn(12, 20)
    gradient[3:5] = 0
    assert (smoothed(gradient, rank=3, damping=0.5)[3:5] == 0).all()
    assert (smoothed(torch.zeros(12, 20), rank=3, damping=0.5) == 0).all()
    gradient[7, 2] = torch.inf
    assert not smoothed(gradient, rank=3, damping=0.5).isfinite().all()


def test_it_draws_nothing_from_the_global_generator() -> None:
    """So a training with it has the same dropout as one without, and resumes where it was."""
    state = torch.get_rng_state()
    gradient = torch.ones(12, 20).tril()
    assert torch.equal(smoothed(gradient, rank=3, damping=0.5), smoothed(gradient, rank=3, damping=0.5))
    assert torch.equal(state, torch.get_rng_state())


def test_attached_it_changes_matrices_alone() -> None:
    """Each large enough matrix gets exactly the formula; biases and norms keep their own."""
    model = small()
    plain = gradients(model)
    attach(model, rank=4)
    for name, gradient in gradients(model).items():
        if gradient.dim() == 2:
            torch.testing.assert_close(gradient, smoothed(plain[name], rank=4, damping=0.5))
            assert not torch.allclose(gradient, plain[name])
        else:
            assert torch.equal(gradient, plain[name])


def test_removed_it_is_gone() -> None:
    """No hook is left on any parameter, and the gradients are the plain ones to the bit."""
    model = small()
    plain = gradients(model)
    attached = attach(model, rank=4)
    assert any(p._backward_hooks for p in model.parameters())
    attached.remove()
    attached.remove()
    for parameter in model.parameters():
        assert not parameter._backward_hooks
        assert not parameter._post_accumulate_grad_hooks
    after = gradients(model)
    assert all(torch.equal(plain[name], after[name]) for name in plain)


def test_never_attached_there_is_no_hook() -> None:
    """Off means off: the model itself brings none."""
    assert not any(p._backward_hooks for p in small().parameters())


def test_small_and_frozen_matrices_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 16), nn.Linear(16, 16).requires_grad_(False))
    attach(model, rank=4)
    assert not any(p._backward_hooks for p in model.parameters())

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.workloads.apt import model as module
from hotlap.workloads.apt.model import APT, DOCUMENTED_VOCABULARY, loss, sinusoids
from hotlap.workloads.apt.vocabulary import BOS, EOS, PAD

SIZES = {"vocabulary_size": 20, "d_model": 16, "layers": 2, "heads": 2, "d_hidden": 32, "length": 12}


def tokens(*shape: int) -> Tensor:
    return torch.randint(4, 20, shape)


def test_the_documented_sizes_give_the_documented_count() -> None:
    """6.8 M parameters with a tied output and a vocabulary of 5000, counted part by part."""
    with torch.device("meta"):
        model = APT()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    attention, feed_forward, norm = 4 * (256 * 256 + 256), 2 * 256 * 1024 + 1024 + 256, 2 * 256
    assert counts == {
        "embedding": DOCUMENTED_VOCABULARY * 256,
        "encoder": 3 * (attention + feed_forward + 2 * norm),
        "decoder": 3 * (2 * attention + feed_forward + 3 * norm),
        "encoder_norm": norm,
        "decoder_norm": norm,
        "dropout": 0,
    }
    assert sum(counts.values()) == 6_810_624


def test_a_later_token_never_changes_an_earlier_output() -> None:
    """The causal mask, position by position."""
    model = APT(**SIZES).eval()
    source, target = tokens(1, 5), tokens(1, 8)
    scores = model(source, target)
    for place in range(8):
        changed = target.clone()
        changed[0, place] = 4 + (target[0, place] - 3) % 16
        after = model(source, changed)
        torch.testing.assert_close(after[:, :place], scores[:, :place])
        assert not torch.allclose(after[:, place], scores[:, place])


def test_padding_changes_nothing() -> None:
    """A row gives the same scores alone and among longer ones, on both sides."""
    model = APT(**SIZES).eval()
    source, target = tokens(3, 5), tokens(3, 4)
    padded = model(F.pad(source, (0, 6), value=PAD), F.pad(target, (0, 7), value=PAD))
    torch.testing.assert_close(padded[:, :4], model(source, target))


def test_attention_is_that_of_the_textbook() -> None:
    """Against softmax(q k / sqrt(d)) v, written out, with a mask."""
    attention = module.Attention(16, 2, 0.1).eval()
    x, memory = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)[:, None, None, :]
    query = attention.query(x).view(2, 3, 2, 8)
    key, value = (part.view(2, 5, 2, 8) for part in attention.key_value(memory).chunk(2, -1))
    weights = torch.einsum("nthd,nshd->nhts", query, key) / 8**0.5
    weights = weights.masked_fill(~mask, -torch.inf).softmax(-1)
    expected = attention.out(torch.einsum("nhts,nshd->nthd", weights, value).reshape(2, 3, 16))
    torch.testing.assert_close(attention(x, memory, mask), expected)


def test_the_output_is_tied_to_the_embedding() -> None:
    """One matrix, whose gradient has both uses in it, and scores of about unit size before training."""
    model = APT(**SIZES | {"d_model": 64})
    assert [name for name, p in model.named_parameters() if 20 in p.shape] == ["embedding.weight"]
    scores = model(tokens(8, 5), tokens(8, 6))
    assert 0.5 < float(scores.detach().std()) < 2
    scores.logsumexp(-1).sum().backward()
    assert model.embedding.weight.grad is not None
    assert (model.embedding.weight.grad.abs().sum(1) > 0).all()


def test_positions_are_those_of_the_paper() -> None:
    """sin(p / 10000^(2i/d)) and its cosine, beside each other."""
    positions = sinusoids(7, 10)
    assert positions.shape == (7, 10)
    for place in range(7):
        for i in range(5):
            angle = torch.tensor(place / 10000 ** (2 * i / 10))
            torch.testing.assert_close(positions[place, 2 * i], angle.sin())
            torch.testing.assert_close(positions[place, 2 * i + 1], angle.cos())


def test_loss_leaves_padding_out() -> None:
    """Padding a batch further changes neither the loss nor its gradient."""
    scores = torch.randn(2, 3, 20, requires_grad=True)
    target = torch.tensor([[5, 6, EOS], [7, EOS, PAD]])
    expected = -torch.stack(
        [scores[i, j].log_softmax(-1)[target[i, j]] for i, j in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]]
    )
    torch.testing.assert_close(loss(scores, target), expected.mean())
    torch.testing.assert_close(loss(F.pad(scores, (0, 0, 0, 4)), F.pad(target, (0, 4), value=PAD)), expected.mean())


def test_checkpointing_changes_no_gradient() -> None:
    """With dropout too, whose draws are repeated."""
    gradients = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        model = APT(**SIZES, use_checkpoint=use_checkpoint)
        loss(model(tokens(3, 5), tokens(3, 6)), tokens(3, 6)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=0, atol=0)


def test_checkpointing_is_off_when_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off, each layer runs once in a step; on, once more in the backward pass, and once in evaluation."""
    runs = 0

    def count(layer: nn.Module, inputs: Any) -> None:
        nonlocal runs
        runs += 1

    def step(use_checkpoint: bool, training: bool) -> int:
        nonlocal runs
        runs = 0
        model = APT(**SIZES, use_checkpoint=use_checkpoint).train(training)
        for layer in (*model.encoder, *model.decoder):
            layer.register_forward_pre_hook(count)
        model(tokens(2, 5), tokens(2, 6)).sum().backward()
        return runs

    assert (step(False, True), step(True, True), step(True, False)) == (4, 8, 4)
    monkeypatch.setattr(module, "checkpoint", None)
    assert step(False, True) == 4


def test_bos_alone_is_enough_to_begin() -> None:
    """The first step of decoding."""
    assert APT(**SIZES).eval()(tokens(2, 1), torch.full((2, 1), BOS)).shape == (2, 1, 20)

"""Which parts of a model could be recomputed one by one."""

from __future__ import annotations

import torch
from torch import nn

from hotlap.probe.blocks import blocks


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))


class Model(nn.Module):
    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def test_the_outermost_that_repeat() -> None:
    """In lists and sequences, and none inside another; a layer by itself is too small."""
    layers = [Block() for _ in range(3)]
    assert blocks(torch, Model(head=nn.Linear(2, 2), layers=nn.ModuleList(layers))) == layers
    assert blocks(torch, nn.Sequential(*layers)) == layers
    groups = [nn.Sequential(Block(), Block()) for _ in range(2)]
    assert blocks(torch, Model(groups=nn.ModuleList(groups))) == groups
    assert blocks(torch, nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))) == []


def test_lists_are_not_called() -> None:
    """What is in them is, as in the two halves of a U."""
    pairs = [nn.ModuleList([Block(), Block(), nn.Linear(2, 2)]) for _ in range(2)]
    assert blocks(torch, Model(downs=nn.ModuleList(pairs))) == [pairs[0][0], pairs[0][1], pairs[1][0], pairs[1][1]]


def test_stages_of_different_classes() -> None:
    """Each stage's own blocks."""
    first, second = [Block(), Block()], [Block(), Block(), Block()]
    model = Model(one=Model(blocks=nn.ModuleList(first)), two=Model(blocks=nn.Sequential(*second)))
    assert blocks(torch, model) == [*first, *second]


def test_the_largest_parts_where_nothing_repeats() -> None:
    """Of what is wrapped, too; one part alone would be all of the model, and what is frozen keeps nothing."""
    encoder, decoder = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    model = Model(encoder=encoder, decoder=decoder, loss=nn.MSELoss())
    assert blocks(torch, model) == [encoder, decoder]
    assert blocks(torch, Model(module=model)) == [encoder, decoder]
    decoder.requires_grad_(False)
    assert blocks(torch, model) == []

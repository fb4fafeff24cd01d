from __future__ import annotations

import pytest
import torch

from hotlap.workloads.apt.dac import attach
from hotlap.workloads.apt.dataset import Pairs
from hotlap.workloads.apt.decode import beam, character_error_rate, exact_match, greedy
from hotlap.workloads.apt.model import APT, loss
from hotlap.workloads.apt.pairs import real_pairs
from hotlap.workloads.apt.vocabulary import Vocabulary


@pytest.mark.parametrize("smooth", [False, True], ids=["plain", "dac"])
def test_twelve_real_pairs_are_learnt(smooth: bool) -> None:
    """From concepts to text: every text is right at the end, greedy and by beam, and none was at the beginning."""
    pairs = real_pairs(concepts=2)
    vocabulary = Vocabulary.of(pairs)
    batches = Pairs(pairs, vocabulary, pad_to=None, whole_set=True).on_device(torch.device("cpu"))
    assert batches is not None
    model = APT(vocabulary_size=len(vocabulary), d_model=32, layers=1, heads=4, d_hidden=64)
    if smooth:
        attach(model, rank=8)
    ((source, _),) = batches([list(range(len(pairs)))])
    references = [pair.target for pair in pairs]

    def texts(tokens: torch.Tensor) -> list[str]:
        return [vocabulary.decode(row) for row in tokens.tolist()]

    assert exact_match(texts(greedy(model.eval(), source, length=8)), references) < 0.2

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(40):
        for inputs, target in batches(torch.randperm(len(pairs)).view(-1, 4).tolist()):
            loss(model(inputs, target[:, :-1]), target[:, 1:]).backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    written = texts(greedy(model, source))
    assert exact_match(written, references) == 1.0
    assert character_error_rate(written, references) == 0.0
    assert texts(beam(model, source)) == references
    assert torch.equal(beam(model, source, width=1), greedy(model, source))

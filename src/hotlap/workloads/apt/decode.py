"""From scores to text, and how good the text is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hotlap.workloads.apt.dataset import LENGTH
from hotlap.workloads.apt.model import APT, Writer
from hotlap.workloads.apt.vocabulary import BOS, EOS, PAD


@torch.no_grad()
def greedy(model: APT, source: Tensor, *, length: int = LENGTH) -> Tensor:
    """The likeliest next token, again and again, for each row of ``source`` (N, S); the model is in evaluation mode.

    Returns (N, T) with T of at most ``length``: the tokens after BOS up to EOS, then PAD.
    """
    writer = Writer(model, *model.encode(source))
    tokens = torch.full((len(source), 1), BOS, device=source.device)
    done = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    for _ in range(min(length, len(model.positions))):
        chosen = _next(writer, tokens).argmax(-1).masked_fill(done, PAD)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        done |= chosen == EOS
        if done.all():
            break
    return tokens[:, 1:]


@torch.no_grad()
def beam(model: APT, source: Tensor, *, width: int = 4, length: int = LENGTH) -> Tensor:
    """The likeliest text that is found by following the ``width`` likeliest beginnings; shape as for ``greedy``.

    The likelihood is that of the whole text, not divided by its length; what is cut off at ``length`` counts as it is.
    """
    count = len(source)
    memory, mask = model.encode(source)
    writer = Writer(model, memory.repeat_interleave(width, dim=0), mask.repeat_interleave(width, dim=0))
    tokens = torch.full((count * width, 1), BOS, device=source.device)
    done = torch.zeros(count, width, dtype=torch.bool, device=source.device)
    # All beginnings are the same one at first: only the first may go on.
    likelihood = torch.full((count, width), -torch.inf, device=source.device)
    likelihood[:, 0] = 0.0
    rows = torch.arange(count, device=source.device)[:, None] * width
    for _ in range(min(length, len(model.positions))):
        step = _next(writer, tokens).log_softmax(-1).view(count, width, -1)
        # A finished text goes on in one way, with PAD, and gets no less likely.
        step = step.masked_fill(done[..., None], -torch.inf)
        step[..., PAD] = step[..., PAD].masked_fill(done, 0.0)
        likelihood, best = (likelihood[..., None] + step).flatten(1).topk(width)
        parents, chosen = best // step.shape[-1], best % step.shape[-1]
        followed = (rows + parents).flatten()
        writer.choose(followed)
        tokens = torch.cat([tokens[followed], chosen.view(-1, 1)], dim=1)
        done = done.gather(1, parents) | (chosen == EOS)
        # The first is the likeliest, and the others get no likelier.
        if done[:, 0].all():
            break
    return tokens.view(count, width, -1)[:, 0, 1:]


def exact_match(texts: Sequence[str], references: Sequence[str]) -> float:
    """Share of the texts that are their reference, 0 to 1."""
    return sum(text == reference for text, reference in zip(texts, references, strict=True)) / len(references)


def character_error_rate(texts: Sequence[str], references: Sequence[str]) -> float:
    """Edits that turn the texts into the references, for each character of the references; may be above 1."""
    edits = sum(edit_distance(text, reference) for text, reference in zip(texts, references, strict=True))
    return edits / sum(len(reference) for reference in references)


def edit_distance(first: str, second: str) -> int:
    """Fewest insertions, deletions and replacements of a character that make one of the other (Levenshtein 1966)."""
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def _next(writer: Writer, tokens: Tensor) -> Tensor:
    """Scores (N, vocabulary) after the last token; PAD and BOS never come next."""
    scores = writer.scores(tokens[:, -1]).float()
    scores[:, [PAD, BOS]] = -torch.inf
    return scores

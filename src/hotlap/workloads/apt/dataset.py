"""Pairs as token numbers, and two ways to make batches of them.

    Pairs -- order (shuffled, or alike in length) -- DataLoader, collate ------------ (source, target)
      |____ OnDevice: the whole set as two tensors, batches by index, no loader ____________|

A batch is a source of shape (N, S), which ends with EOS, and a target of shape (N, T), BOS ... EOS, both int64 and
filled up with PAD. The model reads ``target[:, :-1]`` and is asked for ``target[:, 1:]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hotlap.data import alike
from hotlap.errors import ConfigError
from hotlap.workloads.apt.pairs import Pair
from hotlap.workloads.apt.vocabulary import BOS, EOS, PAD, Vocabulary

Batch = tuple[Tensor, Tensor]

#: Tokens of a sequence, the documents' own.
LENGTH = 64


class Pairs(Dataset[Batch]):
    """(source, target) of every number epoch * len(pairs) + i, not yet padded; a pair comes once in each epoch.

    Batches are padded to ``pad_to`` tokens, or to their own longest (None). With ``by_length`` a batch holds pairs
    alike in length: less padding, at the price that likes share a micro-batch more often than chance has it. With
    ``whole_set`` the batches are made on the device.
    """

    cache = None

    def __init__(
        self,
        pairs: Sequence[Pair],
        vocabulary: Vocabulary,
        *,
        length: int = LENGTH,
        pad_to: int | None = LENGTH,
        by_length: bool = False,
        whole_set: bool = False,
    ) -> None:
        self._pairs, self._vocabulary = tuple(pairs), vocabulary
        self.epoch_samples = len(self._pairs)
        self.collate = Padding(pad_to)
        self._by_length, self._whole_set = by_length, whole_set
        for pair in pairs:
            longest = max(len(vocabulary.encode(text)) for text in (pair.prompt, pair.target)) + 1
            if longest > length:
                raise ConfigError(
                    f"the pair {pair.prompt!r} -> {pair.target!r} has {longest} tokens, and max_length is {length}: "
                    "raise it, or take the pair out"
                )

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int) -> Batch:
        pair = self._pairs[number % len(self._pairs)]
        source, target = self._vocabulary.encode(pair.prompt), self._vocabulary.encode(pair.target)
        return torch.tensor([*source, EOS]), torch.tensor([BOS, *target, EOS])

    def predicted(self, epochs: list[list[int]]) -> None:
        return None

    def grouped(self, order: list[int], size: int, generator: torch.Generator) -> list[int]:
        """Return the order in which batches of ``size`` hold pairs alike in length, and come at random themselves."""
        if not self._by_length:
            return order
        return alike(order, [sum(map(len, self[number])) for number in range(len(self))], size, generator)

    def on_device(self, device: torch.device) -> Callable[[list[list[int]]], Iterator[Batch]] | None:
        return OnDevice(self, device).batches if self._whole_set else None


class Padding:
    """A loader's ``collate_fn``: the documents' fixed width, or the batch's own (``length`` None)."""

    def __init__(self, length: int | None = LENGTH) -> None:
        self.length = length

    def __call__(self, samples: Sequence[Batch]) -> Batch:
        """The target gets one column more: without its first or last token it is ``length`` wide."""
        sources, targets = zip(*samples, strict=True)
        width = self.length
        return _filled(sources, width), _filled(targets, None if width is None else width + 1)


class OnDevice:
    """The whole set as two tensors on the device: a batch is an index away, without loader, worker or copy."""

    def __init__(self, pairs: Pairs, device: torch.device) -> None:
        samples = [pairs[number] for number in range(len(pairs))]
        sources, targets = pairs.collate(samples)
        self._sources, self._targets = sources.to(device), targets.to(device)
        # On the host: the width of a batch is known without waiting for the device.
        self._widths = torch.tensor([[len(source), len(target)] for source, target in samples])
        self._trim = pairs.collate.length is None

    def batches(self, numbers: list[list[int]]) -> Iterator[Batch]:
        """The batches that a loader would give of these numbers."""
        here = [torch.tensor(batch) % len(self._widths) for batch in numbers]
        # One copy for the epoch: one for every batch would be what this class is there to avoid.
        there = torch.split(torch.cat(here).to(self._sources.device), [len(batch) for batch in here])
        for rows, batch in zip(there, here, strict=True):
            source, target = self._sources[rows], self._targets[rows]
            if self._trim:
                width = self._widths[batch].amax(0).tolist()
                source, target = source[:, : width[0]], target[:, : width[1]]
            yield source, target


def _filled(rows: Sequence[Tensor], width: int | None) -> Tensor:
    width = max(len(row) for row in rows) if width is None else width
    filled = torch.full((len(rows), width), PAD)
    for row, line in zip(filled, rows, strict=True):
        row[: len(line)] = line
    return filled

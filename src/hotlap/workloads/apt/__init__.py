"""APT on HLBD: a small encoder-decoder learns the Chinese of a concept from its emoji, its pinyin and other languages.

    pairs (or a file of the user's: files) -- vocabulary -- dataset -- model -- loss
                                                               |---- decode -- exact match, character error rate

The baseline, as the project's documents give it: 600 pairs in training, every sequence padded to 64, no workers;
d_model 256, 3 + 3 layers, 8 heads, feed-forward 1024, dropout 0.1; 50 epochs in micro-batches of 4 with 8 accumulation
steps, Adam at a constant 5e-5. DBC-DAC (``dac``), an option of the documents too, costs time.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hotlap.train.config import AptConfig
from hotlap.workloads import Batch
from hotlap.workloads.apt import dac
from hotlap.workloads.apt.dataset import Padding, Pairs
from hotlap.workloads.apt.decode import beam, character_error_rate, exact_match, greedy
from hotlap.workloads.apt.files import read_pairs
from hotlap.workloads.apt.model import APT, loss
from hotlap.workloads.apt.pairs import Pair, real_pairs, split
from hotlap.workloads.apt.vocabulary import PAD, Vocabulary

#: Pairs that are decoded at once.
_DECODED = 64


class Writing:
    """The task (see ``hotlap.workloads.Task``), with so many rows of the embedding at least."""

    def __init__(self, config: AptConfig, device: torch.device, rows: int) -> None:
        self._length = config.max_length
        self.model: nn.Module = APT(
            vocabulary_size=max(config.vocabulary_size, rows),
            d_model=config.d_model,
            layers=config.num_layers,
            heads=config.heads,
            d_hidden=config.feed_forward,
            dropout=config.dropout,
            length=config.max_length + 1,
            use_checkpoint=config.use_checkpoint,
        ).to(device)
        if config.dac_rank:
            dac.attach(self.model, config.dac_rank)

    def inputs(self, batch: Batch) -> Batch:
        return batch[0], batch[1][:, :-1]

    def loss(self, output: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        return {"loss": loss(output, batch[1][:, 1:])}

    def weight(self, batch: Batch) -> Tensor:
        return (batch[1][:, 1:] != PAD).sum()

    def blank(self, samples: int) -> Batch:
        return tuple(torch.empty(samples, width, dtype=torch.int64) for width in (self._length, self._length + 1))


class Apt(Writing):
    """The workload (see ``hotlap.workloads.Workload``).

    Quality is the share of the held-out pairs whose Chinese is written without a mistake and the character error rate,
    against copying the source; and the first of the two on the training pairs.
    """

    metric = "exact_match"
    simple_method = "copying the source"

    def __init__(self, config: AptConfig, device: torch.device) -> None:
        self._training, self._held_out = pairs_of(config)
        # Before any loader is there: a worker has a copy of it, which no other process sees grow.
        self._vocabulary = Vocabulary.of(self._training)
        self.dataset = Pairs(
            self._training,
            self._vocabulary,
            length=config.max_length,
            pad_to=config.max_length if config.pad_to_max_length else None,
            by_length=config.group_by_length,
            whole_set=config.whole_set,
        )
        super().__init__(config, device, len(self._vocabulary))
        # Here, so that a pair that is too long is refused before the training and not after it.
        self._samples = {
            id(pairs): Pairs(pairs, self._vocabulary, length=config.max_length)
            for pairs in (self._training, self._held_out)
        }
        self._beams, self._device = config.beams, device
        self.simple_quality = _quality([pair.source for pair in self._held_out], self._held_out)

    def validate(self, model: nn.Module) -> dict[str, float]:
        assert isinstance(model, APT)
        learned = exact_match(self._decoded(model, self._training), [pair.target for pair in self._training])
        return _quality(self._decoded(model, self._held_out), self._held_out) | {"training_exact_match": learned}

    def _decoded(self, model: APT, pairs: list[Pair]) -> list[str]:
        texts = []
        samples = self._samples[id(pairs)]
        for first in range(0, len(pairs), _DECODED):
            sources, _ = Padding(None)([samples[i] for i in range(first, min(first + _DECODED, len(pairs)))])
            sources = sources.to(self._device)
            if self._beams > 1:
                written = beam(model, sources, width=self._beams, length=self._length)
            else:
                written = greedy(model, sources, length=self._length)
            texts += [self._vocabulary.decode(row) for row in written.tolist()]
        return texts


def pairs_of(config: AptConfig) -> tuple[list[Pair], list[Pair]]:
    """Those of the training and those that are held out."""
    pairs = real_pairs(concepts=config.concepts) if config.data_file is None else read_pairs(Path(config.data_file))
    return split(pairs, held_out=config.held_out)


def vocabulary_of(config: AptConfig) -> Vocabulary:
    return Vocabulary.of(pairs_of(config)[0])


def _quality(texts: list[str], pairs: list[Pair]) -> dict[str, float]:
    wanted = [pair.target for pair in pairs]
    return {"exact_match": exact_match(texts, wanted), "character_error_rate": character_error_rate(texts, wanted)}

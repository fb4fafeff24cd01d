"""The model: a Transformer that reads a source and writes its Chinese, token by token.

    source -- embedding + positions -- encoder layer x 3 -- norm --|memory
                   |                                               |
    target so far -+ positions ------- decoder layer x 3 <---------|-- norm -- the same embedding, transposed -- scores

Vaswani and others 2017 with the norm before each sub-layer (Xiong and others 2020), which trains at a constant rate
without a warm-up, as the documents' training does.

At the documents' sizes (d_model 256, 3 + 3 layers, 8 heads, feed-forward 1024) and 5000 rows of vocabulary it has
6,810,624 parameters, their 6.8 M: 5,530,624 in the layers and norms, 256 for each row. The characters of the 600 pairs
need far fewer rows; rows beyond them cost time in the last product and are never right.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hotlap.workloads.apt.dataset import LENGTH
from hotlap.workloads.apt.vocabulary import PAD

#: Rows of the documents' embedding: the number that gives their 6.8 M parameters.
DOCUMENTED_VOCABULARY = 5000

#: (N, heads, S, D / heads) each.
KeysValues = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head attention of ``x`` (N, T, D) to ``memory`` (N, S, D), or to itself."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """``mask`` (N, 1, 1, S) is true where there is something to attend to."""
        return self.attend(x, self.keys_values(memory), mask, causal)

    def keys_values(self, memory: Tensor) -> KeysValues:
        key, value = self.key_value(memory).chunk(2, dim=-1)
        return self._by_head(key), self._by_head(value)

    def attend(self, x: Tensor, to: KeysValues, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        attended = F.scaled_dot_product_attention(
            self._by_head(self.query(x)),
            *to,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Sequential):
    def __init__(self, d_model: int, d_hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(d_model, d_hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(d_hidden, d_model))


class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, heads: int, d_hidden: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2))
        self.attention = Attention(d_model, heads, dropout)
        self.feed_forward = FeedForward(d_model, d_hidden, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norms[0](x)
        x = x + self.dropout(self.attention(normed, normed, mask))
        out: Tensor = x + self.dropout(self.feed_forward(self.norms[1](x)))
        return out


class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, heads: int, d_hidden: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3))
        self.attention = Attention(d_model, heads, dropout)
        self.cross_attention = Attention(d_model, heads, dropout)
        self.feed_forward = FeedForward(d_model, d_hidden, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        normed = self.norms[0](x)
        x = x + self.dropout(self.attention(normed, normed, causal=True))
        x = x + self.dropout(self.cross_attention(self.norms[1](x), memory, mask))
        out: Tensor = x + self.dropout(self.feed_forward(self.norms[2](x)))
        return out

    def next(
        self, x: Tensor, written: KeysValues | None, memory: KeysValues, mask: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """What ``forward`` computes of the last token alone, ``x`` (N, 1, D), in evaluation mode.

        Returns the keys and values of what is written, those of this token after them.
        """
        normed = self.norms[0](x)
        own = self.attention.keys_values(normed)
        if written is not None:
            own = torch.cat([written[0], own[0]], dim=2), torch.cat([written[1], own[1]], dim=2)
        x = x + self.attention.attend(normed, own)
        x = x + self.cross_attention.attend(self.norms[1](x), memory, mask)
        return x + self.feed_forward(self.norms[2](x)), own


class Writer:
    """What each decoder layer keeps of a text that is written token by token, so that no token is decoded twice.

    The same as ``APT.decode`` of the whole text so far, to rounding.
    """

    def __init__(self, model: APT, memory: Tensor, mask: Tensor) -> None:
        self._model, self._mask, self._length = model, mask, 0
        self._layers = [layer for layer in model.decoder if isinstance(layer, DecoderLayer)]
        self._memory = [layer.cross_attention.keys_values(memory) for layer in self._layers]
        self._written: list[KeysValues | None] = [None] * len(self._layers)

    def scores(self, last: Tensor) -> Tensor:
        """Scores (N, vocabulary) for the token after ``last`` (N), which is the next of what is written."""
        x = self._model.embed(last[:, None], first=self._length)
        self._length += 1
        for i, layer in enumerate(self._layers):
            x, self._written[i] = layer.next(x, self._written[i], self._memory[i], self._mask)
        return self._model.scores(self._model.decoder_norm(x)[:, 0])

    def choose(self, rows: Tensor) -> None:
        """Go on with these of the N texts, whose sources are the same as before in each place."""
        self._written = [None if kept is None else (kept[0][rows], kept[1][rows]) for kept in self._written]


class APT(nn.Module):
    """Scores for the next token; sequences of at most ``length`` tokens.

    ``use_checkpoint`` keeps only the input of each layer for the backward pass and computes the layer again there.
    """

    positions: Tensor

    def __init__(
        self,
        *,
        vocabulary_size: int = DOCUMENTED_VOCABULARY,
        d_model: int = 256,
        layers: int = 3,
        heads: int = 8,
        d_hidden: int = 1024,
        dropout: float = 0.1,
        length: int = LENGTH,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.embedding = nn.Embedding(vocabulary_size, d_model)
        self.encoder = nn.ModuleList(EncoderLayer(d_model, heads, d_hidden, dropout) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(d_model, heads, d_hidden, dropout) for _ in range(layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("positions", sinusoids(length, d_model), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        # Embeddings have unit variance after the scaling, and so have the first scores.
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Scores (N, T, vocabulary) for the token after each of ``target`` (N, T), given ``source`` (N, S)."""
        memory, mask = self.encode(source)
        return self.scores(self.decode(target, memory, mask))

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoder makes of ``source`` (N, S, D), and where it is no padding (N, 1, 1, S)."""
        mask = (source != PAD)[:, None, None, :]
        x = self.embed(source)
        for layer in self.encoder:
            x = self._run(layer, x, mask)
        memory: Tensor = self.encoder_norm(x)
        return memory, mask

    def decode(self, target: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Features (N, T, D) of ``target`` (N, T).

        Padding is at the end, where no earlier token looks: the causal mask is enough.
        """
        x = self.embed(target)
        for layer in self.decoder:
            x = self._run(layer, x, memory, mask)
        features: Tensor = self.decoder_norm(x)
        return features

    def scores(self, features: Tensor) -> Tensor:
        return F.linear(features, self.embedding.weight)

    def embed(self, tokens: Tensor, first: int = 0) -> Tensor:
        """``tokens`` (N, T) from position ``first`` on, as (N, T, D)."""
        scale = math.sqrt(self.embedding.embedding_dim)
        positions = self.positions[first : first + tokens.shape[1]]
        embedded: Tensor = self.dropout(self.embedding(tokens) * scale + positions)
        return embedded

    def _run(self, layer: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        if self.use_checkpoint and self.training:
            recomputed: Tensor = checkpoint(layer, *inputs, use_reentrant=False)
            return recomputed
        return layer(*inputs)


def loss(scores: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy, in nats per token, of ``scores`` (N, T, vocabulary) for ``target`` (N, T), PAD left out."""
    return F.cross_entropy(scores.float().flatten(0, 1), target.flatten(), ignore_index=PAD)


def sinusoids(length: int, d_model: int) -> Tensor:
    """Positions (length, d_model): sine and cosine of wavelengths from 2 pi to 20000 pi (Vaswani and others 2017)."""
    frequencies = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
    angles = torch.arange(length)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

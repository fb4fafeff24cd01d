"""Names each place of sequences of different lengths: they are packed for two LSTMs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

WORDS = 100


def collate(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    return pad_sequence(sequences, batch_first=True), torch.tensor([len(each) for each in sequences])


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 64)
        self.recurrent = nn.LSTM(64, 128, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(256, WORDS)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(words), lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        scores: Tensor = self.head(states)
        return scores


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    data = [torch.randint(1, WORDS, (int(length),)) for length in torch.randint(5, 60, (400,))]
    model = Tagger().to(device)
    optimizer = torch.optim.Adam(model.parameters())
    for words, lengths in DataLoader(data, 32, shuffle=True, collate_fn=collate):  # type: ignore[arg-type]
        words, lengths = words.to(device), lengths.to(device)
        loss = nn.functional.cross_entropy(model(words, lengths).transpose(1, 2), words)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"loss {loss.item():.4f}")


if __name__ == "__main__":
    main()

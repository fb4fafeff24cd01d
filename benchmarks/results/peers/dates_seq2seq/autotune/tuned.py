"""A small sequence-to-sequence transformer that rewrites dates: "3 march 1998, tuesday" becomes "1998-03-03"."""

import argparse
import datetime
import random

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

PAD, BOS, EOS = 0, 1, 2
CHARACTERS = " ,-./0123456789abcdefghijklmnopqrstuvwxyz"
FORMATS = ["%d %B %Y, %A", "%A the %d of %B %Y", "%B %d, %Y", "%d/%m/%Y it was a %A"]


def encode(text, length):
    ids = [BOS] + [CHARACTERS.index(c) + 3 for c in text] + [EOS]
    return torch.tensor(ids + [PAD] * (length - len(ids)))


class DatePairs(Dataset):
    def __init__(self, n=600):
        rng = random.Random(7)
        first = datetime.date(1950, 1, 1)
        days = [first + datetime.timedelta(days=rng.randrange(30000)) for _ in range(n)]
        self.pairs = [(day.strftime(rng.choice(FORMATS)).lower(), day.isoformat()) for day in days]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        source, target = self.pairs[i]
        return encode(source, 40), encode(target, 12)


class Seq2Seq(nn.Module):
    def __init__(self, d_model=192, layers=3, heads=4):
        super().__init__()
        vocabulary = len(CHARACTERS) + 3
        self.embed = nn.Embedding(vocabulary, d_model, padding_idx=PAD)
        self.position = nn.Parameter(torch.randn(64, d_model) * 0.02)
        self.transformer = nn.Transformer(d_model, heads, layers, layers, 4 * d_model, dropout=0.1, batch_first=True)
        self.out = nn.Linear(d_model, vocabulary)

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(target.size(1))
        decoded = self.transformer(
            self.embed(source) + self.position[: source.size(1)],
            self.embed(target) + self.position[: target.size(1)],
            tgt_mask=mask,
            tgt_is_causal=True,
            src_key_padding_mask=source == PAD,
            memory_key_padding_mask=source == PAD,
        )
        return self.out(decoded)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--accumulation-steps", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = DataLoader(DatePairs(), batch_size=args.batch_size, shuffle=True)
    model = Seq2Seq().to(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

    for epoch in range(args.epochs):
        model.train()
        total_loss = 0
        optimizer.zero_grad()
        progress = tqdm(loader, desc=f"Epoch {epoch + 1}")
        for i, (source, target) in enumerate(progress):
            source, target = source.to(device), target.to(device)
            output = model(source, target[:, :-1])
            loss = criterion(output.reshape(-1, output.size(-1)), target[:, 1:].reshape(-1))
            (loss / args.accumulation_steps).backward()
            if (i + 1) % args.accumulation_steps == 0 or i + 1 == len(loader):
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            total_loss += loss.item()
            progress.set_postfix({"loss": f"{loss.item():.4f}", "avg": f"{total_loss / (i + 1):.4f}"})
        print(f"epoch {epoch + 1}/{args.epochs} loss {total_loss / len(loader):.6f}")
    print(f"final loss {total_loss / len(loader):.6f}")


if __name__ == "__main__":
    main()

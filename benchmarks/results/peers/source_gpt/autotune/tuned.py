"""A small GPT over the characters of Python's own standard library."""

import argparse
import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset


class CharDataset(Dataset):
    def __init__(self, context, samples):
        folder = Path(os.__file__).parent
        names = ["argparse.py", "ast.py", "dataclasses.py", "difflib.py", "inspect.py", "logging/__init__.py"]
        text = "".join((folder / name).read_text(encoding="utf-8") for name in names)
        text = text.encode("ascii", "ignore")
        self.data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
        self.context = context
        self.samples = samples
        self.stride = (len(self.data) - context - 1) // samples

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        start = index * self.stride
        chunk = self.data[start : start + self.context + 1]
        return chunk[:-1], chunk[1:]


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, context, dim=160, depth=6, heads=5, vocabulary=128):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(0.02 * torch.randn(context, dim))
        self.blocks = nn.ModuleList([Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)

    def forward(self, idx):
        x = self.tokens(idx) + self.positions[: idx.shape[1]]
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.head(self.norm(x))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=1337)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    dataset = CharDataset(args.context, args.samples)
    loader = DataLoader(dataset, batch_size=args.batch_size, shuffle=True)
    model = GPT(args.context)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    model = torch.compile(model, mode=None)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95))

    for epoch in range(args.epochs):
        losses = []
        for x, y in loader:
            logits = model(x)
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), y.view(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.detach())
        mean = torch.stack(losses).mean().item()
        print(f"epoch {epoch + 1}/{args.epochs} loss {mean:.6f}")
    print(f"final loss {mean:.6f}")


if __name__ == "__main__":
    main()

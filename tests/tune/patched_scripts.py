"""Training scripts as people write them, each with levers and which of these can be written as they would."""

from __future__ import annotations

from typing import Any, NamedTuple

from gloo import TORCHRUN


class Case(NamedTuple):
    #: Files by name; text is UTF-8.
    files: dict[str, str | bytes]
    levers: dict[str, Any]
    #: Levers that are written natively; all others go through ``hotlap.apply``.
    native: set[str]
    #: Lines that the patch adds, among others.
    added: tuple[str, ...] = ()
    words: tuple[str, ...] = ("train.py",)


_DATA = """\
class Pictures(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(3, 8, 8, generator=generator), torch.randn(1, generator=generator)


def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 1))
"""

_TOP = f'''\
"""Trains a small network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(0)


{_DATA}
'''

PLAIN = f"""{_TOP}
loader = DataLoader(Pictures(), batch_size=4, shuffle=True)
model = network()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for epoch in range(2):
    for x, y in loader:
        out = model(x)
        loss = F.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("loss", loss.item())
"""

_FUNCTIONS = f"""{_TOP}
import argparse


def make_loader(batch_size, train=True):
    return DataLoader(
        Pictures(),
        batch_size,
        shuffle=train  # only then
    )


def train(model, loader, optimizer, epochs):
    criterion = nn.MSELoss()
    for epoch in range(epochs):
        for x, y in loader:
            optimizer.zero_grad(set_to_none=True)
            prediction = model(x.to("cpu"))
            loss = criterion(prediction, y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            print("loss", loss.item())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    model = network()
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=0.01,
        betas=(0.9, 0.99),
    )
    train(model, make_loader(args.batch_size), optimizer, args.epochs)


if __name__ == "__main__":
    main()
"""

_TRAINER = f"""{_TOP}
class Trainer:
    def __init__(self, batch_size=4):
        self.model = network()
        self.loader = DataLoader(Pictures(), batch_size=batch_size, shuffle=True, drop_last=True,)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)

    def step(self, x, y):
        loss = F.mse_loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def fit(self):
        for x, y in self.loader:
            print("loss", self.step(x, y).item())


Trainer().fit()
"""

_SCALER = f"""{_TOP}
loader = DataLoader(Pictures(), batch_size=4)
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
for x, y in loader:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.mse_loss(model(x), y)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    print("loss", loss.item())
"""

_VALIDATION = f"""{_TOP}
def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        total = sum(F.mse_loss(model(x), y).item() for x, y in loader)
    model.train()
    return total


model = network()
train_loader = DataLoader(Pictures(), batch_size=4, shuffle=True, num_workers=1)
val_loader = DataLoader(Pictures(), batch_size=8, num_workers=1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for epoch in range(3):
    for x, y in train_loader:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("loss", loss.item())
    print("loss", evaluate(model, val_loader))
"""

_POSITIONAL = PLAIN.replace(
    "DataLoader(Pictures(), batch_size=4, shuffle=True)", "DataLoader(Pictures(), 4, True, None, None, 0, None, False)"
)
_UNPACKED = PLAIN.replace(
    "loader = DataLoader(Pictures(), batch_size=4, shuffle=True)",
    "options = {'batch_size': 4, 'num_workers': 0}\nloader = DataLoader(Pictures(), **options)",
)
_FACTORY = PLAIN.replace(
    "optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)",
    "optimizer = getattr(torch.optim, 'AdamW')([p for p in model.parameters() if p.requires_grad], lr=0.01)",
)
_ACCUMULATION = PLAIN.replace(
    """\
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    """\
        loss = loss / 2
        loss.backward()
        number = globals().get("number", 0) + 1
        if number % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
""",
)

_FRAMEWORK = """\
import torch


class Trainer:
    def fit(self, module, loader):
        optimizer = module.configure_optimizers()
        for number, batch in enumerate(loader):
            loss = module.training_step(batch, number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print("loss", loss.item())
"""
_ON_FRAMEWORK = f"""\
import sys

sys.path.append("env/lib/python3/site-packages")
{_TOP.partition("annotations")[2]}
from framework import Trainer


class Lit(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def training_step(self, batch, number):
        x, y = batch
        return F.mse_loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


Trainer().fit(Lit(), DataLoader(Pictures(), batch_size=4))
"""

_MODEL = """\
# the network, in a file of its own
from torch import nn
from torch.utils.checkpoint import checkpoint


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3)
        self.body = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.tail = nn.Linear(128, 1)

    def forward(self, x):
        x = checkpoint(self.body, self.head(x), use_reentrant=False)
        x = checkpoint(lambda t: t.flatten(1),
                       x, use_reentrant=False)
        return self.tail(x)
"""
_CHECKPOINTED = PLAIN.replace("model = network()", "model = Net()").replace(
    "import torch.nn.functional as F", "import torch.nn.functional as F\nfrom model import Net"
)

_IN_PACKAGE = PLAIN.replace("import torch.nn.functional as F", "import torch.nn.functional as F\nfrom . import options")

_RANKS = f"""{_TOP}
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler

dist.init_process_group("gloo")
data = Pictures()
loader = DataLoader(data, batch_size=4, sampler=DistributedSampler(data))
model = DistributedDataParallel(network())
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for x, y in loader:
    out = model(x)
    loss = F.mse_loss(out, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    dist.all_reduce(loss.detach())
    if dist.get_rank() == 0:
        print("loss", loss.item())
dist.destroy_process_group()
"""

_APPLIED = f"import hotlap\n\nhotlap.apply(foreach=True)\n\n{PLAIN}".replace("from __future__ import annotations\n", "")

_LATIN = ("# -*- coding: latin-1 -*-\n" + PLAIN.replace("small", "kleines, sch\xf6nes")).encode("latin-1")
_CRLF = _FUNCTIONS.replace("\n", "\r\n")
_NO_LAST_LINE = (
    b"\xef\xbb\xbf"
    + PLAIN.rstrip("\n").replace("model = network()", "model = network()  # ü\u2028").replace("    ", "\t").encode()
)

_MIXED: dict[str, Any] = {"workers": 1, "fused": True, "autocast": "bfloat16"}
_AUTOCAST = 'with torch.autocast("cpu", dtype=torch.bfloat16):'

CASES = {
    "plain": Case(
        {"train.py": PLAIN},
        {**_MIXED, "channels_last": True, "prefetch_factor": 4},
        {*_MIXED, "channels_last", "prefetch_factor"},
        (
            "loader = DataLoader(Pictures(), batch_size=4, shuffle=True, num_workers=1, prefetch_factor=4)",
            "model.to(memory_format=torch.channels_last)",
            "optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)",
            f"        {_AUTOCAST}",
            "            out = model(x.contiguous(memory_format=torch.channels_last))",
            "            loss = F.mse_loss(out, y)",
        ),
    ),
    "functions and arguments": Case(
        {"train.py": _FUNCTIONS},
        {**_MIXED, "allocator": "keep"},
        set(_MIXED),
        (
            "        shuffle=train,  # only then",
            "        num_workers=1,",
            "        fused=True,",
            f"            {_AUTOCAST}",
            '                prediction = model(x.to("cpu"))',
            'hotlap.apply(allocator="keep")',
        ),
    ),
    "class": Case(
        {"train.py": _TRAINER},
        {"workers": 1, "persistent_workers": True, "foreach": True, "channels_last": True},
        {"workers", "persistent_workers", "foreach", "channels_last"},
        (
            "        self.model.to(memory_format=torch.channels_last)",
            "        loss = F.mse_loss(self.model(x.contiguous(memory_format=torch.channels_last)), y)",
        ),
    ),
    "scaler": Case({"train.py": _SCALER}, {"workers": 1, "fused": True}, {"workers", "fused"}),
    "validation": Case(
        {"train.py": _VALIDATION},
        {"workers": 2, "persistent_workers": True, "fused": True, "autocast": "bfloat16"},
        {"workers", "persistent_workers", "fused"},
        (
            "val_loader = DataLoader(Pictures(), batch_size=8, num_workers=2, persistent_workers=True)",
            'hotlap.apply(autocast="bfloat16")',
        ),
    ),
    "arguments by place": Case(
        {"train.py": _POSITIONAL},
        {"workers": 1, "fused": True},
        {"workers", "fused"},
        ("loader = DataLoader(Pictures(), 4, True, None, None, 1, None, False)",),
    ),
    "unpacked arguments": Case({"train.py": _UNPACKED}, {"workers": 1, "fused": True}, {"fused"}),
    "optimizer of a factory": Case({"train.py": _FACTORY}, {"workers": 1, "fused": True}, {"workers"}),
    "accumulation": Case({"train.py": _ACCUMULATION}, _MIXED, set(_MIXED)),
    "framework": Case(
        {"train.py": _ON_FRAMEWORK, "env/lib/python3/site-packages/framework.py": _FRAMEWORK},
        _MIXED,
        {"workers", "fused"},
    ),
    "checkpointing": Case(
        {"train.py": _CHECKPOINTED, "model.py": _MODEL},
        {"checkpointing": "off", "workers": 1},
        {"checkpointing", "workers"},
        ("        x = self.body(self.head(x))", "        x = (lambda t: t.flatten(1))(x)"),
    ),
    "module": Case(
        {"pkg/__init__.py": "", "pkg/options.py": "", "pkg/train.py": _IN_PACKAGE},
        {"fused": True, "checkpointing": "off"},
        {"fused"},
        words=("-m", "pkg.train"),
    ),
    "ranks": Case(
        {"train.py": _RANKS},
        {**_MIXED},
        set(_MIXED),
        words=(*TORCHRUN, "train.py"),
    ),
    "applied already": Case(
        {"train.py": _APPLIED},
        {"checkpointing": "off", "workers": 1},
        {"workers"},
        ('hotlap.apply(foreach=True, checkpointing="off")',),
    ),
    "carriage returns": Case({"train.py": _CRLF}, {**_MIXED, "allocator": "keep"}, set(_MIXED)),
    "latin-1": Case({"train.py": _LATIN}, {**_MIXED, "allocator": "keep"}, set(_MIXED)),
    "byte order mark and tabs": Case(
        {"train.py": _NO_LAST_LINE}, {**_MIXED, "allocator": "keep"}, set(_MIXED), ("\t\t\tout = model(x)",)
    ),
}

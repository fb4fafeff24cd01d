"""A loop that reads its tensors in every way, at lines that it tells; with a subclass, a thread and a slow data set."""

import contextlib
import inspect
import threading

import torch
from told import Told, network
from torch.utils.data import DataLoader, Dataset


class Reading(Dataset):
    def __len__(self):
        return 8 * 120

    def __getitem__(self, index):
        x = torch.full((16,), (index % 7) / 7)
        return x * x[0].item(), x[:1]


class Tagged(torch.Tensor):
    """Its table was made before any step: what it does must not depend on what stands there now."""

    table = {torch.Tensor.item: lambda tensor: 41.0, torch.Tensor.cpu: lambda tensor: tensor}

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in cls.table:
            return cls.table[function](*args)
        return super().__torch_function__(function, types, args, kwargs or {})


def line():
    return inspect.currentframe().f_back.f_lineno


def elsewhere():
    while not over.wait(0.001):
        torch.ones(1).item()


names = ("item", "cpu", "numpy", "__bool__", "__getitem__", "__setitem__", "__repr__", "__format__", "tolist")
before = dict(vars(torch.Tensor))
model = network()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, foreach=False)
over = threading.Event()
other = threading.Thread(target=elsewhere)
other.start()
tagged = torch.ones(1).as_subclass(Tagged)
held = {}
told = Told()
lines = {}
clean = False
told.begin()
for x, y in DataLoader(Reading(), batch_size=8):
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    lines["item()"] = line() + 1
    total = sum(loss.item() for _ in range(5))
    lines["str()"] = line() + 1
    print(loss)
    lines["bool()"] = line() + 1
    if loss > 1e9:
        break
    lines["x[mask]"] = line() + 1
    total += x[x > 0.5].numel()
    x[x > 0.5] = 0.0
    lines["cpu()"] = line() + 1
    total += loss.detach().cpu().numpy()
    assert tagged.item() == 41.0
    assert type(tagged.cpu()) is Tagged
    assert type(tagged[:1]) is Tagged
    assert torch.Tensor.item.__name__ == "item"
    held[id(torch.Tensor.tolist)] = torch.Tensor.tolist
    with contextlib.suppress(RuntimeError):
        x.item()
    told.step([loss], 8)
    # Between two looks; one may watch the last step.
    after = vars(torch.Tensor)
    clean = clean or (
        len(told.steps) > 60 and set(after) == set(before) and all(after[name] is before[name] for name in before)
    )
over.set()
other.join()
assert all(function(torch.ones(2)) == [1.0, 1.0] for function in held.values())
assert len(set(held.values())) == 1
told.end(clean=clean, lines=lines)

"""What the trainings of this folder share: their data, and how they say what they did."""

import json
import warnings

import torch

warnings.filterwarnings("ignore")
torch.manual_seed(0)


def loader(count, batch_size, seed, shuffle=False):
    generator = torch.Generator().manual_seed(seed)
    data = torch.utils.data.TensorDataset(
        torch.randn(count, 16, generator=generator), torch.randn(count, 1, generator=generator)
    )
    return torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=shuffle)


def network():
    return torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))


def told(steps, samples, losses, model):
    """Say how many steps the framework counts, of how many samples, and what exactly was computed."""
    weights = sum(parameter.double().sum().item() for parameter in model.parameters()).hex()
    print("TOLD " + json.dumps({"steps": steps, "samples": samples, "losses": losses, "weights": weights}), flush=True)

"""Random draws that depend on a seed and a sample's number alone, never on who fetches the sample or when."""

from __future__ import annotations

import torch


def generator_of(seed: int, number: int) -> torch.Generator:
    """The generator of one sample."""
    return torch.Generator().manual_seed(_mix(seed, number))


def _mix(seed: int, number: int) -> int:
    """A 32-bit seed out of two numbers (the generator uses no more than 32 bits)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
    mixed = (mixed ^ (mixed >> 31)) * 0xD6E8FEB86659FD93 % 2**64
    return mixed >> 32

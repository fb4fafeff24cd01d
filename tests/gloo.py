"""Real ranks that talk through gloo."""

from __future__ import annotations

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def aborted(output: str) -> bool:
    """Whether a rank died after its training had ended, as it seldom does under heavy load.

    Probably pytorch/pytorch#179291: a thread of gloo asks for the interpreter while that ends. A test starts such
    a run once more.
    """
    return "terminate called without an active exception" in output

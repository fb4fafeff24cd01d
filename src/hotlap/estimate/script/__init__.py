"""A script of somebody's, gone through as it is: what it has on its device is imitated, all else is real.

    probe.start ──> install ──> Placing    what is on the card, and what a script sees of it       (placing, on_a_card)
                                Follower   births and deaths of what is imitated                    (follower)
                                Cycles     where a step begins and ends; the second ends the script (cycles)
                                           └──> step.json, in the run directory                     (telling)

On a card: what is put there (``.to("cuda")``, ``device="cuda"``) has no memory from then on; tensors of the host
stay real, so that loaders, tokenizers and lengths of sequences are as always. For a processor: networks and the
state of optimizers lose their memory when a network is first called with gradients.

This is run by the script's interpreter: of what is not the standard library there is torch alone.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from contextlib import ExitStack
from typing import Any

#: What is entered for the rest of the process.
_entered = ExitStack()


def install(told: dict[str, Any], run_dir: str) -> None:
    """Imitate from now on, in this thread; ``told``: see ``hotlap.launch.Plan.imitated``."""
    try:
        _install(told, run_dir)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _install(told: dict[str, Any], run_dir: str) -> None:
    from hotlap.estimate.script import loaders, on_a_card
    from hotlap.estimate.script.cycles import Cycles
    from hotlap.estimate.script.follower import Follower
    from hotlap.estimate.script.placing import Placing
    from hotlap.estimate.script.telling import Telling

    telling = Telling(run_dir, on_card=told["on_card"])
    follower = Follower(telling, on_card=told["on_card"])
    cycles = Cycles(follower, telling)
    follower.cycles = cycles
    _entered.enter_context(follower)
    placing = Placing(follower)
    loaders.watch(cycles, follower, told.get("batch_size"))
    on_a_card.change_torch(placing, telling)
    if told["on_card"]:
        on_a_card.show(told, placing)
    _entered.enter_context(placing)
    usual = sys.excepthook

    def ended(kind: Any, error: Any, trace: Any) -> None:
        telling.explain(error)
        atexit.unregister(cycles.over)
        usual(kind, error, trace)

    sys.excepthook = ended
    atexit.register(cycles.over)

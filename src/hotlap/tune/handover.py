"""What was adopted, handed over in two stages: at once, and as an edit of the user's files.

    in 5 minutes     hotlap run --with result.json       the changes are applied from outside, no file is edited
    in 30 minutes    changes.patch                       edited configurations, and a diff of the script

The diff of the script is tried before it is handed over: the patched copy runs in the place of the script, and its
losses must be those of the proof, to the last bit where the training repeats itself. Where what a user would write
trains otherwise, all is left to ``hotlap.apply``, which is the code that the proof ran.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hotlap.records import Change, Handover, Sites, write_whole
from hotlap.tune.adopt import unified_diff
from hotlap.tune.arms import BLOCK_SECONDS, BLOCK_STEPS, WARM_BLOCKS
from hotlap.tune.engines import Engine
from hotlap.tune.paces import Pace, Paces
from hotlap.tune.patching import make_patch, write_copies
from hotlap.tune.target import Target
from hotlap.tune.work import NO_OP_PAIRS, Patching, patched

PATCH = "changes.patch"
#: Steps that a patched script trains to be compared.
STEPS = 24


def hand_over(
    engine: Engine,
    target: Target,
    changes: Sequence[Change],
    sites: Sites | None,
    directory: Path,
    losses: Sequence[float | None],
    *,
    deterministic: bool,
    paces: Paces,
    time_left: Callable[[], float],
) -> Handover:
    """Write ``changes.patch`` into ``directory`` and say what is in it.

    ``losses`` are those of the changes in the proof, with the script's own seed. Where the time that is left is too
    short for it, the patched script's speed is not measured; its losses always are.
    """
    rewritten = target.rewritten(changes)
    inside = {source: name for source in rewritten if (name := _below(Path.cwd(), source)) is not None}
    diff = "".join(unified_diff(*rewritten[source], name) for source, name in inside.items()).encode()
    levers = target.levers(changes)
    by_keys = [change for change in changes if target.has_keys(change)]
    patch, same, why, measured = None, None, "", None
    for native in (True, False) if levers and target.config is None else ():
        patch = make_patch(levers, sites, target.command, native=native)
        if patch is None:
            why = "the script cannot be edited from here: use `hotlap run --with`"
            break
        folder = directory / ("patched" if native else "patched-by-apply")
        copies = write_copies(patch, folder)
        asked = Patching(
            changes=by_keys,
            copies=copies,
            name=folder.name,
            losses=list(losses[:STEPS]),
            deterministic=deterministic,
            seconds=time_left(),
            timing=_timing(paces),
        )
        found = engine.map(patched, [asked])[0]
        same, why, measured = found.same, found.why, found.effect
        if same is not False:
            diff += patch.diff
            break
        patch = None
    if diff:
        write_whole(directory / PATCH, diff)
    return Handover(
        patch=PATCH if diff else None,
        command=_with_flags(target, changes, directory),
        configurations=list(inside.values()),
        files=sorted(patch.files) if patch is not None else [],
        native=patch.native if patch is not None else [],
        by_apply=patch.by_apply if patch is not None else {},
        same=same,
        evidence=why,
        effect=measured,
    )


def hand_over_seconds(paces: Paces) -> float:
    """What is kept of a budget to run the patched script, and to time it against the user's."""
    return paces.candidate.first_step + STEPS * paces.candidate.step + _timing(paces)


def _timing(paces: Paces) -> float:
    a, b = (_block(pace) for pace in paces)
    return paces.baseline.first_step + WARM_BLOCKS / 2 * a + NO_OP_PAIRS * (a + b)


def _block(pace: Pace) -> float:
    return max(BLOCK_SECONDS, (BLOCK_STEPS + 1) * pace.step)


def _with_flags(target: Target, changes: Sequence[Change], directory: Path) -> list[str] | None:
    """The command as the user would type it with the new flags, his own configurations in it."""
    if target.settings is None:
        return None
    folder = directory / "command"
    folder.mkdir(exist_ok=True)
    words = target.arrange(changes, folder)
    copies = {str(folder / Path(source).name): source for source in target.rewritten(changes)}
    typed = [copies.get(word, word) for word in words]
    return typed if typed != target.command else None


def _below(folder: Path, name: str) -> str | None:
    """The path of a file from this folder; None where it lies outside, and no patch of the folder reaches it."""
    path = Path(name).absolute()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else None

"""The stages of real trainings, from the script to the tree."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

import pytest
from recordings import Recorded, Told

from hotlap.diagnose import diagnose, stage_leaves

Record = Callable[..., Recorded]


def test_a_block_that_works_ten_times_is_found_with_its_truth(
    record: Record, without_probe: Callable[..., Told]
) -> None:
    found = record("staged")
    assert found.told is not None
    assert [step["loss"] for step in found.told.steps] == [step["loss"] for step in without_probe("staged").steps]
    seen = found.run.stages
    assert seen is not None
    assert seen.steps >= 3
    at = {stage.path: stage for stage in seen.stages}
    assert {stage.parent for stage in seen.stages if stage.parent is None} == {None}
    assert [stage.path for stage in seen.stages if stage.parent is None] == ["Net", "Teacher"]
    assert at["Teacher"].phase == "loss"
    assert at["inner"].calls == 1
    assert [path for path, stage in at.items() if stage.parent == 0] == [
        "stem",
        *(f"blocks.{i}" for i in range(5)),
        "head",
    ]
    assert at["blocks.3.up"].calls == 10
    assert at["blocks.2.up"].calls == 1

    def whole(name: str) -> float:
        inside = [stage for path, stage in at.items() if path.startswith(name)]
        return sum(stage.forward + stage.backward + stage.recompute for stage in inside)

    # The machine may be busy: a stall in one of the others is no failure.
    assert whole("blocks.3") > 4 * median(whole(f"blocks.{i}") for i in (0, 1, 2, 4))
    assert all(at[f"blocks.{i}.down"].recompute > 0 for i in range(5))
    assert at["stem"].recompute == at["head"].recompute == 0

    diagnosis = diagnose(found.run)
    tree = diagnosis.stages
    assert tree is not None
    leaves = list(stage_leaves(tree.rows))
    for kind in ("forward", "backward", "recompute"):
        part = sum(getattr(leaf, kind) for leaf in leaves)
        slack = 0.02 * tree.total + sum(leaf.forward for leaf in leaves if leaf.name in ("Teacher", "inner"))
        assert part == pytest.approx(diagnosis.phases[kind], abs=slack)
    assert tree.total == pytest.approx(math.fsum(leaf.total for leaf in leaves))
    assert any("blocks" in row.name and "3" in row.name for row in tree.rows[0].children)


@pytest.mark.parametrize("script", ["gan", "recomputed"])
def test_stages_of_other_loops(script: str, record: Record) -> None:
    seen = record(script).run.stages
    assert seen is not None
    roots = [stage for stage in seen.stages if stage.parent is None]
    calls = {"gan": {"critic": 4, "generator": 2, "judge": 1}, "recomputed": {"Whole": 1}}[script]
    assert {stage.path: stage.calls for stage in roots} == calls
    assert all(stage.forward > 0 for stage in seen.stages)

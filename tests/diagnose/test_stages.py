"""The tree of a usual step: what is shown adds up, in order and nested, and alike stages stand together."""

from __future__ import annotations

import random

import msgspec
import pytest
from planted import HEALTHY, model, run

from hotlap.diagnose import diagnose, stage_leaves
from hotlap.diagnose.stages import OUTSIDE, stage_tree
from hotlap.records import Stage, StageRow, Stages, StageTree

PHASES = {"forward": 4.0, "backward": 8.0}


def tree(seen: Stages, phases: dict[str, float] | None = None) -> StageTree:
    made = stage_tree(seen, phases or PHASES)
    assert made is not None
    return made


def names(rows: list[StageRow]) -> list[object]:
    return [[row.name, *([names(row.children)] if row.children else [])] for row in rows]


def random_model(chance: random.Random) -> Stages:
    stages = [Stage(path="Net", module="Net", forward=chance.random())]
    for _ in range(chance.randrange(1, 200)):
        parent = chance.randrange(len(stages))
        above = "" if parent == 0 else stages[parent].path + "."
        stages.append(
            Stage(
                path=above + chance.choice(["blocks.", "layer", "net.x"]) + str(len(stages)),
                module=chance.choice(["A", "B"]),
                parent=parent,
                calls=1,
                forward=chance.expovariate(1),
                backward=chance.choice([0.0, chance.expovariate(1)]),
                recompute=chance.choice([0.0, chance.random()]),
            )
        )
    return Stages(steps=3, stages=stages, outside=chance.random())


@pytest.mark.parametrize("seed", range(40))
def test_leaves_add_up_to_the_phases_and_parents_to_what_is_in_them(seed: int) -> None:
    seen = random_model(random.Random(seed))
    phases = {"forward": 3.0, "backward": 5.0, "recompute": 2.0}
    made = tree(seen, phases)
    for kind, wanted in phases.items():
        if any(getattr(stage, kind) for stage in seen.stages):
            assert sum(getattr(leaf, kind) for leaf in stage_leaves(made.rows)) == pytest.approx(wanted, rel=0.02)

    def check(row: StageRow) -> None:
        for kind in ("forward", "backward", "recompute", "total"):
            if row.children:
                assert getattr(row, kind) == pytest.approx(sum(getattr(child, kind) for child in row.children))
        for child in row.children:
            check(child)

    for row in made.rows:
        check(row)
    assert made.total == pytest.approx(sum(row.total for row in made.rows))


def test_alike_blocks_are_one_line_and_a_slow_one_has_its_own() -> None:
    made = tree(model([1.0, 1.1, 10.0, 0.9, 1.0]))
    [net] = made.rows
    assert names(net.children) == [
        ["stem"],
        ["blocks.0-1, 3-4", [["up"], ["down"], ["rest of blocks.0-1, 3-4"]]],
        ["blocks.2", [["up"], ["down"], ["rest of blocks.2"]]],
        ["head"],
        ["rest of Net"],
    ]
    group, slow = net.children[1:3]
    assert (group.count, group.module, group.calls) == (4, "Block", 4)
    assert (slow.count, slow.module) == (1, "Block")
    assert slow.total / group.total == pytest.approx(10 / 4)
    assert [child.count for child in group.children] == [4, 4, 1]


def test_what_differs_in_class_or_structure_or_is_no_neighbour_is_not_put_together() -> None:
    classes = ["Conv", "Relu", "Conv", "Conv", "Gate"]
    stages = [Stage(path="Net", module="Net")]
    stages += [Stage(path=f"net.{i}", module=cls, parent=0, forward=1.0) for i, cls in enumerate(classes)]
    made = tree(Stages(steps=3, stages=stages))
    assert names(made.rows[0].children) == [["net.0"], ["net.1"], ["net.2-3"], ["net.4"]]


def test_the_cheapest_stages_are_left_to_the_rest_and_those_shown_explain_nine_tenths() -> None:
    seen = model([1.0, 1.0])
    tiny = [Stage(path=f"tiny{i}", module=f"T{i}", parent=0, forward=1e-4) for i in range(50)]
    made = tree(msgspec.structs.replace(seen, stages=seen.stages + tiny))
    assert not any(leaf.name.startswith("tiny") for leaf in stage_leaves(made.rows))
    assert made.rows[0].children[-1].name == "rest of Net"
    assert sum(leaf.total for leaf in stage_leaves(made.rows)) == pytest.approx(12.0, rel=0.01)


def test_a_phase_longer_than_watching_explains_was_spent_outside_of_modules() -> None:
    seen = model([1.0, 1.0])
    forward = sum(stage.forward for stage in seen.stages)
    made = tree(seen, {"forward": 2 * forward, "backward": 4.0})
    assert made.rows[-1].name == OUTSIDE
    assert made.rows[-1].forward == pytest.approx(forward)
    assert not any(row.name == OUTSIDE for row in tree(seen, {"forward": 1.1 * forward, "backward": 4.0}).rows)
    # The mean is that of a few steps that other programs interrupted.
    interrupted = stage_tree(seen, {"forward": 2 * forward, "backward": 4.0}, {"forward": 1.1 * forward})
    assert interrupted is not None
    assert not any(row.name == OUTSIDE for row in interrupted.rows)
    assert sum(leaf.forward for leaf in stage_leaves(interrupted.rows)) == pytest.approx(2 * forward)


def test_the_loss_is_scaled_by_its_own_phase() -> None:
    stages = [
        Stage(path="Net", module="Net", forward=2.0, backward=3.0),
        Stage(path="Loss", module="Loss", forward=2.0, phase="loss"),
    ]
    made = tree(Stages(steps=1, stages=stages), {"forward": 1.0, "loss": 0.5, "backward": 3.0})
    assert [(row.name, row.forward) for row in made.rows] == [("Net", 1.0), ("Loss", 0.5)]


def test_a_device_s_own_seconds_are_not_scaled_to_the_host_s() -> None:
    stages = [Stage(path="Net", module="Net", forward=2.0, device_forward=7.0, device_backward=3.0)]
    made = tree(Stages(steps=1, stages=stages, device_outside=1.0))
    assert (made.clock, made.rows[0].forward, made.rows[0].backward) == ("device", 7.0, 3.0)
    assert made.rows[1].backward == 1.0


def test_a_run_without_watched_steps_has_no_tree() -> None:
    assert stage_tree(None, PHASES) is None
    assert stage_tree(Stages(steps=1, stages=[Stage(path="Net", module="Net")]), PHASES) is None
    assert diagnose(run()).stages is None


def test_the_finding_names_the_slow_block_with_its_share() -> None:
    finding = next(each for each in diagnose(run(stages=model([1.0, 10.0, 1.0]))).findings if each.code == "COMPUTE02")
    assert finding.evidence[0].startswith("blocks.1 (Block) takes ")
    compute = HEALTHY["forward"] + HEALTHY["backward"]
    assert finding.seconds == pytest.approx(compute * 10 / 12.5, rel=0.01)


def test_the_finding_says_which_blocks_are_recomputed() -> None:
    planted = run(stages=model([1.0] * 4, recompute=True), phases={"recompute": 0.04})
    finding = next(each for each in diagnose(planted).findings if each.code == "CHECKPOINT02")
    assert "blocks.0-3 40 ms (10 ms each)" in finding.evidence[1]

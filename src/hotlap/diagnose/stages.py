"""From the modules that the probe watched to the tree of a usual step.

    Net                      100 %     expanded: it takes much, and there are stages in it
    ├── stem                   3 %
    ├── blocks.0-3, 5-7       37 %     alike in class, structure and time: one line, its children are sums
    ├── blocks.4              52 %     alike, but ten times as slow: a line of its own
    └── rest of Net            8 %     its own work, and stages too cheap to be told apart

A watched step is slower than a usual one. So its shares are taken, and the phases of the steady steps are the whole:
forward of all stages becomes the phase ``forward``, and so on. Where the phase is longer than that can explain, what is
missing was done outside of modules, and has a line of its own. A GPU's own seconds are not scaled: watching makes the
host slower and not the kernels, and the phases are times of the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from hotlap.diagnose.thresholds import (
    STAGE_EXPANDED,
    STAGE_SLACK,
    STAGES_ALIKE,
    STAGES_EXPLAINED,
    WATCHED_TOO_LITTLE,
)
from hotlap.records import Stage, StageRow, Stages, StageTree

OUTSIDE = "outside of modules"

#: Seconds of forward, backward and recompute.
_Seconds = tuple[float, float, float]


@dataclass
class _Node:
    path: str
    name: str
    module: str
    own: _Seconds
    calls: float
    count: int = 1
    children: list[_Node] = field(default_factory=list)

    @property
    def seconds(self) -> _Seconds:
        return _sum([self.own, *(child.seconds for child in self.children)])

    @property
    def total(self) -> float:
        return sum(self.seconds)


def stage_tree(
    seen: Stages | None, phases: Mapping[str, float], typical: Mapping[str, float] | None = None
) -> StageTree | None:
    """Return the tree of a step with these phases, or None where no stage took time.

    ``typical``: medians of the phases, where means may be those of a few steps that were interrupted.
    """
    if seen is None:
        return None
    device = any(stage.device_forward is not None for stage in seen.stages)
    roots, outside = _on_device(seen) if device else _on_host(seen, phases, typical or phases)
    whole = sum(root.total for root in roots)
    if whole <= 0:
        return None
    roots = [_group_children(root, STAGE_SLACK * whole) for root in roots]
    shown = [_expand(root, STAGE_EXPANDED * whole) for root in roots]
    _fold(shown, whole)
    rows = [_row(node) for node in shown]
    if sum(outside) > STAGE_SLACK * whole:
        rows.append(StageRow(name=OUTSIDE, module="", forward=outside[0], backward=outside[1], recompute=outside[2]))
    found = list(leaves(rows))
    total = sum(leaf.total for leaf in found)
    return StageTree(
        rows=rows,
        total=total,
        explained=sum(leaf.total for leaf in found if leaf.module) / total,
        steps=seen.steps,
        clock="device" if device else "host",
        levels=seen.levels,
    )


def leaves(rows: Iterable[StageRow]) -> Iterable[StageRow]:
    for row in rows:
        if row.children:
            yield from leaves(row.children)
        else:
            yield row


# the stages of a usual step


def _on_device(seen: Stages) -> tuple[list[_Node], _Seconds]:
    def own(stage: Stage) -> _Seconds:
        return stage.device_forward or 0.0, stage.device_backward or 0.0, stage.device_recompute or 0.0

    return _nodes(seen, own_by_stage=[own(stage) for stage in seen.stages]), (0.0, seen.device_outside or 0.0, 0.0)


def _on_host(seen: Stages, phases: Mapping[str, float], typical: Mapping[str, float]) -> tuple[list[_Node], _Seconds]:
    def scale_of(phase: str, watched: float) -> float:
        return scale(phases, typical, phase, watched)

    forward, loss = (sum(each.forward for each in seen.stages if each.phase == phase) for phase in ("forward", "loss"))
    backward = sum(stage.backward for stage in seen.stages) + seen.outside
    recompute = sum(stage.recompute for stage in seen.stages)
    by_phase = {"forward": scale_of("forward", forward), "loss": min(1.0, scale_of("loss", loss))}
    factors = (by_phase["forward"], scale_of("backward", backward), scale_of("recompute", recompute))
    own: list[_Seconds] = [
        (each.forward * by_phase[each.phase], each.backward * factors[1], each.recompute * factors[2])
        for each in seen.stages
    ]
    outside = (
        max(0.0, phases.get("forward", 0.0) - forward * factors[0]),
        max(0.0, phases.get("backward", 0.0) - backward * factors[1]) + seen.outside * factors[1],
        max(0.0, phases.get("recompute", 0.0) - recompute * factors[2]),
    )
    return _nodes(seen, own), outside


def scale(phases: Mapping[str, float], typical: Mapping[str, float], phase: str, watched: float) -> float:
    """By what the watched seconds are multiplied."""
    usual = phases.get(phase, 0.0)
    if watched <= 0 or usual <= 0 or min(usual, typical.get(phase, usual)) > WATCHED_TOO_LITTLE * watched:
        return 1.0
    return usual / watched


def _nodes(seen: Stages, own_by_stage: list[_Seconds]) -> list[_Node]:
    nodes: list[_Node] = []
    for stage, own in zip(seen.stages, own_by_stage, strict=True):
        above = nodes[stage.parent].path + "." if stage.parent is not None else ""
        nodes.append(_Node(stage.path, stage.path.removeprefix(above), stage.module, own, stage.calls))
    roots: list[_Node] = []
    for stage, node in zip(seen.stages, nodes, strict=True):
        (roots if stage.parent is None else nodes[stage.parent].children).append(node)
    return [root for root in roots if root.total > 0]


# alike stages


def _group_children(node: _Node, slack: float) -> _Node:
    """Put alike neighbours together, from the top down, so that what is in them is added up first."""
    grouped: list[_Node] = []
    for _, run in groupby(node.children, key=lambda child: (_base(child.name)[0], _structure(child))):
        grouped += _by_time(list(run), slack)
    node.children = [_group_children(child, slack) for child in grouped]
    return node


def _by_time(run: list[_Node], slack: float) -> list[_Node]:
    """Merge those that take about as long, each group at the place of its first."""
    if len(run) == 1 or _base(run[0].name)[1] is None:
        return run
    totals = {id(node): node.total for node in run}
    left, groups = list(run), []
    while left:
        middle = sorted(totals[id(node)] for node in left)[len(left) // 2]
        near = [node for node in left if _near(totals[id(node)], middle, slack)]
        groups.append(near)
        left = [node for node in left if not any(node is each for each in near)]
    place = {id(node): index for index, node in enumerate(run)}
    groups.sort(key=lambda group: place[id(group[0])])
    return [_merge(group) for group in groups]


def _near(one: float, other: float, slack: float) -> bool:
    return abs(one - other) <= slack or max(one, other) <= STAGES_ALIKE * min(one, other)


def _merge(alike: list[_Node]) -> _Node:
    if len(alike) == 1:
        return alike[0]
    first = alike[0]
    base, _ = _base(first.name)
    numbers = sorted(number for node in alike if (number := _base(node.name)[1]) is not None)
    return _sum_of(alike, (f"{base}." if base else "") + _ranges(numbers))


def _sum_of(alike: list[_Node], name: str) -> _Node:
    """What is the same part of all of them keeps its name."""
    first = alike[0]
    return _Node(
        first.path,
        name,
        first.module,
        _sum([node.own for node in alike]),
        sum(node.calls for node in alike),
        sum(node.count for node in alike),
        [_sum_of(list(each), each[0].name) for each in zip(*(node.children for node in alike), strict=True)],
    )


def _structure(node: _Node) -> tuple[object, ...]:
    return node.module, tuple((child.name, _structure(child)) for child in node.children)


def _base(name: str) -> tuple[str, int | None]:
    """``blocks.3`` -> ``blocks``, 3."""
    base, _, last = name.rpartition(".")
    return (base, int(last)) if last.isdecimal() else (name, None)


def _ranges(numbers: list[int]) -> str:
    """``0-3, 5``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


# what is shown


def _expand(node: _Node, least: float) -> _Node:
    """Keep the children of those that take much, so that where in them is told."""
    if node.total < least:
        return _leaf(node)
    node.children = [_expand(child, least) for child in node.children if child.total > 0]
    return node


def _leaf(node: _Node) -> _Node:
    node.own, node.children = node.seconds, []
    return node


def _fold(roots: list[_Node], whole: float) -> None:
    """Give the cheapest stages back to what they are in, as long as those that are left explain enough."""
    pairs = [pair for root in roots for pair in _with_parent(root)]
    explained = sum(node.total for _, node in pairs) + sum(root.total for root in roots if not root.children)
    least = STAGES_EXPLAINED * explained
    for parent, node in sorted(pairs, key=lambda pair: pair[1].total):
        explained -= node.total
        if explained < least or node.total > STAGE_SLACK * whole:
            return
        parent.own = _sum([parent.own, node.own])
        parent.children = [child for child in parent.children if child is not node]


def _with_parent(node: _Node) -> Iterable[tuple[_Node, _Node]]:
    """Return the leaves under this one, each with what it is in."""
    for child in node.children:
        if child.children:
            yield from _with_parent(child)
        else:
            yield node, child


def _row(node: _Node) -> StageRow:
    forward, backward, recompute = node.seconds
    rows = [_row(child) for child in node.children]
    if rows and sum(node.own) > 0:
        f, b, r = node.own
        rows.append(StageRow(name=f"rest of {node.name}", module="", forward=f, backward=b, recompute=r))
    return StageRow(
        name=node.name,
        module=node.module,
        count=node.count,
        calls=node.calls,
        forward=forward,
        backward=backward,
        recompute=recompute,
        children=rows,
    )


def _sum(each: list[_Seconds]) -> _Seconds:
    return sum(one[0] for one in each), sum(one[1] for one in each), sum(one[2] for one in each)

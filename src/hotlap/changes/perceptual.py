"""A perceptual loss that costs less, where the configuration has keys for it: not in every step, of fewer layers."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change

#: Steps between two that compute it.
_EVERY = (2, 4)


def propose(situation: Situation) -> list[Change]:
    if situation.key("use_perceptual") is False:
        return []
    # Its network runs forward and backward, and is no part of the model.
    bound = situation.bound("forward", "loss", "backward")
    every, layers = situation.key("perceptual_every"), situation.key("perceptual_layers")
    changes = [
        Change(
            name="perceptual_every",
            value=str(every * steps),
            title=f"perceptual loss in one step of {every * steps}",
            numerics="trajectory",
            alters_loss=True,
            edits={"perceptual_every": every * steps},
            bound=bound,
            note=f"its share of the gradient falls to 1/{steps}; a larger weight would make up for it",
        )
        for steps in (_EVERY if isinstance(every, int) and every > 0 else ())
    ]
    if isinstance(layers, list) and len(layers) > 1:
        fewer = layers[: (len(layers) + 1) // 2]
        changes.append(
            Change(
                name="perceptual_layers",
                value=",".join(map(str, fewer)),
                title=f"perceptual loss of layers {fewer}",
                numerics="trajectory",
                alters_loss=True,
                edits={"perceptual_layers": fewer},
                bound=bound,
                note="the deeper layers compare what a picture shows, the first ones its edges and textures",
            )
        )
    return changes

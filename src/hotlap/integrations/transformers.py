"""A callback for the HF Trainer. Without a probe in the process it does nothing.

    from hotlap.integrations.transformers import HotlapCallback
    trainer = Trainer(..., callbacks=[HotlapCallback()])

``hotlap profile`` sees a training of the HF Trainer without it. What it adds: a step ends exactly where the Trainer
says so, and what an evaluation found goes into the record, so that ``hotlap tune`` and ``compare`` can judge it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from hotlap.probe import marks

#: What an evaluation reports of itself, not of the model.
_OF_ITSELF = ("_runtime", "_per_second", "_compilation_time", "_num_input_tokens_seen")


class HotlapCallback(TrainerCallback):
    """Marks the end of every step, and reports metrics after every evaluation.

    ``metrics``: names of what evaluations report; by default all numbers but the evaluation's own speed.
    """

    def __init__(self, metrics: Sequence[str] | None = None) -> None:
        self._metrics = metrics

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        marks.step()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        for name, value in (metrics or {}).items():
            of_model = name != "epoch" and not name.endswith(_OF_ITSELF) and isinstance(value, (int, float))
            if of_model if self._metrics is None else name in self._metrics:
                marks.metric(name, float(value))

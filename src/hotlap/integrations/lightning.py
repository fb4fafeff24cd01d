"""A callback for Lightning. Without a probe in the process it does nothing.

    from hotlap.integrations.lightning import HotlapCallback
    trainer = Trainer(callbacks=[HotlapCallback()])

``hotlap profile`` sees a Lightning training without it. What it adds: a step ends exactly where Lightning says so,
and the validation's metrics go into the record, so that ``hotlap tune`` and ``compare`` can judge the quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback

from hotlap.probe import marks


class HotlapCallback(Callback):
    """Marks the end of every step, and reports metrics after every validation.

    ``metrics``: names of what the module logs; by default all whose name begins with "val".

    With several optimizers in manual optimization a step is one batch, in which Lightning counts several.
    """

    def __init__(self, metrics: Sequence[str] | None = None) -> None:
        self._metrics = metrics
        self._optimized = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._optimized = trainer.global_step

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        # While gradients accumulate the count stays.
        if trainer.global_step != self._optimized:
            self._optimized = trainer.global_step
            marks.step()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking:  # before the training
            return
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val") if self._metrics is None else name in self._metrics:
                marks.metric(name, float(value))

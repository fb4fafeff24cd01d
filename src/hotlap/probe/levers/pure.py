"""The model itself in bfloat16: weights, gradients, the optimizer's state and what goes in. Another training."""

from __future__ import annotations

from typing import Any

from hotlap import shallow
from hotlap.probe.levers.prepared import ModelLever


class Pure(ModelLever):
    """Not live: weights that were rounded stay so."""

    name = "pure"
    never = "no model was trained"
    live = False

    def prepare(self, module: Any) -> None:
        if type(module).__name__ in ("DistributedDataParallel", "FullyShardedDataParallel"):
            self.note("pure was not applied: what shares gradients between processes was made for float32")
            return
        dtype = getattr(self.torch, self.value)
        shallow.in_float32(self.torch)
        module.to(dtype)
        module.register_forward_pre_hook(lambda _, args, kwargs: self._cast((args, kwargs), dtype), with_kwargs=True)
        # Losses and metrics are computed as before.
        module.register_forward_hook(lambda _, args, output: self._cast(output, self.torch.float32))
        self.pulled()

    def before_optimizer(self, optimizer: Any) -> None:
        """State that was loaded, or made before, has the precision of that time."""
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                # Scales and tables of 8-bit states stay as they are.
                like = self.torch.is_tensor(value) and value.dim() and value.shape == parameter.shape
                if like and value.is_floating_point():
                    state[name] = value.to(parameter.dtype)

    def _cast(self, value: Any, dtype: Any) -> Any:
        if isinstance(value, self.torch.Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        if type(value) in (list, tuple):
            return type(value)(self._cast(each, dtype) for each in value)
        if type(value) is dict:
            return {name: self._cast(each, dtype) for name, each in value.items()}
        return value

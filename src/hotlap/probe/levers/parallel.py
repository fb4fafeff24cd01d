"""Settings of ``DistributedDataParallel``, when a model is made data parallel: on every rank alike.

bucket_cap_mb                a bucket of gradients is reduced when it is full
gradient_as_bucket_view      gradients live in the buckets, and nothing is copied there
static_graph                 the graph is the same in every step
unused_search ("off")        no search through the graph after each forward (find_unused_parameters)
gradient_compression         gradients are sent as bfloat16
"""

from __future__ import annotations

import functools
import inspect
import weakref
from typing import Any

from hotlap.probe.levers.base import Lever


class ParallelLever(Lever):
    never = "the script made no model data parallel"

    def install(self) -> None:
        if not self.torch.distributed.is_available():
            return
        parallel = self.torch.nn.parallel.DistributedDataParallel
        make = parallel.__init__
        signature = inspect.signature(make)

        @functools.wraps(make)
        def __init__(module: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            try:
                bound = signature.bind(module, *args, **kwargs)
            except TypeError:
                make(module, *args, **kwargs)  # says what is wrong
                return
            self.change(bound.arguments, set(signature.parameters))
            make(*bound.args, **bound.kwargs)
            self.made(module)

        parallel.__init__ = __init__

    def change(self, arguments: dict[str, Any], possible: set[str]) -> None:
        """A model is made data parallel with these arguments, to be changed in place."""

    def made(self, module: Any) -> None:
        """It has been."""


class _Argument(ParallelLever):
    def change(self, arguments: dict[str, Any], possible: set[str]) -> None:
        if self.name not in possible:
            self.note(f"{self.name} was not applied: this torch has no such setting")
        else:
            arguments[self.name] = self.value
            self.pulled()


class BucketCap(_Argument):
    name = "bucket_cap_mb"

    def change(self, arguments: dict[str, Any], possible: set[str]) -> None:
        if arguments.get("bucket_cap_mb_list"):
            self.note("bucket_cap_mb was not applied: the script says how large each bucket is")
        else:
            super().change(arguments, possible)


class BucketView(_Argument):
    name = "gradient_as_bucket_view"


class StaticGraph(_Argument):
    name = "static_graph"


class UnusedSearch(ParallelLever):
    name = "unused_search"
    never = "the script made no model data parallel that looks for unused parameters"

    def change(self, arguments: dict[str, Any], possible: set[str]) -> None:
        if self.value == "off" and arguments.pop("find_unused_parameters", False):
            self.pulled()


class GradientCompression(ParallelLever):
    """Registered at the first forward, when the script has had the time to register a hook of its own."""

    name = "gradient_compression"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        self.waiting: weakref.WeakSet[Any] = weakref.WeakSet()

    def made(self, module: Any) -> None:
        self.waiting.add(module)

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        for parallel in list(self.waiting):
            self._register(parallel)
        self.waiting.clear()
        return args

    def _register(self, module: Any) -> None:
        if getattr(module, "_comm_hooks", None):
            self.note("gradient_compression was not applied: the script has a communication hook of its own")
            return
        dtype, distributed = getattr(self.torch, self.value), self.torch.distributed
        group = module.process_group
        ranks = distributed.get_world_size(group)

        def compress(state: Any, bucket: Any) -> Any:
            gradients = bucket.buffer()
            sent = gradients.to(dtype).div_(ranks)
            reduced = distributed.all_reduce(sent, group=group, async_op=True).get_future()
            return reduced.then(lambda future: gradients.copy_(future.value()[0]))

        # DDP looks at the annotations where there are any, and keeps the name.
        compress.__annotations__.clear()
        compress.__name__ = compress.__qualname__ = f"hotlap_{self.value}"
        try:
            module.register_comm_hook(None, compress)
        except (RuntimeError, TypeError, ValueError) as error:
            self.note(f"gradient_compression was not applied: {error}")
            return
        self.pulled()

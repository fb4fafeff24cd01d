"""What a configuration is judged by, and the frame of a rule about it.

A rule that lacks a key that it needs is silent: of another project's configuration only few keys are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from hotlap.diagnose.described import Described
from hotlap.records import ConfigFinding, DataEstimate


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What the training will run on; a card's units are None where they are not known."""

    kind: Literal["cpu", "cuda"]
    name: str
    bfloat16: bool | None = None
    float16: bool | None = None
    tensor_float: bool | None = None
    capability: tuple[int, int] | None = None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, and where it is to run."""

    #: By the names of ``train.config``.
    values: Mapping[str, Any]
    #: Where the file has each of them.
    places: Mapping[str, str]
    #: What each is where the file does not say; none of another project's.
    defaults: Mapping[str, Any] = {}
    #: None: of another project.
    workload: str | None = None
    #: ``num_workers`` counts those of all ranks.
    workers_of_all: bool = False
    ranks: int = 1
    cores: int
    #: Bytes of the node.
    memory: int
    #: None: not known.
    device: Device | None = None
    #: Of loader and cache, where the size of a batch is known.
    data: DataEstimate | None = None
    #: Samples in an epoch, where they are known without reading the data.
    epoch_samples: int | None = None
    #: The values of the configuration that this one was made from.
    base: Mapping[str, Any] | None = None

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def place(self, key: str) -> str:
        return self.places.get(key, key)

    def says(self, key: str) -> str:
        """``DATA.TOTAL_WORKERS: 36``."""
        return f"{self.place(key)}: {shown(self.values[key])}"

    def chosen(self, key: str) -> bool:
        """Whether it is set to what it would not be by itself."""
        return key in self.values and (key not in self.defaults or self.values[key] != self.defaults[key])

    @property
    def workers(self) -> int | None:
        """Of each rank; None where it is not known, or measured in the training."""
        count = self.get("num_workers")
        if not isinstance(count, int):
            return None
        return -(-count // self.ranks) if self.workers_of_all else count

    @property
    def cache(self) -> int:
        """Bytes of one, 0 for none."""
        if not self.get("use_ram_cache"):
            return 0
        return int((self.get("cache_size_gb") or 0) * 2**30)

    @property
    def micro_batches(self) -> int:
        return self.get("accumulation_steps") or 1

    @property
    def effective_batch(self) -> int | None:
        size = self.get("batch_size")
        return None if size is None else size * self.micro_batches * self.ranks

    @property
    def steps(self) -> int | None:
        """Optimizer steps of the whole training, where that can be told."""
        numbers = [self.get("steps") or None]
        if self.get("epochs"):
            if self.epoch_samples is None or self.effective_batch is None:
                return None if not numbers[0] else int(numbers[0])
            numbers.append(self.get("epochs") * self.epoch_samples // self.effective_batch)
        return min((number for number in numbers if number), default=None)

    @property
    def on_cpu(self) -> bool:
        return self.device is not None and self.device.kind == "cpu"


class ConfigRule(Described):
    """One finding of a configuration: a class with its code, its meaning and its check."""

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        """Yield a finding for each key that it is about."""
        raise NotImplementedError

    def finding(
        self, setup: Setup, evidence: list[str], consequence: str, remedy: Mapping[str, Any], advice: str = ""
    ) -> ConfigFinding:
        return ConfigFinding(
            code=self.code,
            title=self.title,
            evidence=evidence,
            consequence=consequence,
            remedy={setup.place(key): value for key, value in remedy.items()},
            advice=advice,
        )


def shown(value: Any) -> str:
    """As YAML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def gib(size: float) -> str:
    return f"{size / 2**30:,.4g} GiB"

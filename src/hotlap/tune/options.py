"""What a user may ask of a tuning and of a comparison."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hotlap.launch.process import Limits
from hotlap.tune.statistics import MINIMUM_GAIN


class Options(msgspec.Struct, frozen=True, kw_only=True):
    #: Seconds for all of it. The proof is shortened to fit, but its first look (five pairs of launches) is made.
    budget: float = 600.0
    run_dir: Path | None = None
    #: Measure all anew instead of going on with what an unfinished one has measured.
    fresh: bool = False
    #: Gains below this share are not looked for.
    minimum: float = MINIMUM_GAIN
    #: When a training is ended from outside; without a memory limit, ``bounded`` gives it one.
    limits: Limits = Limits()

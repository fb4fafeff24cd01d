"""A run as CSV: a line for each step, a column for each name. What was not recorded at a step is empty."""

from __future__ import annotations

import csv
import io
from typing import BinaryIO

from hotlap.export.scalars import names, points
from hotlap.records import Run


def write(run: Run, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    columns = names(run)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["step", *columns])
    for step, _, values in points(run):
        rows.writerow([step, *(values.get(name, "") for name in columns)])
    text.flush()
    text.detach()

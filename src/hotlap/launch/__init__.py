"""Starts a training command, watches it, ends it, and keeps what it did in a run directory."""

from hotlap.launch.environment import environment
from hotlap.launch.process import Limits, Training
from hotlap.launch.rundir import RunDirectory, new_run_directory, read_run

__all__ = ["Limits", "RunDirectory", "Training", "environment", "new_run_directory", "read_run"]

"""Starts a training command, watches it, ends it, and keeps what it did in a run directory."""

from hotlap.launch.environment import environment
from hotlap.launch.plan import Limits, Plan
from hotlap.launch.process import Training
from hotlap.launch.rundir import RunDirectory, new_run_directory, read_run

__all__ = ["Limits", "Plan", "RunDirectory", "Training", "environment", "new_run_directory", "read_run"]

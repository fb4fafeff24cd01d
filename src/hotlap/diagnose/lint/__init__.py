"""From a configuration to what in it would harm its training, before it runs. Pure, like the rules about a run.

Setup (keys and values, the machine) -> rules -> [ConfigFinding]
"""

from __future__ import annotations

from hotlap.diagnose.lint.base import Device, Setup
from hotlap.diagnose.lint.rules import rules_of_configurations
from hotlap.records import ConfigFinding

__all__ = ["Device", "Setup", "lint", "rules_of_configurations"]


def lint(setup: Setup) -> list[ConfigFinding]:
    """Hold a configuration against every rule."""
    return [finding for each in rules_of_configurations() for finding in each.check(setup)]

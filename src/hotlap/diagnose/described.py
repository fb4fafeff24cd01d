"""What a rule says about itself, whatever it looks at: `hotlap explain` and the page of findings print it."""

from __future__ import annotations

from typing import ClassVar


class Described:
    code: ClassVar[str]
    title: ClassVar[str]
    #: What it means when this is found.
    meaning: ClassVar[str]
    #: What is measured, and how.
    evidence_needed: ClassVar[str]
    remedy: ClassVar[str]
    #: What this rule cannot know.
    limits: ClassVar[str]

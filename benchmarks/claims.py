"""What the documents claim, beside what was measured: ``claims.yaml`` and its verdicts, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from figures import effects

from hotlap.diagnose.docs import anchor
from hotlap.records import Effect
from hotlap.tune.statistics import judge

CLAIMS = Path(__file__).with_name("claims.yaml")

Verdict = Literal["holds", "does not hold", "not shown", "not measured"]
MEANINGS: dict[Verdict, str] = {
    "holds": "It follows from the figures, or was measured here.",
    "does not hold": "The figures contradict it, or what was measured here does.",
    "not shown": "It was measured here, and the interval leaves open whether it helps.",
    "not measured": "Nobody has measured it yet with hotlap. Most of these need a GPU, or a long training.",
}
_HEAD = """# Rules of thumb, checked

hotlap began with documents about making three trainings fast. They hold figures and rules of thumb. Here each stands
beside what hotlap measured or derived; letter and number are its point in the documents.

**Where it was measured:** on 2 cores of an AMD EPYC, torch 2.13 for the CPU. The documents speak of GPUs. So "does not
hold" is said of this machine and of the size that fits on it, and each claim names the command that measures it again,
or measures it on yours. Ratios are of throughput, with their interval: over 1x is faster.

"""
_MADE = """Made from `benchmarks/claims.yaml` and the results in `benchmarks/results` by `python benchmarks/pages.py`.
"""


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim of the documents, as in ``claims.yaml``."""

    point: str
    says: str
    found: str
    verdict: Verdict | None = None
    #: What was measured of a lever that the claim calls faster; or of its opposite, which should be slower.
    faster: str | None = None
    slower: str | None = None
    #: By how much, where the claim says it.
    least: float = 1.0
    source: str = ""
    again: str = ""

    @property
    def heading(self) -> str:
        return f"{self.point}: {self.says}"

    def judged(self, known: dict[str, dict[str, Effect]]) -> Verdict:
        """The verdict that is written, or that the measured interval gives."""
        if self.verdict is not None:
            return self.verdict
        group, _, name = (self.faster or self.slower or "").rstrip("]").partition("[")
        found = known[group][name]
        judgement = judge(found)
        if judgement == "unclear":
            return "not shown"
        if self.slower:
            return "holds" if judgement == "slower" else "does not hold"
        return "holds" if judgement == "faster" and found.low > self.least else "does not hold"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The claims of one document."""

    part: str
    claims: list[Claim]


def page(named: dict[str, Any]) -> str:
    """Return the page, in Markdown; ``named`` has the figures by group and name."""
    parts = msgspec.convert(yaml.safe_load(CLAIMS.read_text()), list[Part])
    known = effects()
    verdicts = {claim.heading: claim.judged(known) for part in parts for claim in part.claims}
    counted = list(verdicts.values())
    meanings = "".join(f"| {it} | {counted.count(it)} | {text} |\n" for it, text in MEANINGS.items())
    blocks = [f"{_HEAD}| verdict | claims | meaning |\n|---|---|---|\n{meanings}"]
    for part in parts:
        rows = [f"| {it.point} | [{it.says}](#{anchor(it.heading)}) | {verdicts[it.heading]} |" for it in part.claims]
        blocks.append("\n".join([f"## {part.part}\n", "| | claim | verdict |", "|---|---|---|", *rows, ""]))
        blocks += [_section(claim, verdicts[claim.heading], named) for claim in part.claims]
    return "\n".join([*blocks, _MADE])


def _section(claim: Claim, verdict: Verdict, named: dict[str, Any]) -> str:
    found = " ".join(claim.found.split()).format(**named)
    lines = [f"### {claim.heading}", f"**{verdict.capitalize()}.** {found}"]
    about = [f"From: {' '.join(claim.source.split())}."] if claim.source else []
    label = "To measure it" if verdict == "not measured" else "Again"
    about += [f"{label}: `{' '.join(claim.again.split())}`"] if claim.again else []
    return "\n\n".join([*lines, " ".join(about)]) + "\n"

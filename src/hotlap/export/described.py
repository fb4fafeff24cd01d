"""What every export says of the run beside its figures. Secrets in commands and settings are masked."""

from __future__ import annotations

from hotlap.records import Diagnosis, Run, moment_of
from hotlap.report import text, verdicts, view
from hotlap.report.about import machine


def about(run: Run) -> dict[str, str]:
    """Return what ran, on what and how it ended."""
    info, environment = run.info, run.info.environment
    rows = {
        "run": text.printable(info.name),
        "command": text.command(info.command),
        "date": info.date,
        "outcome": info.outcome.replace("_", " "),
        "machine": machine(run.facts, environment),
        "python": environment.python,
        "torch": environment.torch or text.NA,
        "hotlap": environment.hotlap,
    }
    if info.changes:
        rows["changes"] = verdicts.settings(info.changes)
    if environment.variables:
        rows["variables"] = verdicts.settings(environment.variables)
    return rows


def began(run: Run) -> float | None:
    """Return the Unix time of the start, None where the record does not say."""
    moment = moment_of(run.info.date)
    return None if moment is None else moment.timestamp()


def headline(run: Run, diagnosis: Diagnosis) -> str:
    return view.profile_headline(diagnosis, run.facts)


def findings(diagnosis: Diagnosis) -> dict[str, str]:
    """Return each finding in Markdown, by its code."""
    told: dict[str, str] = {}
    for finding in diagnosis.findings:
        evidence = "".join(f"- {text.printable(each)}\n" for each in finding.evidence)
        told[finding.code] = (
            f"**{finding.code}  {text.printable(finding.title)}**\n\n"
            f"{text.stop(view.at_stake(finding))}\n\n{evidence}\n"
            f"Remedy: {text.printable(finding.remedy)}\n"
        )
    return told

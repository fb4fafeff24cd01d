"""What is derived from the baseline, trials and launches of a tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from hotlap.records import Trial
from hotlap.tune.break_even import break_even
from hotlap.tune.claims import Claim
from hotlap.tune.options import Options
from hotlap.tune.proof import Launch
from hotlap.tune.statistics import too_noisy
from hotlap.tune.work import Baseline


def doubts(baseline: Baseline) -> list[str]:
    """What makes verdicts about this training on this machine doubtful, each a sentence."""
    noisy = too_noisy(baseline.no_op)
    found = [noisy] if noisy else []
    if all(loss is None for loss in baseline.losses):
        found.append("losses could not be seen, so whether it is the same training cannot be judged by them")
    elif not baseline.deterministic:
        found.append(
            "the training does not repeat itself with the same seed, so bit-identical losses cannot be asked of it"
        )
    return found


def never_tried(refused: Sequence[Trial], trials: Sequence[Trial]) -> list[Trial]:
    tried = {trial.id for trial in trials if trial not in refused}
    first = {trial.id: trial for trial in reversed(refused) if trial.id not in tried}
    return list(first.values())


def unanswered(options: Options, claim: Claim | None, *, other_trainings: bool) -> list[str]:
    """What was asked for and is not in the result, in sentences. ``other_trainings``: whether the search kept any."""
    found = []
    if options.quality is not None and not other_trainings:
        found.append(f"no other training was compared by --quality {options.quality}: the search kept none")
    if options.goal == "time-to-quality" and claim is not None and claim.holds and claim.goal != options.goal:
        found.append(
            "what was proven is the throughput of the same training, which reaches any loss as much sooner; no other "
            "training was proven to reach it sooner than that"
        )
    return found


def skipped_by_both(first: Sequence[Trial], others: Sequence[Trial], trials: Sequence[Trial]) -> list[Trial]:
    """What neither the search among what trains the same nor that among other trainings, after it, tried."""
    measured = {trial.change.id for trial in trials}
    same = [trial for trial in first if trial.change.numerics != "trajectory"]
    known = {trial.change.id for trial in same}
    return [*same, *(trial for trial in others if trial.change.id not in known | measured)]


def earned_back(launches: Sequence[Launch]) -> int | None:
    """Steps after which the longer start of the candidate has been earned back."""
    extra = [
        launch.candidate_first_step - launch.baseline_first_step
        for launch in launches
        if launch.candidate_first_step is not None and launch.baseline_first_step is not None
    ]
    if not extra:
        return None
    seconds = median(launch.baseline_diagnosis.step_seconds for launch in launches)
    return break_even(median(extra), seconds, median(launch.ratio for launch in launches))


def median_peaks(launches: Sequence[Launch]) -> tuple[int, int] | None:
    known = [
        (launch.baseline_peak, launch.candidate_peak)
        for launch in launches
        if launch.baseline_peak and launch.candidate_peak
    ]
    return (int(median(a for a, _ in known)), int(median(b for _, b in known))) if known else None


def shown(directory: Path) -> str:
    """As the user would type it from here."""
    try:
        return str(directory.relative_to(Path.cwd()))
    except ValueError:
        return str(directory)

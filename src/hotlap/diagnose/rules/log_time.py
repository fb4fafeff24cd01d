"""What a log shows of time that is lost."""

from __future__ import annotations

from hotlap.diagnose.rules.base import percent, plural, time
from hotlap.diagnose.rules.log_base import LogRule, mean_step
from hotlap.diagnose.thresholds import CLOCKS_DIFFER, LEAST_SHARE, LOOP_SHARE, OTHER_THAN_STEP
from hotlap.records import Finding, Reading, WallStep

#: Lines of which most can be spoken.
_SEVERAL = 5


class WaitInLog(LogRule):
    code = "LOG01"
    title = "The step waits for data, by the log's own data time"
    meaning = "Before each step the training waits for the loader, and its log says how long."
    evidence_needed = (
        "The mean printed data time, of a format in which it holds the wait for the loader, against the mean printed "
        "step time of the same lines; at least 3 % of it."
    )
    remedy = (
        "Use more workers while there are free cores, or make fetching cheaper. `hotlap profile --data -- python "
        "train.py` says which."
    )
    limits = (
        "Why it waits (no workers, slow samples, slow storage) is not in a log. Where a log prints single steps and "
        "workers deliver in bursts, the lines may miss the waits; a running mean that is printed beside them is taken."
    )

    def check(self, reading: Reading) -> Finding | None:
        waited, step = reading.data_seconds.value, mean_step(reading)
        if reading.data_time != "wait" or waited is None or not step or waited < LEAST_SHARE * step:
            return None
        evidence = [f"The data time is {time(waited)} of {time(step)} ({percent(min(1.0, waited / step))})."]
        single = reading.series.get("data time")
        means = reading.data_seconds.how.startswith("running")
        if means and single and len(single.value) >= _SEVERAL and waited > 2 * _middle(single.value):
            evidence.append(
                f"Most lines show {time(_middle(single.value))}: they are single steps, and the waits come in bursts "
                "between them. The mean that the log prints beside them has them all."
            )
        return self.at_stake(reading, min(waited, step), evidence)


class BetweenPrintedSteps(LogRule):
    code = "LOG02"
    title = "Time passes that is in no printed step, or in the wrong one"
    meaning = (
        "Evaluations, checkpoints, the starts of epochs and of workers are outside of the step time that the log "
        "prints. The clock on the wall counts them."
    )
    evidence_needed = (
        "Times at which lines were written, or a training's whole run time, against the printed time of its steps; or "
        "evaluations in the log, and printed step times of more than five medians."
    )
    remedy = "Evaluate and save less often or on fewer samples, and keep workers alive between epochs."
    limits = (
        "What the time was spent on is not in the log. Time between two files, where steps go back, and in a single "
        "gap of more than 30 times what its steps take is not counted: the training may not have run."
    )

    def check(self, reading: Reading) -> Finding | None:
        own, wall = _first(reading, wall=False), reading.wall_seconds
        evidence, seconds = [], 0.0
        if own is not None and wall is not None and wall > (1 + LOOP_SHARE) * (own.high or own.seconds):
            seconds = wall - own.seconds
            evidence.append(
                f"By the wall clock a step takes {time(wall)} on average, and {time(own.seconds)} by the log's own "
                f"step times: {time(seconds)} are between them."
            )
        single = reading.series.get("step time")
        if single is not None and reading.evaluations:
            middle = _middle(single.value)
            long = [value for value in single.value if value > OTHER_THAN_STEP * middle]
            if long:
                evidence.append(
                    f"{plural(reading.evaluations, 'evaluation')} in the log; {len(long)} of {len(single.value)} "
                    f"printed step times are over {OTHER_THAN_STEP:.0f} times the median (up to {time(max(long))}): "
                    "they hold something else than a step, and only the median is to be trusted."
                )
        if not evidence:
            return None
        if not seconds:
            return self.note(evidence)
        return self.at_stake(reading, seconds, evidence, whole=wall)


class OtherClock(LogRule):
    code = "LOG03"
    title = "The printed rate and the clock on the wall do not agree"
    meaning = (
        "A training prints a rate of its own and the time that has passed, and the one does not follow from the other. "
        "A rate may be of one micro-batch where the step has several, or leave out what it does not time; batch size "
        "or world size may be others than given."
    )
    evidence_needed = (
        "The step time by elapsed time or the time of epochs, and by batch size x world size x accumulation / "
        "throughput, more than a tenth apart even by the digits that were printed."
    )
    remedy = "Trust the clock on the wall. `hotlap profile -- python train.py` takes the step apart."
    limits = "Which of the two is wrong is not in the log; elapsed time also holds the start, evaluations and saving."
    information = True

    def check(self, reading: Reading) -> Finding | None:
        wall = _first(reading, wall=True)
        rate = next((each for each in reading.step_times if "throughput" in each.how), None)
        if wall is None or rate is None:
            return None
        low, high = rate.low or rate.seconds, rate.high or rate.seconds
        if (1 - CLOCKS_DIFFER) * low <= wall.seconds <= (1 + CLOCKS_DIFFER) * high:
            return None
        evidence = [
            f"{time(wall.seconds)} a step by the clock ({wall.how}), and {time(rate.seconds)} by the rate ({rate.how})."
        ]
        times = int(reading.accumulation.value or 1)
        if times > 1:
            evidence.append(
                f"The log says {times} micro-batches a step. A step is one of the optimizer, and the rate is of one "
                f"micro-batch: {time(rate.seconds / times)} each."
            )
        return self.note(evidence)


def _first(reading: Reading, *, wall: bool) -> WallStep | None:
    return next((each for each in reading.step_times if each.wall == wall), None)


def _middle(values: list[float]) -> float:
    finite = sorted(value for value in values if value == value)
    return finite[len(finite) // 2] if finite else 0.0

"""What a log seems to say and does not."""

from __future__ import annotations

from hotlap.diagnose.rules.base import percent, time
from hotlap.diagnose.rules.log_base import LogRule, about
from hotlap.diagnose.thresholds import CLOCKS_DIFFER
from hotlap.records import Finding, Reading

_NOT_COVERED = (
    "backward, recomputation, gradient synchronisation, clipping, the optimizer, the loss and waiting for data"
)


class CountedTwice(LogRule):
    code = "LOG11"
    title = "The printed total counts a part together with what contains it"
    meaning = (
        "A timing log that prints spans side by side adds them up, though one of them contains the others. Its total "
        "is then up to twice the time that passed, and every printed share is too small by as much."
    )
    evidence_needed = (
        "The spans of a timing log: one is known by its name to be the whole, or the others beside it add up to it "
        "within 2 % in every block, and the printed total is more than the outermost spans take."
    )
    remedy = "Take the outermost span as the total, and shares of that."
    limits = (
        "Which span contains which is not printed. Names that are known are those of VRT-Spike; elsewhere only the "
        "sums tell, and two spans that happen to take equally long would look alike."
    )
    information = True

    def check(self, reading: Reading) -> Finding | None:
        timing = reading.timing
        if timing is None or timing.parent is None or timing.total is None or timing.total <= timing.seen:
            return None
        again = timing.total - timing.seen
        inside = timing.roots[0].children
        evidence = [
            f"The total of {_ms(timing.total)} counts {_ms(min(again, timing.seen))} twice: {timing.parent} "
            f"({_ms(timing.seen)}) contains the rest, which is known {timing.parent_known_by}.",
            f"So the log sees {_ms(timing.seen)}, and not {_ms(timing.total)}.",
        ]
        shares = [child for child in inside if child.printed_share is not None]
        if shares:
            child = shares[0]
            evidence.append(
                f"{child.name} is {percent(child.seconds / timing.seen)} of that, and not the "
                f"{percent(child.printed_share or 0.0)} that are printed."
            )
        return self.note(evidence)


class PartOfStep(LogRule):
    code = "LOG12"
    title = "The timing log sees only a part of the step"
    meaning = (
        "What was timed is shorter than a step is by its wall clock or its throughput. What dominates the part that "
        "was timed need not dominate the step."
    )
    evidence_needed = (
        "The outermost spans of the timing log, and the time of a step from the training log; or the sum of the parts "
        "that lines print, and the time of a step by the clock on the wall."
    )
    remedy = "Have the whole step broken down: `hotlap profile -- python train.py`."
    limits = (
        "The two logs may be of different runs. Where gradients are accumulated, the timing log is taken to see one "
        "micro-batch, and all of them are taken to be alike."
    )
    information = True

    def check(self, reading: Reading) -> Finding | None:
        timing, step = reading.timing, reading.step_seconds.value
        if timing is None:
            return self._printed_parts(reading)
        if not step:
            return None
        times = int(reading.accumulation.value or 1)
        seen = times * timing.seen
        if seen >= (1 - CLOCKS_DIFFER) * step:
            return None
        of = f" ({times} micro-batches of {time(timing.seen)})" if times > 1 else ""
        forward = timing.parent_is_forward
        what = " (the forward pass)" if forward and not of else ""
        # Of spans with other names nobody knows what they leave out.
        candidates = f" Candidates: {_NOT_COVERED}." if forward else ""
        return self.note(
            [
                f"A step takes {about(reading.step_seconds)}: {reading.step_seconds.how}.",
                f"The timing log sees {time(seen)} of it{of}{what}: {percent(seen / step)}.",
                f"Where the other {time(step - seen)} go is in neither log.{candidates}",
            ]
        )

    def _printed_parts(self, reading: Reading) -> Finding | None:
        parts = next((each for each in reading.step_times if "printed parts" in each.how), None)
        wall = next((each for each in reading.step_times if each.wall), None)
        if parts is None or wall is None or parts.seconds >= (1 - CLOCKS_DIFFER) * (wall.low or wall.seconds):
            return None
        return self.note(
            [
                f"A step takes {time(wall.seconds)}: {wall.how}.",
                f"The parts that are printed are {time(parts.seconds)} of it: {percent(parts.seconds / wall.seconds)}.",
                f"Where the other {time(wall.seconds - parts.seconds)} go is in no line.",
            ]
        )


class CopiesOnly(LogRule):
    code = "LOG13"
    title = "The printed data time leaves out the wait for data"
    meaning = (
        "The clock is started after the loader has handed the batch over. However long the training waits for its "
        "data, this figure stays small."
    )
    evidence_needed = "A format of log whose program takes its data time like that (docs/logs.md)."
    remedy = "Measure it: `hotlap profile --data -- python train.py` says what waiting for data costs."
    limits = (
        "The format is known by its lines. A program that prints the same lines and starts its clock earlier is not "
        "told apart, except for `hotlap train`, which says so in its log."
    )
    information = True

    def check(self, reading: Reading) -> Finding | None:
        if reading.data_time != "copies" or reading.data_seconds.value is None:
            return None
        evidence = [
            f"data_time is {time(reading.data_seconds.value)}. {reading.data_time_holds}",
            "So it does not rule data loading out as the bottleneck: the wait for the loader is not visible in it.",
        ]
        step = reading.step_seconds.value
        if step:
            seen = reading.timing.seen * (reading.accumulation.value or 1) if reading.timing is not None else 0.0
            rest = " that no line explains" if seen else ""
            # What was timed may be of other steps than the clock on the wall.
            if seen < step:
                evidence.append(
                    f"By this log the wait may be anything up to {time(step - seen)} of the {time(step)} of a "
                    f"step{rest}, or nothing."
                )
        return self.note(evidence)


class LaunchTimes(LogRule):
    code = "LOG14"
    title = "The timing log was taken by the host's clock"
    meaning = (
        "On a GPU the host only hands work over and goes on. Without a synchronisation around each span its time is "
        "that of launching, and the waiting is counted where something happens to synchronise, in another span."
    )
    evidence_needed = "A timing log of a format that takes its times without synchronising the device."
    remedy = "Take stage times from device events, as `hotlap profile -- python train.py` does."
    limits = "Whether something in the model synchronises, which makes the times true, is not in the log."
    information = True

    def check(self, reading: Reading) -> Finding | None:
        if reading.timing is None:
            return None
        return self.note(
            [
                "On a GPU the times of the spans are launch times, unless something in the model synchronises; on a "
                "CPU they are what they say."
            ]
        )


def _ms(seconds: float) -> str:
    """With the digits of the log, so that sums can be followed."""
    return f"{1e3 * seconds:.2f} ms"

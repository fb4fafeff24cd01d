"""When a GPU comes to what the host marks: a look at one step (see ``looking``).

    host     │ forward │ backward │ optimizer │ data_wait ....... │     marks: the host has handed over what is before
             └─┐       └──────┐   └─────────┐
    device     │ forward ......│ backward ....│ optimizer │ idle        events: the device has done what is before

At each mark of the timeline an event of the device is recorded as well, in the stream of the training, and read in a
later step: nothing is waited for. The device's clock is tied to the host's by what cannot be otherwise. The device
comes to an event after the host has recorded it, and after the host has asked for it in vain; what is found to be over
was over before the host asked. The truth lies between these bounds, and how far they are apart is recorded (``slack``).

Where the device has nothing to do at a mark, events only tell how long the host took. Then, in the next turn, the
device is held: before the step it is given a kernel that only waits, and the host hands the step over meanwhile. The
device comes to each phase when all of it is there, so the time between the events is its own work. It is the same work,
later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from hotlap.probe.attribution import Plan
from hotlap.probe.timeline import PAUSED

#: How long it is asked for whether the device has come to an event, in nanoseconds: an idle one takes about 10 us.
_ASKED = 50_000
#: The device is held for so many times what the host took, and so many nanoseconds at most.
_HELD, _HELD_AT_MOST = 1.5, 100_000_000
#: Where it is not known of so much of the step whether the device worked, it is held.
_UNKNOWN = 0.1
#: Watched steps that are kept.
_KEPT = 16
#: Cycles of a GPU in a millisecond, where torch does not know them.
_CYCLES = 1_500_000


class _Stamp:
    """A moment of the host, its event, and when the host knew that the device had (not) come to it."""

    __slots__ = ("before", "done", "event", "host")

    def __init__(self, host: int, event: Any) -> None:
        self.host = host
        self.event = event
        #: When it was not over yet, and when it was known to be.
        self.before = host
        self.done: int | None = None


class _Times(list[int]):
    """The times of the timeline in a step that is watched."""

    __slots__ = ("stamp",)

    def __init__(self, times: Iterable[int], stamp: Callable[[int], None]) -> None:
        super().__init__(times)
        self.stamp = stamp

    def append(self, now: int) -> None:
        super().append(now)
        self.stamp(now)

    def __iadd__(self, more: Iterable[int]) -> _Times:  # type: ignore[misc,override]
        for now in more:
            self.append(now)
        return self


class _Watched:
    """One step: from the mark that is the last one when watching begins to the same mark of the next step."""

    def __init__(self, number: int, first: int, held: bool) -> None:
        self.number = number
        #: Which mark of the step is the last one when watching begins.
        self.first = first
        self.held = held
        self.stamps: list[_Stamp] = []
        #: Of ``stamps``, the first one that the device is not known to have come to.
        self.asked = 0
        self.kinds: tuple[str, ...] = ()
        self.spoiled = False


class DeviceLook:
    def __init__(self, torch: Any, recorder: Any) -> None:
        self.torch = torch
        self.recorder = recorder
        self.pool: list[Any] = []
        self.watched: _Watched | None = None
        self.timeline: Any = None
        #: Steps whose events the device may not have come to.
        self.waiting: list[_Watched] = []
        self.seen: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        #: For how long the device is to be held in the next turn, in nanoseconds.
        self.hold = 0

    # a step is watched

    def begin(self) -> None:
        cuda = self.torch.cuda
        if not cuda.is_initialized():
            raise NotImplementedError("no GPU computes")
        self._read()
        if cuda.is_current_stream_capturing():
            return
        timeline = self.timeline = self.recorder.timeline
        hold, self.hold = self.hold, 0
        first = len(timeline.kinds) - 1 - self.recorder.closed[-1][0]
        watched = self.watched = _Watched(self.recorder.steps, first, hold > 0)
        self._stamp(self.recorder.clock())
        self._ask(watched)
        if hold and not watched.spoiled:
            cuda._sleep(hold * self._cycles() // 1_000_000)
        self._stamp(self.recorder.clock())
        timeline.times = _Times(timeline.times, self._stamp)

    def undo(self) -> None:
        self.watched = None
        timeline, self.timeline = self.timeline, None
        if timeline is not None and type(timeline.times) is _Times:
            timeline.times = list(timeline.times)

    def end(self) -> None:
        watched = self.watched
        self.undo()
        if watched is None:
            return
        if watched.held:
            # The device may still be behind, and the step that begins has to wait for it.
            self.recorder.record.looked.add(self.recorder.steps)
        if self._add(watched, self.recorder.clock()):
            self._ask(watched)
        if self._is_whole(watched):
            self.waiting.append(watched)
        else:
            self._forget(watched)

    def _is_whole(self, watched: _Watched) -> bool:
        """Whether the step is over and the next one begins as it did, so that the marks of both are known."""
        recorder = self.recorder
        if watched.spoiled or recorder.steps != watched.number + 1:
            return False
        kinds, closed = recorder.timeline.kinds, recorder.closed
        end = closed[-1][0]
        start = closed[-2][0] if len(closed) > 1 else 0
        own, following = tuple(kinds[start:end]), tuple(kinds[end:])
        watched.kinds = own
        alike = following == own[: watched.first + 1]
        return alike and PAUSED not in own and len(watched.stamps) == len(own) + 3

    def _stamp(self, now: int) -> None:
        watched = self.watched
        if watched is not None:
            self._add(watched, now)

    def _add(self, watched: _Watched, now: int) -> bool:
        """Record an event at this moment. Nothing here may disturb the training."""
        if watched.spoiled:
            return False
        try:
            if self.torch.cuda.is_current_stream_capturing():
                watched.spoiled = True
                return False
            event = self.pool.pop() if self.pool else self.torch.cuda.Event(enable_timing=True)
            event.record()
            watched.stamps.append(_Stamp(now, event))
            self._look_back(watched)
        except Exception:
            watched.spoiled = True
        return not watched.spoiled

    def _look_back(self, watched: _Watched) -> None:
        """To which events the device has come. They are over in the order in which they were recorded."""
        clock = self.recorder.clock
        for stamp in watched.stamps[watched.asked :]:
            asked = clock()
            if not stamp.event.query():
                stamp.before = asked
                return
            stamp.done = clock()
            watched.asked += 1

    def _ask(self, watched: _Watched) -> None:
        """Ask for a moment whether the device has come to the last event, which ties its clock to the host's."""
        clock = self.recorder.clock
        until = clock() + _ASKED
        with suppress(Exception):
            while not watched.spoiled and watched.asked < len(watched.stamps) and clock() < until:
                self._look_back(watched)

    def _cycles(self) -> int:
        """In a millisecond."""
        cuda = self.torch.cuda
        return int(getattr(cuda.get_device_properties(cuda.current_device()), "clock_rate", _CYCLES))

    # what it took

    def _forget(self, watched: _Watched) -> None:
        if not watched.spoiled:  # else they may be of several devices
            self.pool += [stamp.event for stamp in watched.stamps]
        watched.stamps = []

    def _read(self) -> None:
        left = []
        for watched in self.waiting:
            plan = self.recorder.record.plans.get(watched.kinds)
            over = False
            try:
                over = plan is not None and all(stamp.event.query() for stamp in watched.stamps)
                if over and plan.number is not None:
                    self._keep(watched, plan)
            except Exception:
                over = watched.spoiled = True
            if over or self.recorder.record.steps > watched.number + _KEPT:
                self._forget(watched)
            else:
                left.append(watched)
        self.waiting = left

    def _keep(self, watched: _Watched, plan: Plan) -> None:
        anchor, *stamps = watched.stamps
        since = [0, *(round(anchor.event.elapsed_time(stamp.event) * 1e6) for stamp in stamps)]
        known = list(zip(watched.stamps, since, strict=True))
        # The host's clock when the device's was at 0: at least, and at most.
        least = max(stamp.before - at for stamp, at in known)
        most = min((stamp.done - at for stamp, at in known if stamp.done is not None), default=None)
        zero = stamps[0].host
        host = [stamp.host - zero for stamp in stamps]
        device = [at + least - zero for at in since[1:]]
        self.seen.append(
            {
                "i": watched.number,
                "plan": plan.number,
                "first": watched.first,
                "held": watched.held,
                "host": host,
                "device": device,
                "slack": None if most is None else max(0, most - least),
            }
        )
        if not watched.held:
            self._decide(plan, watched.first, host, device)

    def _decide(self, plan: Plan, first: int, host: list[int], device: list[int]) -> None:
        """Whether the device is to be held next time: see ``launch.devices`` for what is known without."""
        if self.recorder.facts.values.get("world_size", 1) > 1:
            return  # the other ranks would wait for this one, in steps that they take for usual ones
        phases = [plan.phases[slot] for slot in plan.slots]
        handing_over = unknown = 0
        for index, phase in enumerate([*phases[first:], *phases[: first + 1]]):
            if phase != "data_wait":
                handing_over += host[index + 1] - host[index]
                unknown += max(0, min(device[index + 1], host[index + 1]) - device[index])
        if unknown > _UNKNOWN * host[-1]:
            self.hold = min(int(_HELD * handing_over), _HELD_AT_MOST)

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        self._read()
        return [("device", {"steps": list(self.seen)})] if self.seen else []

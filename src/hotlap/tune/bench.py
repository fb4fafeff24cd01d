"""Where comparisons run: one device, and the trainings that live on it.

A set of changes is asked for, and an arm is answered. Sets that differ in live changes alone share a process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hotlap.launch.process import Limits, Plan, Training
from hotlap.records import Change, Environment, Run
from hotlap.tune.arms import AnyArm, Arm, LiveArm, unused
from hotlap.tune.target import Target

#: The same change made in the training's configuration, and from outside, are two.
_Key = frozenset[tuple[str, bool]]


class Bench:
    def __init__(
        self,
        target: Target,
        directory: Path,
        environment: Environment,
        limits: Limits,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """``variables`` of the environment are set for every training, e.g. the device that it sees."""
        self.target, self.directory, self.environment, self.limits = target, directory, environment, limits
        self.variables = dict(variables or {})
        #: Whether live changes are switched in a running training. Not with several ranks: all would have to switch
        #: at the same moment.
        self.shares = True
        self._hosts: dict[_Key, Arm] = {}
        self._live: dict[_Key, LiveArm] = {}
        self._fresh: list[Arm] = []

    def arm(self, changes: Sequence[Change]) -> AnyArm:
        """The arm of a set of changes; its process may serve other sets, too."""
        live = [change for change in changes if change.live and self.shares]
        host = self._host([change for change in changes if change not in live])
        if not live:
            return host
        key = _key(changes)
        if key not in self._live:
            self._live[key] = LiveArm(host, live)
        return self._live[key]

    def same_again(self, changes: Sequence[Change]) -> LiveArm:
        """Another arm of the same set in the same process: it may differ by noise alone."""
        host = self.arm(changes).host
        return LiveArm(host, [change for change in changes if change not in host.changes])

    def fresh(
        self,
        changes: Sequence[Change],
        name: str,
        *,
        seed: int = 0,
        steps: int | None = None,
        copies: Mapping[str, str] | None = None,
    ) -> Arm:
        """A process of its own, to be closed by whoever asked for it, or with the bench."""
        directory = self.directory / name.replace("/", "_")
        arm = Arm(
            self.target,
            changes,
            directory,
            self.environment,
            limits=self.limits,
            seed_offset=seed,
            steps=steps,
            variables=self.variables,
            copies=copies,
        )
        self._fresh.append(arm)
        return arm

    def profile(self, seconds: float) -> Run:
        """Let the baseline train for so long without a gate, looked at from close by, and return its record."""
        directory = unused(self.directory / "profile")
        # With operations counted: how far it is from what the machine can do.
        plan = Plan(stop_seconds=seconds, contained=True, trace=True, variables=self.variables)
        command = self.target.arrange([], directory)
        with Training(command, directory, plan, self.limits, known_environment=self.environment) as training:
            training.wait()
        return training.run()

    def keep(self, *sets: Sequence[Change]) -> None:
        """End every training that none of these sets runs in."""
        hosts = {id(self.arm(changes).host) for changes in sets}
        for key, host in list(self._hosts.items()):
            if id(host) not in hosts:
                host.close()
                del self._hosts[key]
        self._live = {key: arm for key, arm in self._live.items() if id(arm.host) in hosts}

    def close(self) -> None:
        for arm in [*self._hosts.values(), *self._fresh]:
            arm.close()
        self._hosts.clear()
        self._live.clear()
        self._fresh.clear()

    def _host(self, changes: Sequence[Change]) -> Arm:
        key = _key(changes)
        if key not in self._hosts:
            # A set may be large, and a file name may not.
            name = "+".join(change.id for change in changes)[:80] or "baseline"
            self._hosts[key] = self.fresh(changes, name)
        return self._hosts[key]


def _key(changes: Sequence[Change]) -> _Key:
    return frozenset((change.id, bool(change.edits)) for change in changes)


def ids(changes: Sequence[Change]) -> frozenset[str]:
    return frozenset(change.id for change in changes)


def on_top(best: Sequence[Change], changes: Sequence[Change]) -> list[Change]:
    """The set with these changes; another value of what is in it already takes its place: two workers that of one.

    So does a change of all the keys that one of the set edits, under whatever name.
    """
    names = {change.name for change in changes}
    keys = {key for change in changes for key in change.edits}
    left = [each for each in best if each.name not in names and not (each.edits and each.edits.keys() <= keys)]
    return [*left, *changes]

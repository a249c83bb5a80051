"""A run that goes on beyond its end: what its study may say by then, which arms go on, and which branches are new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studyrun.engine import checkpoint
from studyrun.engine.checkpoint_folder import end_of, newest
from studyrun.engine.events import Progress
from studyrun.engine.late import Fork, LateBranches
from studyrun.engine.prepare import Prepared, study_of
from studyrun.engine.signals import StopRequest
from studyrun.errors import RunFolderError
from studyrun.study.schema import TRUNK, Branch, Stop, Study
from studyrun.trace.arm import NOT_STARTED

MAY = "A run can go on longer (`--set stop.steps=...`), with more branches, and with other figures and claims"
Difference = tuple[tuple[str, ...], Any, Any]


@dataclass(frozen=True)
class Extension:
    """How a run goes on under a study that asks for more than it was run with.

    `content` is the checkpoint it goes on from, `again` are the arms that go on from their ends, and `forks` is where
    new branches start. `changes` says what is new in words.
    """

    study: str
    changes: tuple[str, ...]
    content: Mapping[str, Any]
    again: tuple[str, ...]
    forks: Mapping[str, Fork]


def changes(recorded: Study, wanted: Study) -> tuple[str, ...]:
    """What a study asks for that the run was not begun with, in words.

    Raises `RunFolderError` if that is anything but longer limits, new branches, and what changes nothing recorded. Its
    message says what the study has, and begins in the middle of a sentence.
    """
    found = list(_differences(_whole(recorded.document), _whole(wanted.document)))
    other = sorted({at[0] for at, old, new in found if not _may_change(at, old, new)})
    if other:
        raise RunFolderError(f"another {', '.join(other)} than the run began with")
    for name in _arms(recorded):
        _check_longer(name, study_of(recorded, name).stop, study_of(wanted, name).stop)
    return tuple(f"{'.'.join(at)}: {_shown(old)} → {_shown(new)}" for at, old, new in found)


def _whole(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"branches": {}, "checkpoints": {}, "figures": None, **document}


def _arms(study: Study) -> tuple[str, ...]:
    return (TRUNK, *(branch.name for branch in study.branches))


def _differences(old: Any, new: Any, at: tuple[str, ...] = ()) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), (*at, str(key)))
    elif old != new:
        yield at, old, new


def _may_change(at: tuple[str, ...], old: Any, new: Any) -> bool:
    if at[0] == "checkpoints":
        return at[1:2] != ("best",) or new is None
    if at[0] == "branches":
        own_stop = len(at) > 3 and at[2] == "set" and at[3].split(".")[0] == "stop"
        return own_stop or (len(at) == 2 and old is None)
    return at[0] in ("stop", "figures", "claims")


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) < 100 else f"{text[:97]}..."


def _check_longer(arm: str, old: Stop, new: Stop) -> None:
    """Raise `RunFolderError` for a limit that the arm would have come to sooner."""
    if new.when not in (old.when, None):
        raise _shorter(arm, "another stop.when was not asked at the steps taken before; it can be removed alone")
    for name in ("steps", "time", "loss_below"):
        before, now = getattr(old, name), getattr(new, name)
        sooner = now is not None and before is not None and (now > before if name == "loss_below" else now < before)
        if sooner:
            raise _shorter(arm, f"stop.{name} {now:g} ends it sooner than the {before:g} it was run with")
        if before is None and now is not None and name == "loss_below":
            raise _shorter(arm, "whether the loss had been below stop.loss_below before is not known")


def _shorter(arm: str, why: str) -> RunFolderError:
    return RunFolderError(f"a stop under which arm {arm!r} would not have come to where it stands: {why}")


def plan(
    prepared: Prepared,
    recorded: Study,
    said: Sequence[str],
    folder: Path,
    mark: str,
    done: Mapping[str, Any] | None,
    progress: Progress,
    stop: StopRequest,
) -> Extension:
    """Find out how the run goes on. Nothing is written. `done` are the arms' states, where all have ended.

    Raises `RunFolderError` where an arm's end was not kept, where nothing goes on, or where a new branch would never
    have forked.
    """
    content: Mapping[str, Any] = newest(folder)[0] if done is None else {"arm": "", "queue": [], "done": done}
    extended = _Extended(prepared.study, recorded, folder, content)
    late = LateBranches(prepared, folder, mark, progress, stop, content)
    forks = dict(extended.forks(late))
    if done is not None and not extended.again and not forks and any(one.startswith("stop") for one in said):
        reasons = "each has a limit of its own, or did not end by one"
        raise RunFolderError(f"{folder}: no arm goes on with {'; '.join(said)}: {reasons}")
    kept = {arm: state for arm, state in content["done"].items() if arm not in extended.reopened}
    return Extension(prepared.study.to_yaml(), tuple(said), {**content, "done": kept}, extended.again, forks)


class _Extended:
    """Which arms go on, by how each has ended."""

    def __init__(self, wanted: Study, recorded: Study, folder: Path, content: Mapping[str, Any]) -> None:
        self.wanted, self.recorded, self.folder, self.content = wanted, recorded, folder, content
        self.again = tuple(self._again())
        self.reopened = {*self.again, *self._waiting()}
        for arm in (content["arm"], *self.again):
            if arm:
                self._check_not_passed(arm)

    def _again(self) -> Iterator[str]:
        """The arms that were complete under other limits. What else ended them still does, at the same step."""
        for arm, state in self.content["done"].items():
            if state == "complete" and study_of(self.wanted, arm).stop != study_of(self.recorded, arm).stop:
                if not end_of(self.folder, arm).is_file():
                    raise RunFolderError(
                        f"{self.folder}: arm {arm!r} cannot go on: checkpoints/{end_of(self.folder, arm).name}, the "
                        "state it ended in, is missing (older versions did not keep it); `studyrun run "
                        f"{self.folder / 'study.yaml'} --set ...` carries out the longer study in a new folder"
                    )
                yield arm

    def _waiting(self) -> Iterator[str]:
        """The branches that never started, and may do so now that their parents go on."""
        going = {self.content["arm"], *self.content["queue"], *self.again}
        for branch in self.wanted.branches:
            if self.content["done"].get(branch.name) == NOT_STARTED and branch.parent in going:
                going.add(branch.name)
                yield branch.name

    def _check_not_passed(self, arm: str) -> None:
        """Raise `RunFolderError` if an arm has passed a limit that it did not have."""
        held = self.content if arm == self.content["arm"] else checkpoint.load(end_of(self.folder, arm))
        old, new, state = study_of(self.recorded, arm).stop, study_of(self.wanted, arm).stop, held["state"]
        for name, reached in (("steps", "step"), ("time", "time")):
            limit = getattr(new, name)
            if state and limit is not None and getattr(old, name) is None and limit < state[reached]:
                what = f"it has passed stop.{name} {limit:g}, which it was not given before, and stands at"
                raise RunFolderError(f"{self.folder}: arm {arm!r} cannot go on: {what} {state[reached]:g}")

    def forks(self, late: LateBranches) -> Iterator[tuple[str, Fork]]:
        """Where the new branches fork, those left out whose parent has yet to come to it."""
        known = {*_arms(self.recorded), *self.content["queue"]}
        goes_on = {self.content["arm"], *self.content["queue"], *self.again}
        for branch in self.wanted.branches:
            if branch.name in known:
                continue
            if not self._begun(branch.parent):
                if branch.parent not in {*goes_on, *self.reopened}:
                    raise self._cannot_start(branch, f"its parent {branch.parent!r} was not started")
                goes_on.add(branch.name)
                continue
            found = late.fork(branch)
            if found is not None:
                goes_on.add(branch.name)
                yield branch.name, found
            elif branch.parent not in goes_on:
                steps = ", ".join(map(str, late.steps(branch.parent)))
                raise self._cannot_start(
                    branch,
                    f"{branch.use} fires at no step of {branch.parent!r} of which the state was kept (steps {steps}), "
                    "and that arm has come to its end",
                )

    def _begun(self, arm: str) -> bool:
        """Whether an arm has taken any step that a branch could have forked from."""
        ended = self.content["done"].get(arm, NOT_STARTED) != NOT_STARTED
        return ended or arm == self.content["arm"] or end_of(self.folder, arm).is_file()

    def _cannot_start(self, branch: Branch, why: str) -> RunFolderError:
        return RunFolderError(f"{self.folder}: branch {branch.name!r} cannot start: {why}")

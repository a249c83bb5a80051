"""The checkpoints of one run: the latest and the one before, each fork and its copy, each arm's end, and those kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from studyrun.engine import checkpoint as checkpoints
from studyrun.engine.signals import StopRequest
from studyrun.errors import RunFolderError

LATEST, PREVIOUS = "latest.pt", "previous.pt"
AGAIN = "`studyrun run {0}/study.yaml` carries out the study again, in a new folder; what is recorded here stays"


class CheckpointFolder:
    """`checkpoints/` in a run folder. Nobody's second Ctrl-C comes into the middle of what it writes."""

    def __init__(self, run: Path, stop: StopRequest, warn: Callable[[str], None]) -> None:
        self.run, self.folder = run, run / "checkpoints"
        self._stop, self._warn = stop, warn
        self._unproved = 2

    def held(self) -> AbstractContextManager[None]:
        """A block of writing that a second Ctrl-C waits for."""
        return self._stop.held()

    def save(self, content: Mapping[str, Any]) -> None:
        """Replace the latest checkpoint, keeping the one before it. Raises `RunFolderError`.

        The first ones are read back, before much work hangs on them: the second holds what a step has changed.
        """
        with self.held():
            checkpoints.set_aside(self.folder / LATEST, self.folder / PREVIOUS)
            checkpoints.save(self.folder / LATEST, content)
        if self._unproved:
            self._unproved -= 1
            checkpoints.load(self.folder / LATEST)

    def keep(self, arm: str, step: int, content: Mapping[str, Any]) -> None:
        """Write a checkpoint that nothing replaces. Raises `RunFolderError`."""
        with self.held():
            checkpoints.save(self.folder / f"{arm}-step-{step}.pt", content)

    def save_end(self, arm: str, content: Mapping[str, Any]) -> None:
        """Write the state that an arm ended in, from which it can go on. Raises `RunFolderError`."""
        with self.held():
            checkpoints.save(end_of(self.run, arm), content)

    def end(self, arm: str) -> dict[str, Any] | None:
        """The state that an arm ended in, None where it has not. Raises `RunFolderError` if it cannot be read."""
        path = end_of(self.run, arm)
        return checkpoints.load(path) if path.is_file() else None

    def save_fork(self, branch: str, content: Mapping[str, Any]) -> None:
        """Write what a branch starts from: once written it is read hours later, and so lies there twice."""
        with self.held():
            for path in self._fork(branch):
                checkpoints.save(path, content)

    def fork(self, branch: str) -> dict[str, Any]:
        """What a branch starts from. Raises `RunFolderError` if neither copy can be read."""
        content, warning = checkpoints.load_either(*self._fork(branch))
        if warning:
            self._warn(warning)
        return content

    def _fork(self, branch: str) -> tuple[Path, Path]:
        return self.folder / f"fork-{branch}.pt", self.folder / f"fork-{branch}.copy.pt"


def end_of(run: Path, arm: str) -> Path:
    """Where the state lies that an arm ended in."""
    return run / "checkpoints" / f"end-{arm}.pt"


def kept_steps(run: Path, arm: str) -> dict[int, Path]:
    """The steps of an arm whose checkpoints were kept for good, in order, with their files."""
    found = {}
    for path in (run / "checkpoints").glob(f"{arm}-step-*.pt"):
        number = path.stem.rpartition("-")[2]
        if path.name == f"{arm}-step-{number}.pt" and number.isascii() and number.isdigit():
            found[int(number)] = path
    return dict(sorted(found.items()))


def has_checkpoint(run: Path) -> bool:
    """Whether a run folder holds a checkpoint to go on from, damaged or not."""
    return any((run / "checkpoints" / name).is_file() for name in (LATEST, PREVIOUS))


def newest(run: Path) -> tuple[dict[str, Any], str]:
    """The newest checkpoint that is whole, and what to say if it is not the latest. Raises `RunFolderError`.

    A latest one that is damaged is put aside, so that it does not take the place of the one that is whole.
    """
    folder = run / "checkpoints"
    try:
        content, warning = checkpoints.load_either(folder / LATEST, folder / PREVIOUS)
    except RunFolderError as error:
        raise RunFolderError(f"{run} cannot be resumed: {error}. {AGAIN.format(run)}") from error
    if warning and (folder / LATEST).exists():
        checkpoints.put_aside(folder / LATEST)
    return content, warning

"""What an arm leaves beside the trace: its last state, and the weights of its end, its best step and the kept ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from studyrun.engine.best import Best, Followed
from studyrun.engine.checkpoint import make_folder
from studyrun.engine.checkpoint_folder import CheckpointFolder
from studyrun.engine.measuring import Readings
from studyrun.engine.problem import Problem
from studyrun.engine.state import ArmState
from studyrun.engine.weights import Weights, weights_of, write_weights
from studyrun.trace.weights import best_of, final_of, snapshot_of


class Leavings:
    """The weights of one arm. `mark` names the study; `followed` is the channel that decides which step is the best."""

    def __init__(
        self, checkpoints: CheckpointFolder, arm: str, problem: Problem, mark: str, followed: Followed | None
    ) -> None:
        self._checkpoints, self._arm, self._problem, self._mark = checkpoints, arm, problem, mark
        self._best = Best(followed) if followed is not None else None

    def load(self, content: Mapping[str, Any]) -> None:
        """Go on with the best so far that a state of this arm was saved with."""
        if self._best is not None and content.get("best"):
            self._best = Best(self._best.followed, **content["best"])

    def to_dict(self) -> dict[str, Any] | None:
        """The best so far, for a checkpoint."""
        return self._best.to_dict() if self._best is not None else None

    def measured(self, readings: Readings, state: Callable[[], ArmState]) -> None:
        """See whether a step is the best, after its probes; `state` gives it as it began."""
        if self._best is not None:
            self._best.look(readings, lambda: self._taken(state()))

    def _taken(self, state: ArmState) -> tuple[int, float, Weights]:
        return state.step, state.time, weights_of(self._problem, state)

    def snapshot(self, state: ArmState) -> None:
        """Keep the weights of a step for good. Raises `RunFolderError`."""
        facts = self._facts(state.step, state.time)
        self._write(snapshot_of(self._run, self._arm, state.step), weights_of(self._problem, state), facts)

    def write_best(self) -> None:
        """Write the weights of the best step so far, where there is one. Raises `RunFolderError`."""
        best = self._best
        if best is not None and best.known:
            facts = {"best": best.followed.words, "value": repr(best.value)}
            facts |= self._facts(best.step, best.time)
            self._write(best_of(self._run, self._arm), best.weights, facts)

    def end(self, state: ArmState, ending: str, reason: str, costs: Mapping[str, Any]) -> None:
        """Write the last state, for an arm that can go on from it, and the weights. Raises `RunFolderError`.

        An arm that diverged leaves its last weights, and cannot go on.
        """
        if ending == "complete":
            content = {"arm": self._arm, "state": state.to_dict(), "costs": costs, "best": self.to_dict()}
            self._checkpoints.save_end(self._arm, {**content, "study": self._mark})
        self.write_best()
        facts = {**self._facts(state.step, state.time), "state": ending, "end_reason": reason}
        self._write(final_of(self._run, self._arm), weights_of(self._problem, state), facts)

    def forget_final(self) -> None:
        """Take away the weights of an end that the arm goes on from."""
        final_of(self._run, self._arm).unlink(missing_ok=True)

    def attributes(self) -> dict[str, Any]:
        """What the trace says of the arm's best step."""
        best = self._best
        if best is None or not best.known:
            return {}
        facts = {"best_of": best.followed.words, "best_value": best.value}
        return {**facts, "best_step": best.step, "best_time": best.time}

    @property
    def _run(self) -> Path:
        return self._checkpoints.run

    def _facts(self, step: int, time: float) -> dict[str, str]:
        return {"study": self._mark, "arm": self._arm, "step": str(step), "time": repr(time)}

    def _write(self, path: Path, weights: Weights, facts: Mapping[str, str]) -> None:
        with self._checkpoints.held():
            make_folder(path.parent)
            write_weights(path, weights, facts)

"""Whose turn it is among the arms of a run: which are done, which wait, and what a checkpoint says of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studyrun.study.schema import TRUNK
from studyrun.trace.arm import NOT_STARTED


class Turns:
    """The arms of one run. `current` is the arm whose turn it is, nothing after the last."""

    def __init__(self) -> None:
        self.current, self.waiting, self.done = TRUNK, list[str](), dict[str, str]()

    def take_up(self, content: Mapping[str, Any]) -> None:
        """Stand where a checkpoint stood."""
        self.current, self.waiting, self.done = content["arm"], list(content["queue"]), dict(content["done"])

    def wait(self, arm: str) -> None:
        """Put an arm at the end of those that wait, unless it is among them."""
        if arm not in self.waiting:
            self.waiting.append(arm)

    def next(self) -> None:
        """The current arm has had its turn."""
        self.current = self.waiting.pop(0) if self.waiting else ""

    def has_forked(self, branch: str) -> bool:
        """Whether a branch has forked already: it waits, or has come to its end."""
        return branch in self.waiting or self.done.get(branch, NOT_STARTED) != NOT_STARTED

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint holds while the current arm has its turn."""
        return {"arm": self.current, "queue": self.waiting, "done": self.done}

    def after(self) -> dict[str, Any]:
        """What a checkpoint holds once the current arm has come to its end, and before the next one begins."""
        return {"arm": self.waiting[0], "queue": self.waiting[1:], "done": self.done}

"""How large a study may be, so that checking any file takes about a second."""

from __future__ import annotations

from collections.abc import Sequence

from studyrun.study.merging import LABELLED, Setting
from studyrun.study.tree import Block, Faults, Items

MAX_ARMS = 10_000
LISTED_AT_ONCE = 20
"""Entries of a list that take as long to check as one arm."""


def check_extent(tree: Block, points: Sequence[Sequence[Setting]], faults: Faults) -> None:
    """Raise `InvalidStudyError`, with all that was found so far, if checking these points would take too long.

    An arm is checked by itself; a list that a point changes, or that a branch's settings pass through, is checked
    whole.
    """
    branches = tree.get("branches")
    blocks = list(branches.entries.values()) if isinstance(branches, Block) else []
    arms = 1 + sum(1 + _settings(block) for block in blocks)
    count = arms * max(1, len(points)) + sum(_lists(tree, point) for point in points)
    if count > MAX_ARMS:
        where = "sweep" if points else "branches"
        origin = tree.keys.get(where, tree.origin)
        message = f"takes {count:,} checks of arms and of lists; at most {MAX_ARMS:,} are made for one study"
        faults.add(origin, where, message)
        faults.stop_here()


def _settings(block: object) -> int:
    settings = block.get("set") if isinstance(block, Block) else None
    return len(settings.entries) if isinstance(settings, Block) else 0


def _lists(tree: Block, point: Sequence[Setting]) -> int:
    """What the lists cost that a point's settings go into."""
    nodes = (tree.get(setting.where[0]) for setting in point if setting.where[0] in LABELLED)
    return sum(len(node.items) // LISTED_AT_ONCE for node in nodes if isinstance(node, Items))

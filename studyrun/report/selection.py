"""Of hundreds of arms, conditions or names, some: as many as a picture can show, and the words that say so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from studyrun.component import Figure
    from studyrun.trace.ensemble import Ensemble

Thing = TypeVar("Thing")

MOST_ARMS, SOME_ARMS = 12, 7  # all arms up to the first number, else as many as there are colours for arms
MOST_CONDITIONS = 6


def some(things: Sequence[Thing], most: int) -> Sequence[Thing]:
    """All of them, or `most` evenly spread, the first and the last among them."""
    places = np.linspace(0, len(things) - 1, min(most, len(things))).round().astype(int)
    return [things[place] for place in places]


def shown(ensemble: Ensemble, figure: Figure | None = None) -> tuple[Ensemble, str]:
    """What a figure is shown: every arm, or of very many the trunk, some branches, and those that its options name."""
    arms = ensemble.arms
    if len(arms) <= MOST_ARMS or (figure is not None and figure.every_arm):
        return ensemble, ""
    named = [name for name in _texts(figure.model_dump() if figure is not None else {}) if name in arms]
    chosen = {arms[0], *(named or some(arms[1:], SOME_ARMS - 1))}
    parents = ensemble.parents
    for name in tuple(chosen):
        while (parent := parents.get(name)) is not None:
            chosen.add(name := parent)
    words = f"Shown are {len(chosen)} of {len(arms)} arms: the trunk and "
    words += "what the options name." if named else "branches evenly spread in the order of their forks."
    return replace(ensemble, only=frozenset(chosen)), words


def shown_conditions(ensembles: Sequence[Ensemble]) -> tuple[Sequence[Ensemble], str]:
    """All conditions of a sweep, or some of very many."""
    chosen = some(ensembles, MOST_CONDITIONS)
    words = f"Shown are {len(chosen)} of {len(ensembles)} conditions, evenly spread in the order of the sweep."
    return chosen, words if len(chosen) < len(ensembles) else ""


def _texts(value: Any) -> Iterator[str]:
    """Every text among the options."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)

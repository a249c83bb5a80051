"""What something costs, in units measured beside it: never in seconds, which are a machine's own."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import yaml

ATTEMPTS = 3
PATIENCE = 1800.0
"""Seconds after which a test that waits for another process is taken to hang; no test is about them."""
NUMBERS = f"[{', '.join(map(str, range(2000)))}]"


def read_numbers() -> None:
    """The unit: PyYAML's own loader reads two thousand numbers, 11 kB. A tenth of a second where this was written."""
    yaml.load(NUMBERS, yaml.SafeLoader)


def assert_effort(work: Callable[[], object], most: float, unit: Callable[[], object] = read_numbers) -> None:
    """Raise AssertionError if `work` takes more processor time than `most` units, measured right before it.

    Who shares the machine can slow one of the two down more than the other: the best of three attempts counts, and one
    that is good enough is the last.
    """
    ratios: list[float] = []
    while len(ratios) < ATTEMPTS and min(ratios, default=most) >= most:
        beside = _seconds(unit)
        ratios.append(_seconds(work) / beside)
    assert min(ratios) < most, f"takes {min(ratios):.1f} times as long as its unit, at best of {ATTEMPTS} attempts"


def _seconds(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began

"""Seconds are billed once, to the innermost account, and survive a checkpoint."""

from __future__ import annotations

from itertools import accumulate

import pytest

from studyrun.engine import ledger as module
from studyrun.engine.ledger import Ledger


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger whose clock stands at 0, 1, 3, 6, 10, ... each time it is looked at."""
    clock = accumulate(range(100))
    monkeypatch.setattr(module, "perf_counter", lambda: float(next(clock)))
    return Ledger()


def test_a_bill_inside_a_bill_is_taken_off_the_outer_one(ledger: Ledger) -> None:
    with ledger.bill("outer"):  # 0 .. 15
        with ledger.bill("inner"):  # 1 .. 3
            pass
        with ledger.bill("inner"):  # 6 .. 10
            pass
    assert dict(ledger.seconds) == {"outer": 15 - 2 - 4, "inner": 6}
    assert dict(ledger.calls) == {"outer": 1, "inner": 2}


def test_a_block_that_raises_is_billed_too(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="inside"), ledger.bill("outer"), ledger.bill("inner"):
        raise ValueError("inside")
    assert dict(ledger.seconds) == {"inner": 2, "outer": 4}


def test_a_checkpoint_brings_everything_back_and_goes_on_counting(ledger: Ledger) -> None:
    with ledger.bill("training"):
        ledger.products["eigenpairs"] += 7
    again = Ledger.from_dict(ledger.to_dict())
    with again.bill("training"):  # 3 .. 6
        again.products["eigenpairs"] += 1
    assert (again.seconds["training"], again.calls["training"], again.products["eigenpairs"]) == (1 + 3, 2, 8)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from studyrun.errors import RunFolderError
from studyrun.study.schedule import PerDecade, Schedule, schedules_of


@given(st.integers(1, 50), st.integers(0, 500))
def test_every_n_steps_from_the_first_on(every: int, step: int) -> None:
    assert Schedule(every=every).due(step) == (step in range(0, 501, every))


@given(st.sets(st.integers(0, 100)), st.integers(0, 100))
def test_listed_steps_and_no_others(steps: set[int], step: int) -> None:
    assert Schedule(at=tuple(steps)).due(step) == (step in steps)


@given(st.integers(1, 40))
def test_points_per_decade_are_the_rounded_powers(per_decade: int) -> None:
    """Against the list that defines them, up to 10⁴."""
    wanted = {0} | {round(10 ** (j / per_decade)) for j in range(4 * per_decade + 1)}
    schedule = Schedule(every=PerDecade(log=per_decade))
    assert {step for step in range(10_001) if schedule.due(step)} == wanted


def test_no_schedule_is_every_step() -> None:
    assert all(Schedule().due(step) for step in range(5))


def test_two_schedules_at_once_are_refused() -> None:
    with pytest.raises(ValidationError, match="give `every` or `at`, not both"):
        Schedule(every=1, at=(2,))


def test_schedules_are_read_from_a_resolved_study_as_it_stands() -> None:
    probes = [{"use": "loss", "every": 3}, {"use": "loss", "as": "late", "at": [7]}, {"use": "x", "every": {"log": 1}}]
    dues = schedules_of({"probes": probes})
    due = {label: [step for step in range(20) if one(step)] for label, one in dues.items()}
    assert due == {"loss": [0, 3, 6, 9, 12, 15, 18], "late": [7], "x": [0, 1, 10]}
    assert schedules_of({}) == {}


@pytest.mark.parametrize("entry", ["loss", {"every": 2}, {"use": "loss", "every": 0}, {"use": "loss", "at": "x"}])
def test_what_is_no_probe_of_a_resolved_study_is_named(entry: object) -> None:
    with pytest.raises(RunFolderError, match="is no probe of a resolved study"):
        schedules_of({"probes": [entry]})

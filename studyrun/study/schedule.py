"""When a probe is due: every n steps, at listed steps, or at so many points per decade."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from studyrun.component import Options
from studyrun.errors import RunFolderError

Step = Annotated[int, Field(ge=0)]


class PerDecade(Options):
    """So many points per decade of steps, evenly spaced in the logarithm; step 0 is always one of them."""

    log: Annotated[int, Field(ge=1, le=1000)]


class Schedule(Options):
    """The steps at which a probe measures."""

    every: Annotated[int, Field(ge=1)] | PerDecade | None = None
    """Every n steps, or `{log: n}` for n points per decade."""
    at: tuple[Step, ...] | None = None
    """These steps and no others."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Schedule:
        if self.every is not None and self.at is not None:
            raise ValueError("give `every` or `at`, not both")
        return self

    @cached_property
    def _listed(self) -> frozenset[int]:
        return frozenset(self.at or ())

    def due(self, step: int) -> bool:
        """Whether the probe measures at `step`."""
        if self.at is not None:
            return step in self._listed
        if isinstance(self.every, PerDecade):
            return step == 0 or _is_log_point(step, self.every.log)
        return step % (self.every or 1) == 0


def _is_log_point(step: int, per_decade: int) -> bool:
    """Whether `step` is the rounding of 10^(j / per_decade) for some integer j ≥ 0."""
    from math import log10

    near = round(per_decade * log10(step))
    return any(j >= 0 and round(10 ** (j / per_decade)) == step for j in range(near - 1, near + 2))


def schedules_of(document: Mapping[str, Any]) -> dict[str, Callable[[int], bool]]:
    """When each probe of a resolved study is due, by its label; the study is plain data, and no component is imported.

    Raises `RunFolderError` where an entry is no probe's.
    """
    found: dict[str, Callable[[int], bool]] = {}
    for entry in document.get("probes") or ():
        try:
            label = str(entry.get("as") or entry["use"])
            found[label] = Schedule(**{key: entry[key] for key in ("every", "at") if key in entry}).due
        except (AttributeError, KeyError, TypeError, ValidationError) as error:
            raise RunFolderError(f"probes: {entry!r} is no probe of a resolved study: {error}") from error
    return found

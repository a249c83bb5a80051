"""What a probe records: named arrays with labelled dimensions, a symbol, a unit and a source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
Dtype = Literal["float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool"]


def check_name(name: str, what: str) -> str:
    """Return `name` if HDF5, netCDF and a Python identifier can all carry it; otherwise raise ValueError."""
    if not NAME.match(name):
        raise ValueError(f"{what} {name!r} must start with a letter and hold only letters, digits and underscores")
    return name


@dataclass(frozen=True, slots=True)
class Dimension:
    """An axis of a channel: its name and the label of each place along it (integers or texts)."""

    name: str
    labels: tuple[int, ...] | tuple[str, ...]

    def __post_init__(self) -> None:
        check_name(self.name, "dimension")
        if self.name in ("step", "time"):
            raise ValueError("every channel has the dimension step already, with time beside it")

    @classmethod
    def of_size(cls, name: str, size: int) -> Dimension:
        """An axis labelled 0 to size − 1."""
        return cls(name, tuple(range(size)))

    @property
    def size(self) -> int:
        """The number of places along the axis."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Channel:
    """One named array that a probe records at each step it measures.

    `dims` excludes the first dimension, `step`, which every channel has. `standard_name` says which quantity of the
    field this is (`sharpness`, say), so that triggers and figures find it without knowing the probe. `nan` says what a
    NaN stands for (padding, say); without it a NaN is a fault that the run warns of.
    """

    name: str
    long_name: str
    dims: tuple[Dimension, ...] = ()
    symbol: str = ""
    units: str = "1"
    source: str = ""
    standard_name: str = ""
    dtype: Dtype = "float64"
    nan: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "channel")
        if self.name in ("step", "time", *(dim.name for dim in self.dims)):
            raise ValueError(f"channel {self.name!r} has the name of one of its own coordinates")
        if len({dim.name for dim in self.dims}) < len(self.dims):
            raise ValueError(f"channel {self.name!r} names a dimension twice")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one reading (without `step`)."""
        return tuple(dim.size for dim in self.dims)


def iterative_evidence(*dims: Dimension, units: str = "loss / parameter²", nan: str = "") -> Sequence[Channel]:
    """The channels that travel with an iterative result: `residual`, `matvecs` and `converged`.

    `nan` says what a missing residual means, where one may be missing.
    """
    return (
        Channel("residual", "norm of the residual Hv − λv", dims, "‖Hv − λv‖", units, nan=nan),
        Channel("matvecs", "matrix-vector products spent", (), symbol="products", dtype="int64"),
        Channel("converged", "residual within the tolerance asked for", dims, dtype="bool"),
    )


UNCONVERGED = "the solve did not converge"  # what a NaN may stand for
NO_VECTOR = "v₁ is not known: its solve did not converge, or the Hessian is zero"


NO_GAP = "what lies below this eigenvalue is not known"


def eigenpair_evidence(*dims: Dimension, units: str = "loss / parameter²", nan: str = "") -> Sequence[Channel]:
    """The channels that travel with eigenvalues: what `iterative_evidence` has, and how far to trust them.

    Where a solve did not converge, there is no value; how far it came stands in `unconverged`.
    """
    error = "bound on the distance to the eigenvalue, unless one was missed; without a gap, to the nearest one"
    gap = "distance to every other eigenvalue, at the least, unless one was missed; 0: a neighbour is not told apart"
    doubt = "bound on the probability that a larger eigenvalue was missed; 1: nothing is known of that"
    no_gap = f"{NO_GAP}, or {nan}" if nan else NO_GAP
    return (
        *iterative_evidence(*dims, units=units, nan=nan),
        Channel("error", error, dims, "|λ − λ*|", units, nan=nan),
        Channel("separation", gap, dims, "gap", units, nan=no_gap),
        Channel("unconverged", f"best estimate where {UNCONVERGED}", dims, "λ̃", units, nan="the solve converged"),
        Channel("doubt", doubt, dims[:-1], "doubt"),
    )


def eigenvector_evidence(units: str = "loss / parameter²") -> Sequence[Channel]:
    """The channels that travel with what is measured along the top eigenvector: `residual`, `angle` and `converged`.

    cos² to v_1 of any vector is off by `angle` at most, the difference of two projections having that norm.
    """
    angle = "bound on the sine of the angle to the eigenvector, unless one was missed; 1: none, for want of a gap"
    return (
        Channel("residual", "norm of the residual Hv − λv", (), "‖Hv₁ − λv₁‖", units),
        Channel("angle", angle, (), "sin ∠(v₁, v*)"),
        Channel("converged", "residual within the tolerance asked for", dtype="bool"),
    )


EVIDENCE = frozenset(channel.name for channel in (*eigenpair_evidence(), *eigenvector_evidence()))
"""The names of channels that say how well an iterative result is known, and are no result themselves."""

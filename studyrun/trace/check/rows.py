"""What one probe recorded in one arm: every byte is read, and held against the rules that each array obeys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from studyrun.errors import TraceError
from studyrun.stopping import heeding
from studyrun.trace import file, layout
from studyrun.trace.check.findings import Findings

KEPT = ("step", "time")
_BLOCK = 16_000_000  # bytes read at a time


class Declaration(NamedTuple):
    """What a dataset says it is."""

    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass
class ProbeRows:
    """One probe of one arm as far as it could be read; `summed` tells whether its numbers lie under checksums."""

    path: Path
    where: str
    step: np.ndarray = field(default_factory=lambda: np.zeros(0, "int64"))
    time: np.ndarray = field(default_factory=lambda: np.zeros(0))
    declared: dict[str, Declaration] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    summed: bool = True
    readable: bool = False

    def row(self, name: str, index: int) -> np.ndarray:
        """One row of a channel. Raises `TraceError`."""
        where = f"{self.where}/{name}"
        return file.read(self.path, lambda trace: np.asarray(trace[where][index]), where)

    def differing(self, other: ProbeRows) -> list[str]:
        """The arrays that are not of the same type, dimensions and shape as another arm's."""
        absent = set(self.names) ^ set(other.names)
        both = self.declared.keys() & other.declared.keys()
        return sorted(absent | {name for name in both if self.declared[name] != other.declared[name]})


class _Array(NamedTuple):
    """What is known of one dataset; `values` only where it is to be kept."""

    declaration: Declaration
    rows: int
    per_block: int
    summed: bool
    faults: tuple[str, ...]
    values: np.ndarray = np.zeros(0)

    @property
    def parts(self) -> list[slice]:
        """The stretches in which it is read."""
        return [slice(at, min(self.rows, at + self.per_block)) for at in range(0, self.rows, self.per_block)]

    def filled(self, blocks: Iterable[np.ndarray], *, keep: bool) -> _Array:
        """The same with its values looked at, and kept or not."""
        faults, kept = set(self.faults), [np.zeros(0, self.declaration.dtype)]
        for values in blocks:
            if self.declaration.dtype == "bool" and not np.isin(values, (0, 1)).all():
                faults.add("is declared as bool and holds other values than 0 and 1")
            kept += [values] if keep else []
        return self._replace(faults=tuple(sorted(faults)), values=np.concatenate(kept) if keep else kept[0])


def read_probe(path: Path, where: str, findings: Findings) -> ProbeRows:
    """Read every array of `/<arm>/<probe>`, and note what is wrong with each."""
    found = ProbeRows(path, where)
    try:
        arrays = file.read(path, lambda trace: _whole(trace[where]), where)
    except TraceError as error:
        findings.fault(f"{path.name}: {where}", _reason(error))
        return found
    found.names = tuple(arrays)
    for name in arrays:
        try:
            array = arrays[name] = arrays[name] or _piecewise(path, f"{where}/{name}", keep=name in KEPT)
        except TraceError as error:
            findings.fault(f"{path.name}: {where}/{name}", _reason(error))
            continue
        for what in array.faults:
            findings.fault(f"{path.name}: {where}/{name}", what)
        found.declared[name] = array.declaration
        found.summed &= array.summed
    step, time = (arrays[name] for name in KEPT)
    if step is not None and time is not None:
        found.step, found.time, found.readable = step.values, time.values, True
        for name, other in arrays.items():
            if other is not None and other.rows != step.rows:
                what = f"has {other.rows:,} rows where `step` has {step.rows:,}"
                findings.fault(f"{path.name}: {where}/{name}", what)
        _check_order(path, found, findings)
    return found


def _whole(group: h5py.Group) -> dict[str, _Array | None]:
    """Every array of a probe, None where it cannot be read."""
    file.read_attributes(group)
    for name in [name for name, dataset in group.items() if dataset.is_scale and name != "step"]:
        layout.labels(group[name])
    found: dict[str, _Array | None] = dict.fromkeys((*KEPT, *layout.channel_names(group)))
    for name in found:
        with (
            suppress(Exception),
            heeding(),
        ):  # a damaged file has h5py raise whatever comes of it; it is looked at again by itself
            array = _described(group[name])
            blocks = (np.asarray(group[name][part]) for part in array.parts)
            found[name] = array.filled(blocks, keep=name in KEPT)
    return found


def _piecewise(path: Path, where: str, *, keep: bool) -> _Array:
    """Read an array in stretches too short for a run that goes on to overtake. Raises `TraceError`."""
    array = file.read(path, lambda trace: _described(trace[where]), where)

    def block(part: slice) -> np.ndarray:
        return file.read(path, lambda trace: np.asarray(trace[where][part]), where)

    return array.filled(map(block, array.parts), keep=keep)


def _described(dataset: h5py.Dataset) -> _Array:
    file.read_attributes(dataset)
    dtype, name = layout.recorded_dtype(dataset), dataset.name.rsplit("/", 1)[-1]
    dims = ("step",) if name == "step" else layout.dimension_names(dataset)
    declaration = Declaration(dtype, dims, dataset.shape[1:])
    row = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype="int64")))
    per_block = max(dataset.chunks[0] if dataset.chunks else 1, _BLOCK // row)
    faults = tuple(_misdeclared(dataset, declaration, name))
    return _Array(declaration, len(dataset), per_block, bool(dataset.fletcher32), faults)


def _misdeclared(dataset: h5py.Dataset, declared: Declaration, name: str) -> Iterator[str]:
    on_disk = dataset.dtype.name
    expected = {"step": "int64", "time": "float64"}.get(name) or layout.disk_dtype(declared.dtype)
    if expected is None or on_disk != expected:
        yield f"is declared as {declared.dtype} and lies there as {on_disk}"
    if declared.dims[0] != "step" or len(declared.dims) != dataset.ndim:
        yield f"has the dimensions {', '.join(declared.dims)} for {dataset.ndim} axes"
        return
    for dimension, size in zip(declared.dims[1:], declared.shape, strict=True):
        labels = len(dataset.parent[dimension])
        if labels != size:
            yield f"has {size} places along {dimension!r}, which has {labels} labels"


def _check_order(path: Path, found: ProbeRows, findings: Findings) -> None:
    backwards = np.flatnonzero(np.diff(found.step) <= 0)
    if len(backwards):
        before, after = found.step[backwards[0]], found.step[backwards[0] + 1]
        findings.fault(f"{path.name}: {found.where}/step", f"step {after} comes after step {before}")
    if not np.isfinite(found.time).all() or (np.diff(found.time) < 0).any():
        findings.fault(f"{path.name}: {found.where}/time", "effective time is not finite, or runs backwards")


def _reason(error: TraceError) -> str:
    """The part of a reader's message that says what is wrong, without where and without the advice to check."""
    text = str(error).split(" cannot be read: ", 1)[-1]
    return f"cannot be read: {text.split('; `studyrun check', 1)[0]}"

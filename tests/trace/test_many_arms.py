"""A trace of hundreds of arms opens in time that grows with their number, not with its square."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import h5py
from oracles.planted import Planted, plant

from studyrun.trace import layout
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.reader import open_run

PROBES = {"p": [Channel("x", "x", (Dimension("place", ("a", "b")),)), Channel("y", "y")]}


def trace_of(folder: Path, arms: int) -> Path:
    row = {"p": {0: {"x": [1.0, 2.0], "y": 3.0}}}
    plant(folder, PROBES, {f"arm_{place}": Planted(row) for place in range(arms)})
    return folder


def seconds(folder: Path) -> float:
    start = process_time()
    assert open_run(folder)["arm_0"]["p"]["x"].dims == ("step", "place")
    return process_time() - start


def test_eight_times_the_arms_take_no_more_than_some_ten_times_as_long(tmp_path: Path) -> None:
    few, many = (trace_of(tmp_path / str(arms), arms) for arms in (25, 200))
    seconds(few)
    assert seconds(many) < 20 * min(seconds(few) for _ in range(3))  # 8 in proportion, 64 by the square


def test_a_scale_whose_name_was_changed_is_told_by_where_it_lies(tmp_path: Path) -> None:
    with h5py.File(trace_of(tmp_path / "run", 1) / "trace.h5", "r+") as file:
        group = file["arm_0/p"]
        for name in (b"step", b"nowhere"):
            group["place"].attrs["NAME"] = name
            assert layout.dimension_names(group["x"]) == ("step", "place")

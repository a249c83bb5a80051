"""Numbers of single examples with a planted relation, added to the arms of a synthetic run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from oracles.synthetic_run import EXAMPLES

from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

EVERY = 2  # of the rows of the loss that the run has already
Weight = Callable[[str, float], float]


def distances(seed: int = 0) -> np.ndarray:
    """How far each example lies from its centroid: the same at every step."""
    return np.random.default_rng(seed).permutation(np.linspace(10, 70, EXAMPLES)).astype("float32")


def cos2(weight: float, seed: int = 0, step: int = 0) -> np.ndarray:
    """Numbers in (0, 1) whose ranks follow the distance by `weight`: +1 rising, −1 falling, 0 noise alone."""
    noise = np.random.default_rng([seed, step]).standard_normal(EXAMPLES)
    away = (distances(seed) - 40) / 20
    return (1 / (1 + np.exp(-(weight * 5 * away + (1 - abs(weight)) * noise)))).astype("float32")


def plant(folder: Path, weight: Weight, seed: int = 0, *, arms=("baseline", "exit"), with_distance=True) -> Ensemble:
    """Record distances once in the trunk, and numbers that follow them by weight(arm, effective time)."""
    run = open_run(folder)
    dims = (Dimension.of_size("example", EXAMPLES),)
    with TraceWriter.resume(folder / "trace.h5") as writer:
        if with_distance:
            distance = Channel("distance", "distance to the centroid of its class", dims, "‖x − μ_y‖", dtype="float32")
            writer.add_probe("baseline", "centroid_distance", [distance], {"component": "centroid_distance"})
            writer.append("baseline", "centroid_distance", 0, 0.0, {"distance": distances(seed)})
        for arm in arms:
            channel = Channel("cos2", "alignment with v1", dims, "cos²", dtype="float32", nan="no gradient")
            writer.add_probe(arm, "examples", [channel], {"component": "per_example_alignment"})
            rows = run[arm]["sharpness"]
            for step, time in list(zip(rows.step, rows.time, strict=True))[::EVERY]:
                reading = {"cos2": cos2(weight(arm, float(time)), seed, int(step))}
                writer.append(arm, "examples", int(step), float(time), reading)
    return for_run(open_run(folder))

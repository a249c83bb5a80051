"""The default study with its sharpness measured at every single step, beside the same training without probes.

All arms take the same steps from the same weights, one step in turn, by the engine's own step with trace and ledger.
The ratio is of the total seconds; the last table says what they went into, by the ledger that a trace holds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from curvature_timing import seconds, table
from h5py import File

from studyrun.engine.arms import RunInProgress
from studyrun.engine.events import Silent
from studyrun.engine.prepare import prepare
from studyrun.engine.signals import StopRequest
from studyrun.study import load_study
from studyrun.trace.writer import TraceWriter

STUDY = Path(__file__).resolve().parents[1] / "studies" / "eos_branching.yaml"
PROBES: dict[str, list[dict[str, Any]]] = {
    "no probes": [],
    "sharpness, k = 1, tolerance 1e-2": [{"use": "sharpness", "k": 1, "tolerance": 1e-2, "every": 1}],
    "sharpness, k = 1, tolerance 1e-3": [{"use": "sharpness", "k": 1, "every": 1}],
    "sharpness, k = 2, tolerance 1e-2": [{"use": "sharpness", "k": 2, "tolerance": 1e-2, "every": 1}],
}
ALL, FEW, LEAST = 600, 240, 5


class Run:
    """One study's trunk, advanced step by step."""

    def __init__(self, probes: list[dict[str, Any]], folder: Path, small: bool) -> None:
        content = yaml.safe_load(STUDY.read_text())
        for key in ("branches", "claims", "profiles", "groups"):
            content.pop(key)
        content |= {"probes": probes, "stop": {"steps": ALL}}
        if small:
            content["dataset"] |= {"size": 40, "test_size": 20}
        folder.mkdir()
        (folder / "study.yaml").write_text(yaml.safe_dump(content))
        study = load_study(folder / "study.yaml")
        self._running = RunInProgress(prepare(study, folder), folder, Silent(), StopRequest())
        writer = TraceWriter.create(folder / "trace.h5", title=study.title, study="", git_commit="")
        self._running.write_to(writer)
        self._arm = self._running._arm("baseline", study)
        self._arm.start()
        self._running._open_in_trace("baseline", study, None, 0)
        self._trace = folder / "trace.h5"

    def step(self) -> None:
        """Measure and train."""
        assert self._arm.step() is None

    @property
    def accounts(self) -> dict[str, float]:
        """Seconds by account."""
        return dict(self._running.ledger.seconds)

    def products(self) -> tuple[float, int]:
        """Products with the Hessian at a step: their mean, and how many solves did not converge."""
        self._running.writer.flush()
        with File(self._trace) as file:
            group = file["baseline/sharpness"]
            return float(group["matvecs"][:].mean()), int((group["converged"][:] == 0).any(-1).sum())


def section(*, small: bool, quick: bool) -> Iterator[str]:
    """Both tables of this section."""
    steps = LEAST if small else FEW if quick else ALL
    with tempfile.TemporaryDirectory() as temporary:
        runs = {
            name: Run(probes, Path(temporary) / str(place), small)
            for place, (name, probes) in enumerate(PROBES.items())
        }
        spent = dict.fromkeys(runs, 0.0)
        for _ in range(steps):
            for name, run in runs.items():
                spent[name] += seconds(run.step)
        yield totals(runs, spent, steps)
        yield breakdown(runs)


def totals(runs: dict[str, Run], spent: dict[str, float], steps: int) -> str:
    """What a step costs, and over the bare step."""
    rows = []
    for name, run in runs.items():
        products, failed = run.products() if PROBES[name] else (0.0, 0)
        milliseconds, ratio = 1e3 * spent[name] / steps, spent[name] / spent["no probes"]
        rows.append([name, f"{milliseconds:.1f}", f"{ratio:.2f}", f"{products:.1f}", str(failed)])
    head = ["at every step", "ms a step", "over no probes", "products a step", "not converged"]
    return f"The default study, its first {steps} steps:\n\n{table(head, rows)}"


def breakdown(runs: dict[str, Run]) -> str:
    """Shares of the ledger's accounts."""
    names = list(dict.fromkeys(account for run in runs.values() for account in run.accounts))
    rows = []
    for name, run in runs.items():
        total = sum(run.accounts.values())
        rows.append([name, *(f"{run.accounts.get(account, 0.0) / total:.0%}" for account in names)])
    return f"Where the time goes:\n\n{table(['at every step', *names], rows)}"

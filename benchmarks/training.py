"""What the engine costs: a study that records the loss at every step beside a hand-written loop that does the same.

    python benchmarks/training.py [--threads N] [--case TEXT]

Both sides take the same steps of gradient descent on the same data from the same weights and record, at every step,
training loss and accuracy and test loss and accuracy; the engine's own step is what a run executes, with trace,
checkpoints and watch over the probes. The two take one step in turn, so that whatever else the machine does meets both;
the table gives the medians over all steps and the median of the ratios. With one thread it counts processor seconds,
with several wall-clock seconds. The last losses are compared, so that neither side can cheat.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import torch
from torch import nn

from studyrun.engine.arms import RunInProgress
from studyrun.engine.events import Silent
from studyrun.engine.prepare import prepare
from studyrun.engine.problem import Problem
from studyrun.engine.signals import StopRequest
from studyrun.study import Study, load_study
from studyrun.trace.writer import TraceWriter

STUDY = """\
title: loss at every step
model: {{use: mlp, hidden: {hidden}, init: {{scheme: kaiming_normal, scale: 0.2}}}}
dataset: {{use: dice, classes: [three, six], size: {size}, test_size: {size}}}
loss: squared_error
optimizer: {{use: gd, lr: 0.02}}
stop: {{steps: {steps}}}
probes: [loss]
"""

WARM_UP = 5  # steps that are not counted: the first measurements of a probe are watched more closely
CASES = {
    "MLP 1024-256-256-2, 1,000 examples (the default study)": {"hidden": [256, 256], "size": 1000, "steps": 150},
    "MLP 1024-64-2, 200 examples": {"hidden": [64], "size": 200, "steps": 1000},
    "MLP 1024-512-512-2, 1,000 examples": {"hidden": [512, 512], "size": 1000, "steps": 150},
    "MLP 1024-512-512-2, 4,000 examples": {"hidden": [512, 512], "size": 4000, "steps": 30},
}


def hand_written(problem: Problem, record: list[tuple[float, float, float, float]]) -> Callable[[], None]:
    """One step of the loop that a researcher would write."""
    model, train, test = problem.model, problem.data.train, problem.data.test
    assert test is not None
    one_hot, test_one_hot = (nn.functional.one_hot(split.targets, 2).float() for split in (train, test))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

    def step() -> None:
        output = model(train.inputs)
        loss = (output - one_hot).square().sum(1).mean()
        with torch.no_grad():
            test_output = model(test.inputs)
            test_loss = (test_output - test_one_hot).square().sum(1).mean()
            accuracy = (output.argmax(1) == train.targets).float().mean()
            test_accuracy = (test_output.argmax(1) == test.targets).float().mean()
        record.append((loss.item(), accuracy.item(), test_loss.item(), test_accuracy.item()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def with_studyrun(study: Study, folder: Path) -> tuple[Callable[[], object], TraceWriter]:
    """One step of a run's own arm, and the trace it writes."""
    prepared = prepare(study, folder)
    running = RunInProgress(prepared, folder, Silent(), StopRequest())
    running.write_to(TraceWriter.create(folder / "trace.h5", title=study.title, study="", git_commit=""))
    arm = running._arm("baseline", study)
    arm.start()
    running._open_in_trace("baseline", study, None, 0)
    return arm.step, running.writer


def measure(name: str, options: dict[str, object]) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "study.yaml").write_text(STUDY.format(**options))
        study = load_study(folder / "study.yaml")
        record: list[tuple[float, float, float, float]] = []
        ours, writer = with_studyrun(study, folder)
        theirs = hand_written(prepare(study, folder).problem, record)
        seconds = [[timed(side) for side in (theirs, ours)] for _ in range(int(str(options["steps"])))][WARM_UP:]
        writer.flush()
        recorded = h5py.File(folder / "trace.h5")["baseline/loss/train"][-1]
    assert abs(recorded / record[-1][0] - 1) < 1e-3, (recorded, record[-1][0])
    ratio = statistics.median(ours / theirs for theirs, ours in seconds)
    theirs_ms, ours_ms = (1e3 * statistics.median(column) for column in zip(*seconds, strict=True))
    return f"| {name} | {theirs_ms:.2f} | {ours_ms:.2f} | {ratio:.3f} |"


def timed(step: Callable[[], object]) -> float:
    """Seconds of one step."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    step()
    return clock() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--case", default="", help="only the cases whose name holds this text")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| case | hand-written, ms a step | studyrun, ms a step | ratio |\n| --- | --- | --- | --- |")
    for name, options in CASES.items():
        if arguments.case not in name:
            continue
        print(measure(name, options), flush=True)


if __name__ == "__main__":
    main()

"""What the engine costs: a study that records the loss at every step beside a hand-written loop that does the same.

    python benchmarks/training.py [--repeats 7] [--threads N]

Both sides take the same steps of gradient descent on the same data from the same weights and record, at every step,
training loss and accuracy and test loss and accuracy. The two run in turn, in one process; the table gives medians of
their seconds and the median of their ratio. What a run costs once (fingerprints, provenance, the first checkpoint, a
few tenths of a second) is in it, spread over the steps of the case. The last losses of both are compared, so that neither can cheat.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from studyrun import open_run
from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare
from studyrun.study import Study, load_study

STUDY = """\
title: loss at every step
model: {{use: mlp, hidden: {hidden}, init: {{scheme: kaiming_normal, scale: 0.2}}}}
dataset: {{use: dice, classes: [three, six], size: {size}, test_size: {size}}}
loss: squared_error
optimizer: {{use: gd, lr: 0.02}}
stop: {{steps: {steps}}}
probes: [loss]
"""

CASES = {
    "MLP 1024-64-2, 200 examples": {"hidden": [64], "size": 200, "steps": 2000},
    "MLP 1024-512-512-2, 1,000 examples (the default study)": {"hidden": [512, 512], "size": 1000, "steps": 150},
    "MLP 1024-512-512-2, 4,000 examples": {"hidden": [512, 512], "size": 4000, "steps": 40},
}


def hand_written(study: Study) -> tuple[float, float]:
    """The loop that a researcher would write; returns seconds and the last training loss."""
    problem = prepare(study, Path()).problem
    model, train, test = problem.model, problem.data.train, problem.data.test
    assert test is not None
    one_hot, test_one_hot = (nn.functional.one_hot(split.targets, 2).float() for split in (train, test))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    record: list[tuple[float, float, float, float]] = []
    start = time.perf_counter()
    for step in range((study.stop.steps or 0) + 1):
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
        if step < (study.stop.steps or 0):
            optimizer.step()
    return time.perf_counter() - start, record[-1][0]


def with_studyrun(study: Study) -> tuple[float, float]:
    """The same by the engine, its trace and its run folder included; returns seconds and the last training loss."""
    prepared = prepare(study, Path())
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        execute(prepared, Path(folder), [], Silent())
        seconds = time.perf_counter() - start
        return seconds, float(open_run(folder)["baseline"]["loss"]["train"].values[-1])


def measure(name: str, options: dict[str, object], repeats: int) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(STUDY.format(**options))
        study = load_study(path)
    sides: tuple[Callable[[Study], tuple[float, float]], ...] = (hand_written, with_studyrun)
    for side in sides:
        side(study)  # warm up: imports, caches, threads
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats):
        results = [side(study) for side in sides]
        assert abs(results[0][1] / results[1][1] - 1) < 1e-4, results
        for found, (spent, _) in zip(seconds, results, strict=True):
            found.append(spent)
    ratio = statistics.median(ours / theirs for theirs, ours in zip(*seconds, strict=True))
    steps = int(str(options["steps"]))
    theirs, ours = (1e3 * statistics.median(found) / steps for found in seconds)
    return f"| {name} | {theirs:.2f} | {ours:.2f} | {ratio:.3f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--case", default="", help="only the cases whose name holds this text")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| case | hand-written, ms a step | studyrun, ms a step | ratio |\n| --- | --- | --- | --- |")
    for name, options in CASES.items():
        if arguments.case not in name:
            continue
        print(measure(name, options, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()

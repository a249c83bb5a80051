"""What a person waits for: `--help`, `list`, and the default study with its report.

    python benchmarks/command_line.py [--repeats 7] [--study]

Each command runs in a process of its own; the table gives the median of its wall-clock seconds and, since other work on
the machine stretches those, of its processor seconds, beside a Python that starts and does nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one command, its children included. Raises if it fails."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, spent


def row(name: str, command: list[str], repeats: int) -> str:
    """One row of the table: medians over `repeats` runs after one that warms the file cache."""
    if repeats > 1:
        seconds(command)
    measured = [seconds(command) for _ in range(repeats)]
    wall, processor = (statistics.median(column) for column in zip(*measured, strict=True))
    return f"| {name} | {wall:.2f} | {processor:.2f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--study", action="store_true", help="also run the default study and its report, once")
    arguments = parser.parse_args()
    studyrun = [sys.executable, "-m", "studyrun"]
    print("| command | wall clock, s | processor, s |\n| --- | --- | --- |")
    print(row("python -c pass", [sys.executable, "-c", "pass"], arguments.repeats))
    print(row("studyrun --help", [*studyrun, "--help"], arguments.repeats))
    print(row("studyrun list", [*studyrun, "list"], arguments.repeats))
    if arguments.study:
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "run")
            print(
                row(
                    "studyrun run studies/eos_branching.yaml",
                    [*studyrun, "run", "studies/eos_branching.yaml", "--out", out],
                    1,
                )
            )
            print(row("studyrun report", [*studyrun, "report", out], 1))


if __name__ == "__main__":
    main()

"""How often the interval for a median over few runs holds it, and how often a t interval would: by simulation.

    python benchmarks/intervals.py

For each number of runs, 200,000 samples from each distribution; the shares have a deviation of 0.001 at most. Two
clusters are runs that settle on one of two sides, ±1 with a tenth of a normal deviate around it, as on phases of an
oscillation. The table stands in docs/components.md.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import t as student

from studyrun.trace.median import median_interval

DRAWS = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "t, 2 degrees": lambda random, shape: random.standard_t(2, shape),
    "Cauchy": lambda random, shape: random.standard_cauchy(shape),
    "lognormal": lambda random, shape: random.lognormal(size=shape) - 1,  # its median is 1
    "two clusters": lambda random, shape: random.choice([-1, 1], shape) + 0.1 * random.standard_normal(shape),
}

BY_T = ("normal", "Cauchy", "two clusters")


def exact(samples: np.ndarray) -> tuple[float, float] | None:
    """What the interval says of its coverage, and the share of the samples (s, n) in which it holds the median, 0."""
    ordered = np.sort(samples, axis=1)
    found = median_interval(range(samples.shape[1]))
    if found is None:
        return None
    low, high = int(found.low), int(found.high)  # of the sample 0, 1, ..., n − 1 the ends are their own places
    return found.coverage, float(((ordered[:, low] <= 0) & (ordered[:, high] >= 0)).mean())


def of_t(samples: np.ndarray) -> float:
    """The share of the samples in which the 95 % t interval around the mean holds the median, 0."""
    count = samples.shape[1]
    half = student.ppf(0.975, count - 1) * samples.std(axis=1, ddof=1) / np.sqrt(count)
    return float((abs(samples.mean(axis=1)) <= half).mean())


def row(count: int, draws: int) -> str:
    """One line of the table."""
    samples = {name: draw(np.random.default_rng(count), (draws, count)) for name, draw in DRAWS.items()}
    found = [one for one in map(exact, samples.values()) if one is not None]
    cells = [f"{found[0][0]:.1%}", *(f"{share:.1%}" for _, share in found)] if found else ["none"] + ["–"] * len(DRAWS)
    return "| " + " | ".join([str(count), *cells, *(f"{of_t(samples[name]):.1%}" for name in BY_T)]) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200_000, help="how many for each cell")
    options = parser.parse_args()
    print("| runs | stated | " + " | ".join([*DRAWS, *(f"t: {name}" for name in BY_T)]) + " |")
    print("|---|" + "---|" * (1 + len(DRAWS) + len(BY_T)))
    for count in range(2, 12):
        print(row(count, options.samples), flush=True)


if __name__ == "__main__":
    main()

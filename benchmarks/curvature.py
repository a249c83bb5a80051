"""What curvature costs, in units of one full gradient, along a trajectory that climbs to the edge of stability.

    python benchmarks/curvature.py [--states 6] [--repeats 5] [--threads N] [--small]

An MLP 3072-512-512-2 (with `--small` 256-64-64-2) is trained by gradient descent on 1,000 images drawn from a seed, two
classes of coherent noise, so that nothing is downloaded. At each state, ten steps apart and from the weights of this
very run, the table takes medians of ratios within the run: one product, the top eigenvalue cold and warm, and scipy's
eigsh (ARPACK) on the same products, cold, as the rival. "Error" is the largest relative one against eigsh at 1e-6.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.nn.functional import linear, one_hot, relu

from studyrun.curvature import Eigenpairs, HessianOperator, gradient, top_eigenpairs, unflatten

EXAMPLES, LEARNING_RATE, STEPS_BETWEEN = 1000, 0.05, 10


def per_example(parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of an MLP with relu, summed over outputs."""
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    for weight, bias in layers[:-1]:
        inputs = relu(linear(inputs, weight, bias))
    return (linear(inputs, *layers[-1]) - targets).square().sum(-1)


def problem(widths: Sequence[int], seed: int = 0) -> tuple[list[Tensor], Tensor, Tensor]:
    """Kaiming weights × 0.2 and two classes that differ in a direction among many directions of decaying variance."""
    generator = torch.Generator().manual_seed(seed)
    parameters = []
    for fan_in, fan_out in pairwise(widths):
        parameters.append(0.2 * (2 / fan_in) ** 0.5 * torch.randn(fan_out, fan_in, generator=generator))
        parameters.append(torch.zeros(fan_out))
    classes = torch.randint(2, (EXAMPLES,), generator=generator)
    decay = torch.arange(1, widths[0] + 1) ** -0.5
    inputs = 4 * decay * torch.randn(EXAMPLES, widths[0], generator=generator)
    inputs[:, 1] += 2.0 * (2 * classes - 1)
    return parameters, inputs, one_hot(classes, 2).float()


def timed(call: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def arpack(operator: HessianOperator, tolerance: float) -> tuple[float, int]:
    """The largest eigenvalue by eigsh, and the products it spent."""
    before = operator.products
    linear_operator = LinearOperator(
        (operator.size, operator.size),
        matvec=lambda v: operator.matvec(torch.from_numpy(v.ravel())).numpy(),
        dtype="float32",
    )
    value = eigsh(linear_operator, k=1, which="LA", tol=tolerance, return_eigenvectors=False)[0]
    return float(value), operator.products - before


class Table:
    """Seconds in gradients, products and errors of each method, over states."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[float, int, float]]] = {}

    def add(self, name: str, gradients: float, products: int, error: float) -> None:
        """Record one state."""
        self.rows.setdefault(name, []).append((gradients, products, error))

    def __str__(self) -> str:
        lines = ["| method | gradients | products | error |", "| --- | --- | --- | --- |"]
        for name, states in self.rows.items():
            gradients, products, errors = zip(*states, strict=True)
            cost, spent = statistics.median(gradients), statistics.median(products)
            lines.append(f"| {name} | {cost:.1f} | {spent:g} | {max(errors):.0e} |")
        return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    parameters, inputs, targets = problem([256, 64, 64, 2] if arguments.small else [3072, 512, 512, 2])
    table, blocks = Table(), {1e-2: None, 1e-3: None}
    for state in range(arguments.states):
        measure(table, blocks, parameters, inputs, targets, arguments.repeats, state)
        for _ in range(STEPS_BETWEEN):
            flat, _ = gradient(per_example, parameters, inputs, targets)
            moves = unflatten(flat, parameters)
            parameters = [part - LEARNING_RATE * move for part, move in zip(parameters, moves, strict=True)]
    print(table)


def measure(
    table: Table,
    blocks: dict[float, Tensor | None],
    parameters: list[Tensor],
    inputs: Tensor,
    targets: Tensor,
    repeats: int,
    state: int,
) -> None:
    """Add one state to the table; `blocks` are the warm starts by tolerance, replaced by those of this state."""
    problem = (per_example, parameters, inputs, targets)
    unit = timed(lambda: gradient(*problem), repeats)
    kept = HessianOperator(*problem)
    truth, _ = arpack(kept, 1e-6)
    vector = torch.ones(kept.size)
    table.add("one product, graph kept", timed(lambda: kept.matvec(vector), repeats) / unit, 1, 0.0)
    rebuilt = HessianOperator(*problem, (EXAMPLES + 1) // 2, graph_bytes=0)
    table.add("one product, two chunks, rebuilt", timed(lambda: rebuilt.matvec(vector), repeats) / unit, 1, 0.0)

    def solve(tolerance: float, start: Tensor | None, exploration: float) -> Eigenpairs:
        """A solve with all it needs, the building of the graph included."""
        generator = torch.Generator().manual_seed(state)
        operator = HessianOperator(*problem, check_deterministic=False)
        return top_eigenpairs(
            operator, 1, tolerance=tolerance, start=start, generator=generator, exploration=exploration
        )

    for tolerance, block in blocks.items():
        ways = {"cold": (None, 1.0)}
        if block is not None:
            ways |= {"warm": (block, 0.0), "warm, exploring": (block, 1.0)}
        for way, (start, exploration) in ways.items():
            found = solve(tolerance, start, exploration)
            seconds = timed(lambda s=start, e=exploration, t=tolerance: solve(t, s, e), repeats)
            error = abs(float(found.values[0]) / truth - 1)
            table.add(f"top eigenvalue, {way}, {tolerance:g}", seconds / unit, found.products, error)
            if way != "warm, exploring":  # the next state starts from what a caller who trusts its start would hold
                blocks[tolerance] = found.block
        operator = HessianOperator(*problem, check_deterministic=False)
        value, products = arpack(operator, tolerance)
        seconds = timed(lambda t=tolerance: arpack(HessianOperator(*problem, check_deterministic=False), t), 1)
        table.add(f"eigsh, cold, {tolerance:g}", seconds / unit, products, abs(value / truth - 1))


if __name__ == "__main__":
    main()

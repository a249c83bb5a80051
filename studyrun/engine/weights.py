"""The weights of a step as a file of safetensors: the model's `state_dict`, every tensor whole and its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from studyrun.engine.problem import Problem
from studyrun.engine.state import ArmState
from studyrun.errors import RunFolderError
from studyrun.trace.atomic import write_atomically

Weights = dict[str, Tensor]
SPLIT = "complex128"  # which the format lacks: such a tensor is written as pairs of float64, and named under this


def weights_in(model: nn.Module) -> Weights:
    """The model's `state_dict` in copies on the CPU: contiguous, and apart from each other, tied ones too.

    What is no tensor there (a module's extra state) is left out.
    """
    return {name: _own(value) for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _own(value: Tensor) -> Tensor:
    plain = value.detach().resolve_conj().resolve_neg().cpu()
    return plain.clone(memory_format=torch.contiguous_format)


def weights_of(problem: Problem, state: ArmState) -> Weights:
    """The weights in a state whose parameters the live model has; its buffers may have moved on, and are put back."""
    moved = {name: buffer.clone() for name, buffer in problem.named_buffers.items()}
    problem.set_buffers(state.buffers)
    try:
        return weights_in(problem.model)
    finally:
        problem.set_buffers(moved)


def left_out(model: nn.Module) -> list[str]:
    """The entries of the model's `state_dict` that are no tensors, which no file of weights can hold."""
    return [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]


def write_weights(path: Path, weights: Weights, facts: Mapping[str, str]) -> None:
    """Write weights with what is to be said of them, atomically. Raises `RunFolderError`."""
    split = [name for name, value in weights.items() if value.dtype == torch.complex128]
    metadata = {"format": "pt", **facts, **({SPLIT: json.dumps(split)} if split else {})}
    plain = {name: torch.view_as_real(value) if name in split else value for name, value in weights.items()}
    write_atomically(path, _in_order(save(plain, metadata)))


def _in_order(data: bytes) -> bytes:
    """The same file with its metadata by name: the library's order is another in each process."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def read_weights(path: Path) -> Weights:
    """The weights in a file, in the order of their names. Raises `RunFolderError` where it is missing or damaged."""
    try:
        data = path.read_bytes()
        weights = load(data)
        length = int.from_bytes(data[:8], "little")
        split = json.loads(json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(SPLIT, "[]"))
        return {name: torch.view_as_complex(one) if name in split else one for name, one in sorted(weights.items())}
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise RunFolderError(f"{path} cannot be read as weights: {error}") from error

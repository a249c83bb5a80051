"""Values as a checkpoint holds them: plain containers, numbers, texts and tensors, which become the same values again.

Checkpoints are read without running code, so that no object may lie in them. Whatever is not plain by itself but can be
written down exactly (numpy arrays and scalars, sets, generators, tensors of a device) becomes a dict with `TAG`.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

TAG = "studyrun.type"
HELD = (
    "None, booleans, numbers, texts, bytes, tensors, numpy arrays and scalars, random generators, and lists, tuples, "
    "dicts, sets and deques of them"
)
_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_FACTORIES: Mapping[str, Callable[[], Any]] = {one.__name__: one for one in (int, float, list, dict, set, str, bool)}


class NotPlainError(TypeError):
    """A value that a checkpoint cannot hold; the message says which, and where in the value handed over."""


def encode(value: Any, where: str = "") -> Any:
    """The value as plain containers and tensors. Raises `NotPlainError`."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, Tensor):
        return _tensor(value)
    if kind is list:
        return [encode(item, f"{where}[{place}]") for place, item in enumerate(value)]
    if kind is tuple:
        return tuple(encode(item, f"{where}[{place}]") for place, item in enumerate(value))
    if kind is dict and TAG not in value and all(type(key) in (str, int) for key in value):
        return {key: encode(item, f"{where}[{key!r}]") for key, item in value.items()}
    name = _NAMES.get(kind) or (kind.__name__ if isinstance(value, np.generic | np.ndarray) else "")
    if not name:
        place = f" at {where}" if where else ""
        raise NotPlainError(f"a {kind.__module__}.{kind.__qualname__}{place}; {HELD} would be right")
    return {TAG: name, **_written(value, where)}


def decode(value: Any) -> Any:
    """A new value, equal to the one that `encode` was given and of its types; it shares no memory with anything."""
    kind = type(value)
    if isinstance(value, Tensor):
        return value.detach().clone()
    if kind is list or kind is tuple:
        return kind(decode(item) for item in value)
    if kind is not dict:
        return value
    if TAG in value:
        return _read(value)
    return {key: decode(item) for key, item in value.items()}


def copied(value: Any) -> Any:
    """The value once more, with memory of its own. Raises `NotPlainError`."""
    return decode(encode(value))


def is_plain(value: Any) -> bool:
    """Whether a checkpoint can hold the value."""
    try:
        encode(value)
    except NotPlainError:
        return False
    return True


def same(one: Any, other: Any) -> bool:
    """Whether two encoded values are equal to the bit, NaNs included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
        return alike and (one is other or torch.equal(_bytes(one), _bytes(other)))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) if type(one) not in (float, complex) else repr(one) == repr(other)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def _tensor(value: Tensor) -> Any:
    value = value.detach()
    if value.layout is not torch.strided or value.is_quantized:
        raise NotPlainError(f"a tensor of layout {value.layout}; a dense one would be right")
    if value.device.type == "cpu":
        return value.as_subclass(Tensor)
    return {TAG: "tensor", "device": str(value.device), "value": value.as_subclass(Tensor)}


def _written(value: Any, where: str) -> dict[str, Any]:
    """What names a tagged value beside its type."""
    if isinstance(value, np.generic | np.ndarray):
        array = np.asarray(value)
        if array.dtype.hasobject or array.dtype.names:
            raise NotPlainError(f"a numpy array of type {array.dtype}{f' at {where}' if where else ''}; {HELD}")
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        content = torch.from_numpy(flat if flat.flags.writeable else flat.copy())
        return {"dtype": array.dtype.str, "shape": list(array.shape), "value": content}
    if isinstance(value, dict):
        items = [[encode(key, f"{where} (a key)"), encode(item, f"{where}[{key!r}]")] for key, item in value.items()]
        factory = getattr(getattr(value, "default_factory", None), "__name__", "")
        if isinstance(value, defaultdict) and value.default_factory is not _FACTORIES.get(factory):
            raise NotPlainError(f"a defaultdict of {value.default_factory}{f' at {where}' if where else ''}")
        return {"value": items, "factory": factory}
    if isinstance(value, set | frozenset):
        return {"value": [encode(item, f"{where} (an item)") for item in sorted(value, key=repr)]}
    if isinstance(value, deque):
        return {"value": [encode(item, f"{where}[{place}]") for place, item in enumerate(value)], "most": value.maxlen}
    if isinstance(value, torch.Generator):
        return {"device": str(value.device), "value": value.get_state()}
    if isinstance(value, np.random.Generator):
        return {"bits": type(value.bit_generator).__name__, "value": encode(value.bit_generator.state, where)}
    if isinstance(value, np.random.RandomState):
        return {"value": encode(value.get_state(legacy=False), where)}
    if isinstance(value, random.Random):
        return {"value": encode(value.getstate(), where)}
    return {"value": list(value) if isinstance(value, torch.Size) else str(value).removeprefix("torch.")}


def _read(tagged: Mapping[str, Any]) -> Any:
    """The value of a tagged dict."""
    name, value = tagged[TAG], tagged["value"]
    if "dtype" in tagged:
        array = np.frombuffer(value.numpy().tobytes(), np.dtype(tagged["dtype"])).reshape(tagged["shape"])
        return array.copy() if name == "ndarray" else array[()]  # numpy keeps bytes from being written to
    return _READERS[name](tagged, value)


def _read_dict(tagged: Mapping[str, Any], items: list[list[Any]]) -> dict[Any, Any]:
    pairs = [(decode(key), decode(item)) for key, item in items]
    if tagged[TAG] == "defaultdict":
        return defaultdict(_FACTORIES.get(tagged["factory"]), pairs)
    kinds: dict[str, type[dict[Any, Any]]] = {"OrderedDict": OrderedDict, "Counter": Counter}
    return kinds.get(tagged[TAG], dict)(dict(pairs))


def _read_torch_generator(tagged: Mapping[str, Any], state: Tensor) -> torch.Generator:
    generator = torch.Generator(tagged["device"])
    generator.set_state(state)
    return generator


def _read_numpy_generator(tagged: Mapping[str, Any], state: Any) -> np.random.Generator:
    bits = getattr(np.random, tagged["bits"])(0)
    bits.state = decode(state)
    return np.random.Generator(bits)


def _read_random_state(tagged: Mapping[str, Any], state: Any) -> np.random.RandomState:
    generator = np.random.RandomState(0)
    generator.set_state(decode(state))
    return generator


def _read_random(tagged: Mapping[str, Any], state: Any) -> random.Random:
    generator = random.Random(0)
    generator.setstate(decode(state))
    return generator


_NAMES: Mapping[type, str] = {
    np.ndarray: "ndarray",
    dict: "dict",
    OrderedDict: "OrderedDict",
    defaultdict: "defaultdict",
    Counter: "Counter",
    set: "set",
    frozenset: "frozenset",
    deque: "deque",
    torch.Generator: "torch.Generator",
    np.random.Generator: "numpy.Generator",
    np.random.RandomState: "numpy.RandomState",
    random.Random: "Random",
    torch.dtype: "dtype",
    torch.device: "device",
    torch.Size: "Size",
}
_READERS: Mapping[str, Callable[[Mapping[str, Any], Any], Any]] = {
    "tensor": lambda tagged, value: value.to(tagged["device"], copy=True),
    "dict": _read_dict,
    "OrderedDict": _read_dict,
    "defaultdict": _read_dict,
    "Counter": _read_dict,
    "set": lambda tagged, value: set(map(decode, value)),
    "frozenset": lambda tagged, value: frozenset(map(decode, value)),
    "deque": lambda tagged, value: deque(map(decode, value), tagged["most"]),
    "torch.Generator": _read_torch_generator,
    "numpy.Generator": _read_numpy_generator,
    "numpy.RandomState": _read_random_state,
    "Random": _read_random,
    "dtype": lambda tagged, value: getattr(torch, value),
    "device": lambda tagged, value: torch.device(value),
    "Size": lambda tagged, value: torch.Size(value),
}

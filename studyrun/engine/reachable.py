"""Everything that code holds, within reach of some roots: modules, optimizers, closures, people's objects and files."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any
from weakref import ReferenceType

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from studyrun.engine.plain import is_plain

_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, staticmethod, classmethod, property)
_NO_STATE = (*_CODE, ReferenceType)  # recurrent layers make their weak references anew when parameters are exchanged
_LIBRARIES = frozenset({"studyrun", "torch", "torchvision", "numpy", "scipy", "pydantic", "pydantic_core", "h5py"}) | {
    "matplotlib", "jaxtyping", "typing_extensions", "annotated_types", "beartype", "pytest", "_pytest",
}  # fmt: skip
_OF_TORCH = frozenset(vars(nn.Module())) - {"training"}
_OF_OPTIMIZERS = frozenset({"state", "param_groups", "defaults"})  # the engine carries what of them changes by itself
_OF_CLASSES = ("__", "_abc_", "model_")  # Python's and pydantic's own

OBJECT: Any = type("Object", (), {})()
"""Stands for whatever is no plain value."""


class Holder:
    """An object that holds named values: by its `__dict__`, as a cell of a closure, or as a container of objects."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def values(self) -> Mapping[str, Any]:
        """What it holds, by name, or by place where it has no names."""
        thing = self._thing
        if isinstance(thing, CellType):
            return {"": thing.cell_contents} if _is_filled(thing) else {}
        if isinstance(thing, dict | list | tuple | set | frozenset):
            items = thing.values() if isinstance(thing, dict) else thing
            return {str(place): item for place, item in enumerate(items)}
        slots = {name: getattr(thing, name) for name in _slots(type(thing)) if hasattr(thing, name)}
        held: Mapping[str, Any] = vars(thing) if hasattr(thing, "__dict__") else {}
        return {**held, **slots} if slots else held

    def put(self, name: str, value: Any) -> None:
        """Let it hold a value under this name, in the very object that it holds now where that can take it over."""
        thing = self._thing
        if _put_inside(self.values().get(name), value):
            return
        if isinstance(thing, CellType):
            thing.cell_contents = value
        elif isinstance(thing, type):
            type.__setattr__(thing, name, value)
        elif isinstance(thing, list):
            thing[int(name) : int(name) + 1] = [value]
        elif isinstance(thing, dict):
            thing[list(thing)[int(name)]] = value
        elif name in _slots(type(thing)):
            object.__setattr__(thing, name, value)
        elif not isinstance(thing, tuple | set | frozenset):
            vars(thing)[name] = value

    def remove(self, name: str) -> None:
        """Let it hold nothing under this name."""
        thing = self._thing
        if isinstance(thing, CellType):
            del thing.cell_contents
        elif isinstance(thing, type):
            type.__delattr__(thing, name)
        elif isinstance(thing, list):
            del thing[int(name) :]
        elif name in _slots(type(thing)):
            object.__delattr__(thing, name)
        elif not isinstance(thing, dict | tuple | set | frozenset):
            del vars(thing)[name]


def _slots(kind: type) -> tuple[str, ...]:
    """The names of a class's slots, where somebody's own class has such."""
    if not is_peoples(kind.__module__):
        return ()
    found = (name for one in kind.__mro__ for name in (one.__dict__.get("__slots__") or ()))
    return tuple(name for name in found if name not in ("__dict__", "__weakref__"))


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  an empty cell raises
    except ValueError:
        return False
    return True


def _put_inside(held: Any, value: Any) -> bool:
    """Let a list, dict, tensor, array or generator become `value`: others may refer to it. False if it cannot."""
    if type(held) is not type(value):
        return False
    if isinstance(held, Tensor):
        if held.shape != value.shape or held.dtype != value.dtype or held.device != value.device:
            return False
        with torch.no_grad():
            held.copy_(value)
    elif isinstance(held, list):
        held[:] = value
    elif isinstance(held, dict | set):
        held.clear()
        held.update(value)
    elif isinstance(held, torch.Generator):
        held.set_state(value.get_state())
    elif hasattr(held, "bit_generator"):
        held.bit_generator.state = value.bit_generator.state
    else:
        return False
    return True


class Reachable:
    """What lies within reach of the roots, the tensors that are `carried` and whatever mentions them left out.

    `holders` are the objects by path, `plain` what they hold (path, name, value; `OBJECT` where a checkpoint cannot
    hold it), and `others` the objects among it that are not looked into. `optimizers` are those of torch among the
    holders.
    """

    def __init__(self, roots: Mapping[str, object], carried: Iterable[Tensor]) -> None:
        self.holders: dict[str, Holder] = {}
        self.plain: list[tuple[str, str, Any]] = []
        self.others: dict[str, object] = {}
        self._carried = set(map(id, carried))
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._seen: set[int] = set()
        for path, root in roots.items():
            self._enter(path, root)

    def _enter(self, path: str, thing: Any) -> None:
        """Note what an object holds, and go on to the objects within."""
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        if isinstance(thing, FunctionType):
            for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
                if id(cell) not in self._seen:
                    self._hold(f"{path}.{name}", cell)
        elif isinstance(thing, MethodType):
            self._enter(path, thing.__self__)
        elif isinstance(thing, partial):
            self._hold(path, (thing.func, *thing.args, *thing.keywords.values()))
        else:
            self._hold(path, thing)

    def _hold(self, path: str, thing: Any) -> None:
        self._seen.add(id(thing))
        holder = self.holders[path] = Holder(thing)
        if isinstance(thing, torch.optim.Optimizer):
            self.optimizers[path] = thing
        for name, value in list(holder.values().items()):
            if not _is_left_out(thing, name):
                self._look(path, name, value)
        if isinstance(thing, nn.Module):
            for name, child in thing._modules.items():
                if child is not None:
                    self._enter(f"{path}.{name}", child)
        if isinstance(thing, nn.Module | torch.optim.Optimizer):
            for name, hooks in list(vars(thing).items()):
                if name.endswith("_hooks") and hooks:
                    self._hold(f"{path}.{name}", hooks)
        for kind in type(thing).__mro__ if not isinstance(thing, type | ModuleType | CellType) else ():
            if is_peoples(kind.__module__):
                self._enter(f"class {kind.__name__}", kind)

    def _look(self, path: str, name: str, value: Any) -> None:
        where = f"{path}.{name}" if name else path
        mentions = self._mentions(value)
        if not mentions and not isinstance(value, _NO_STATE) and is_plain(value):
            self.plain.append((path, name, value))
            return
        self.plain.append((path, name, OBJECT))
        if mentions:
            return
        if _is_entered(value):
            self._enter(where, value)
        elif isinstance(value, dict | list | tuple | set | frozenset):
            if id(value) not in self._seen:
                self._hold(where, value)
        elif not isinstance(value, _NO_STATE):
            self.others[where] = value

    def _mentions(self, value: Any) -> bool:
        """Whether it is, or holds, a tensor that the engine carries by itself."""
        if isinstance(value, Tensor):
            return id(value) in self._carried
        if isinstance(value, dict):
            return any(map(self._mentions, value.values()))
        return isinstance(value, list | tuple | set) and any(map(self._mentions, value))


def is_constant(value: object) -> bool:
    """Whether nothing inside of it can change."""
    return value is None or isinstance(value, (*_ATOMS, *_NO_STATE))


def is_iterator(value: object) -> bool:
    """Whether it moves on by being read, with no way to tell where it stands."""
    return hasattr(type(value), "__next__") and not isinstance(value, io.IOBase)


def _is_left_out(thing: object, name: str) -> bool:
    if isinstance(thing, nn.Module):
        return name in _OF_TORCH
    if isinstance(thing, torch.optim.Optimizer):
        return name in _OF_OPTIMIZERS or name.endswith("_hooks")
    if isinstance(thing, type):
        return name.startswith(_OF_CLASSES)
    return isinstance(thing, ModuleType) and name.startswith("__")


def _is_entered(value: object) -> bool:
    """Whether what it holds may change as steps are taken: libraries' own objects do without that, but for torch's."""
    if isinstance(value, nn.Module | torch.optim.Optimizer | LRScheduler | SimpleNamespace | partial | MethodType):
        return True
    if isinstance(value, ModuleType):
        return is_peoples(value.__name__) and not _is_installed(value)
    if isinstance(value, FunctionType):
        return value.__closure__ is not None and is_peoples(value.__module__ or "")
    kind = value if isinstance(value, type) else type(value)
    return is_peoples(kind.__module__) and (hasattr(value, "__dict__") or bool(_slots(kind)))


@lru_cache(maxsize=4096)
def is_peoples(module: str) -> bool:
    """Whether a module is none of Python's, of this project or of what it stands on, but somebody's own."""
    top = module.partition(".")[0]
    return bool(top) and top not in _LIBRARIES and top not in sys.stdlib_module_names


def _is_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None) or ""
    return not file or "site-packages" in file or "dist-packages" in file


def walk_tensors(modules: Iterable[nn.Module]) -> Iterator[Tensor]:
    """The parameters and buffers that modules hold at this moment."""
    for module in modules:
        yield from (value for value in module._parameters.values() if value is not None)
        yield from (value for value in module._buffers.values() if value is not None)

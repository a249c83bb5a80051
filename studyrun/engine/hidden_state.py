"""State that people's code keeps outside parameters, buffers and the optimizer's slots: attributes, counters, globals.

A model may count its calls in an attribute, a hook in a variable around it, a plugin in a global of its file. What such
code keeps is found by walking through it from its roots, and carried like everything else that changes as steps are
taken. What changes and cannot be written down is refused by name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from operator import is_
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from studyrun.engine.plain import NotPlainError, copied, decode, encode, same
from studyrun.engine.reachable import OBJECT, Holder, Reachable, is_constant, is_iterator
from studyrun.errors import ComponentError

State = Mapping[str, Mapping[str, Any]]
"""What is kept, encoded: by the path of the object that holds it, then by its name there."""

_OBJECT = "\0object"  # in the place of what is no plain value: it is left as it is
_LARGE = 4096  # numbers or texts beyond which a value is not looked through at every step


class HiddenState:
    """Everything plain within reach of `roots`. `carried` are the tensors that the engine carries by itself.

    `first` is what was there in the beginning, which a fresh process makes anew, so that only differences are kept.
    """

    def __init__(self, roots: Mapping[str, object], carried: Callable[[], Iterator[Tensor]] = lambda: iter(())) -> None:
        self._roots, self._carried = dict(roots), carried
        self._survey = _Survey(self._roots, carried)
        self.first: State = self._survey.state

    def now(self) -> State:
        """What is kept at this moment. Raises `ComponentError` for a change that cannot be written down."""
        last = self._survey
        if last.is_current():
            return last.refreshed()
        self._survey = survey = _Survey(self._roots, self._carried)
        for path, thing in survey.opaque.items():
            if last.opaque.get(path, thing) is not thing:
                what = type(thing).__qualname__
                raise _refused(f"{path} is another {what} after each step", "keep tensors, numbers or texts there")
        for path, held in survey.state.items():
            if path not in self.first and not _same(held, last.state.get(path, held)):
                raise _refused(f"{path} came to be as steps were taken, and changes", "make it in `build`")
        return survey.state

    def changes(self, state: State) -> dict[str, Any]:
        """How a state differs from the first one, for a checkpoint; empty where nothing changed.

        Raises `ComponentError` if something large was written into, which `now` does not look through.
        """
        self._survey.check_large()
        changed: dict[str, Any] = {}
        for path, before in self.first.items():
            held = state.get(path, before)
            new = {name: value for name, value in held.items() if name not in before or not same(value, before[name])}
            new = {name: value for name, value in new.items() if value is not _OBJECT}
            gone = [name for name in before if name not in held]
            if new or gone:
                changed[path] = {"new": new, "gone": gone}
        return changed

    def put(self, state: State) -> None:
        """Let everything be as it was when `now` returned this state."""
        survey = _Survey(self._roots, self._carried)
        for path, holder in survey.holders.items():
            if (names := state.get(path)) is None:
                continue  # of a cache that came later
            current = {name: value for name, value in holder.values().items() if name in survey.state[path]}
            for name in current.keys() - names.keys():
                holder.remove(name)
            for name, value in names.items():
                if value is not _OBJECT and (name not in current or not same(survey.state[path][name], value)):
                    holder.put(name, decode(value))
        self._survey = _Survey(self._roots, self._carried)

    def put_changes(self, changed: Mapping[str, Any]) -> None:
        """Let everything be as in the beginning but for these changes. Raises `ComponentError` if it has no place."""
        state = {path: dict(names) for path, names in self.first.items()}
        for path, change in changed.items():
            if path not in state:
                raise ComponentError(f"{path} held something when the checkpoint was written, and does not exist now")
            state[path] = {name: value for name, value in state[path].items() if name not in change["gone"]}
            state[path] |= change["new"]
        self.put(state)


class _Survey:
    """One look at everything within reach: what of it is plain, and what no checkpoint could hold."""

    def __init__(self, roots: Mapping[str, object], carried: Callable[[], Iterator[Tensor]]) -> None:
        reachable = Reachable(roots, carried())
        self.holders: Mapping[str, Holder] = reachable.holders
        self.opaque: Mapping[str, object] = reachable.others
        self.state: dict[str, dict[str, Any]] = {path: {} for path in self.holders}
        self._held = [(holder, tuple(holder.values().values())) for holder in self.holders.values()]
        self._moving: list[_Moving] = []
        for path, name, value in reachable.plain:
            self._note(path, name, value)
        for path, thing in self.opaque.items():
            if is_iterator(thing):
                raise _refused(f"{path} is an iterator, whose place moves as it is read", "keep a number there")

    def is_current(self) -> bool:
        """Whether every object holds the very same things, whatever lies inside of them."""
        for holder, values in self._held:
            now = holder.values()
            if len(now) != len(values) or not all(map(is_, now.values(), values)):
                return False
        return True

    def refreshed(self) -> State:
        """The state, with what lists, dicts, tensors and generators hold by now."""
        for place, one in enumerate(self._moving):
            if one.sign is None or one.sign != _sign(one.value):
                encoded = _encoded(one.path, one.name, one.value)
                if not same(encoded, self.state[one.path][one.name]):
                    self._moving[place] = self._take(one.path, one.name, one.value)
        return self.state

    def check_large(self) -> None:
        """Raise `ComponentError` if something large has changed without a sign of it."""
        for one in self._moving:
            if one.sign is not None and one.checksum != _checksum(one.value):
                raise _refused(
                    f"{one.path}.{one.name} is large and written into as steps are taken", "keep what changes apart"
                )

    def _note(self, path: str, name: str, value: Any) -> None:
        """Put a value into the state, and keep in mind to look at it again if it may change."""
        if value is OBJECT:
            self.state[path][name] = _OBJECT
        elif is_constant(value):
            self.state[path][name] = encode(value)
        else:
            self._moving.append(self._take(path, name, value))

    def _take(self, path: str, name: str, value: Any) -> _Moving:
        """Put a value into the state, which is made anew: who was given it keeps what it was."""
        large = _weight(value) > _LARGE
        self.state = {**self.state, path: {**self.state[path], name: encode(copied(value))}}
        return _Moving(path, name, value, _sign(value) if large else None, _checksum(value) if large else 0)


def _encoded(path: str, name: str, value: Any) -> Any:
    try:
        return encode(value, f"{path}.{name}")
    except NotPlainError as error:  # a list that was plain at first
        raise _refused(f"{path}.{name} holds {error}", "keep such values there") from error


class _Moving(NamedTuple):
    """A value that may change while it stays the same object. A large one is looked through at checkpoints alone."""

    path: str
    name: str
    value: Any
    sign: int | None
    checksum: int


def _sign(value: Any) -> int:
    """What mostly shows that a large value was written to: a tensor's version, how many things a container holds."""
    return value._version if isinstance(value, Tensor) else len(value) if hasattr(value, "__len__") else 0


def _weight(value: Any) -> int:
    """How many numbers and texts a value holds, as far as it matters."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if not isinstance(value, list | tuple | set | frozenset | deque):
        return 1
    return len(value) if len(value) > _LARGE else sum(map(_weight, value))


def _checksum(value: Any) -> int:
    """A checksum of all that a value holds."""
    sum_ = 0
    for part in _parts(encode(value)):
        sum_ = crc32(part, sum_)
    return sum_


def _parts(encoded: Any) -> Iterator[Any]:
    if isinstance(encoded, Tensor):
        yield encoded.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    elif isinstance(encoded, dict):
        for name, item in encoded.items():
            yield repr(name).encode()
            yield from _parts(item)
    elif isinstance(encoded, list | tuple):
        for item in encoded:
            yield from _parts(item)
    else:
        yield repr(encoded).encode()


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


def _refused(what: str, right: str) -> ComponentError:
    return ComponentError(
        f"{what}, and no checkpoint can hold that" + (f"; {right}, or register a buffer" if right else "")
    )

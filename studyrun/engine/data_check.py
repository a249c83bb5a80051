"""Data sets as plugins return them: every fault that the tensors themselves can tell, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from studyrun.component import Data, Split

AT_ONCE = 4096  # examples whose values are looked at together
INPUTS = (torch.float32, torch.float64, torch.int64)
ADVICE = {
    torch.uint8: "`.float() / 255` would be right for images, `.long()` for tokens",
    torch.bool: "`.float()` would be right",
    torch.float16: "`.float()` would be right",
    torch.bfloat16: "`.float()` would be right",
    torch.complex64: "`torch.view_as_real` would give real and imaginary parts",
    torch.complex128: "`torch.view_as_real` would give real and imaginary parts",
}


def data_faults(data: object, dtype: torch.dtype) -> Iterator[str]:
    """What is wrong with a data set for a study of this precision: the whole of it is looked at."""
    wrong = form_faults(data)
    yield from wrong
    if wrong or not isinstance(data, Data):
        return
    yield from _decoration_faults(data)
    for name, split in _splits(data).items():
        yield from _value_faults(name, split, data, dtype)


def form_faults(data: object) -> list[str]:
    """What is wrong with types and shapes, and with what is said beside them: values are not looked at."""
    if not isinstance(data, Data):
        return [f"`load` returns a {type(data).__name__}; `Data(train, test, classes, outputs)` would be right"]
    wrong = [fault for name, split in _splits(data).items() for fault in _split_faults(name, split)]
    wrong += _description_faults(data)
    return wrong or list(_pair_faults(data))


def _splits(data: Data) -> dict[str, Split]:
    return {"training": data.train} | ({} if data.test is None else {"test": data.test})


def tidied(data: Data) -> Data:
    """Sound data with plain numbers and texts for numpy's, and no test set where that has no examples."""
    return replace(
        data,
        test=data.test if data.test is not None and len(data.test) else None,
        classes=tuple(map(str, data.classes)),
        outputs=int(data.outputs),
        mean=tuple(map(float, data.mean)),
        deviation=tuple(map(float, data.deviation)),
    )


def data_warnings(data: Data) -> Iterator[str]:
    """What of sound data may not be as it was meant."""
    if data.test is not None and not len(data.test):
        yield "the test split has no examples, and is taken as no test set"
    elif data.test is not None and (shared := _shared_examples(data.train.inputs, data.test.inputs)):
        yield f"{shared} test examples are training examples: they lie at the same place in memory"
    if not len(data.classes) and not data.train.targets.is_floating_point():
        yield "targets are whole numbers and no classes are named, so that no accuracy is recorded"


# --- what the tensors are --------------------------------------------------------------------------------------------


def _split_faults(name: str, split: object) -> Iterator[str]:
    if not isinstance(split, Split):
        yield f"the {name} split is a {type(split).__name__}; `Split(inputs, targets)` would be right"
        return
    parts = {"inputs": (split.inputs, INPUTS), "targets": (split.targets, INPUTS)}
    wrong = [fault for part, (one, types) in parts.items() for fault in _tensor_faults(f"{name} {part}", one, types)]
    yield from wrong
    if wrong:
        return
    if len(split.inputs) != len(split.targets):
        yield f"{len(split.inputs)} {name} inputs do not go with {len(split.targets)} targets: as many would be right"
    if name == "training" and not len(split.inputs):
        yield "the training split has no examples"
    if split.inputs[:0].numel() == 0 and 0 in split.inputs.shape[1:]:
        yield f"a {name} input has the shape {tuple(split.inputs.shape[1:])}, which holds no number"
    if not split.targets.is_floating_point() and split.targets.dim() != 1:
        shape = tuple(split.targets.shape)
        yield f"{name} targets are whole numbers of shape {shape}; ({shape[0]},) would be right: a class each"


def _tensor_faults(what: str, value: object, types: Sequence[torch.dtype]) -> Iterator[str]:
    if isinstance(value, np.ndarray):
        yield f"{what} are a numpy array; `torch.from_numpy(...)` would be right"
    elif not isinstance(value, Tensor):
        yield f"{what} are a {type(value).__name__}; a torch tensor would be right"
    elif value.layout != torch.strided or value.is_quantized:
        yield f"{what} are a {'quantized' if value.is_quantized else 'sparse'} tensor; a dense one would be right"
    elif value.device.type == "meta":
        yield f"{what} are a tensor without values (device meta)"
    elif value.dim() == 0:
        yield f"{what} are a single number; a first dimension of examples would be right"
    elif value.dtype not in types:
        whole = not (value.is_floating_point() or value.is_complex())
        advice = (
            "`.long()`, which is int64, would be right"
            if whole and (what.endswith("targets") or value.dtype not in ADVICE)
            else ADVICE.get(value.dtype, "float32 would be right")
        )
        yield f"{what} are {type_name(value.dtype)}; {advice}"
    elif value.requires_grad:
        yield f"{what} require a gradient; `.detach()` would be right"


def type_name(dtype: torch.dtype) -> str:
    """`float32` for torch's own name of it."""
    return str(dtype).removeprefix("torch.")


def _description_faults(data: Data) -> Iterator[str]:
    """Of what is said beside the tensors: how many outputs, which classes."""
    if isinstance(data.outputs, bool) or not isinstance(data.outputs, Integral) or data.outputs < 1:
        yield f"outputs is {data.outputs!r}; how many numbers a model has to give for an example would be right"
    if isinstance(data.classes, str):
        yield f"classes is the text {data.classes!r}; a tuple of names would be right"
        return
    names = [str(name) for name in data.classes]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        yield f"the class {repeated[0]!r} is named {names.count(repeated[0])} times; a name for each would be right"
    if not all(name.strip() for name in names):
        yield f"class {next(i for i, name in enumerate(names) if not name.strip())} has no name"


def _pair_faults(data: Data) -> Iterator[str]:
    """Of training and test split held against each other."""
    if data.test is None or not len(data.test):
        return
    for part in ("inputs", "targets"):
        own, other = getattr(data.train, part), getattr(data.test, part)
        if own.shape[1:] != other.shape[1:]:
            shapes = f"test {part} have the shape {tuple(other.shape[1:])} each and training {part}"
            yield f"{shapes} {tuple(own.shape[1:])}; one shape would be right"
        if own.dtype != other.dtype:
            types = f"test {part} are {type_name(other.dtype)} and training {part} {type_name(own.dtype)}"
            yield f"{types}; one type would be right"


def _decoration_faults(data: Data) -> Iterator[str]:
    """Of the numbers that undo the normalisation."""
    if len(data.mean) != len(data.deviation):
        yield f"mean has {len(data.mean)} entries and deviation {len(data.deviation)}; as many would be right"
    channels = data.example_shape[0] if data.example_shape else 1
    for name, numbers in (("mean", data.mean), ("deviation", data.deviation)):
        if len(numbers) not in (0, 1, channels):
            yield f"{name} has {len(numbers)} entries for {channels} channels; one for each would be right"
        if not all(isinstance(one, Real) and isfinite(one) for one in numbers):
            yield f"{name} holds something else than finite numbers"
    if any(isinstance(one, Real) and one <= 0 for one in data.deviation):
        yield "deviation holds a number that is not above 0"


# --- what they hold --------------------------------------------------------------------------------------------------


def _value_faults(name: str, split: Split, data: Data, dtype: torch.dtype) -> Iterator[str]:
    if not len(split):
        return
    for part, tensor in (("inputs", split.inputs), ("targets", split.targets)):
        if tensor.is_floating_point() and (found := first_not_finite(tensor, dtype)) is not None:
            place, value = found
            why = "" if not isfinite(value) else f", beyond the range of {type_name(dtype)}"
            yield f"{name} {part} hold {value:g}{why}, first in example {place}; finite numbers would be right"
    if not split.targets.is_floating_point():
        yield from _label_faults(name, split.targets, data)


def first_not_finite(tensor: Tensor, dtype: torch.dtype) -> tuple[int, float] | None:
    """The first example with a value that is not finite in this type, and that value as it was given; or None."""
    for start in range(0, len(tensor), AT_ONCE):
        rows = tensor[start : start + AT_ONCE].flatten(1) if tensor.dim() > 1 else tensor[start : start + AT_ONCE, None]
        wrong = ~rows.to(dtype).isfinite()
        if wrong.any():
            place = int(wrong.any(1).nonzero()[0])
            return start + place, float(rows[place][wrong[place]][0])
    return None


def _label_faults(name: str, labels: Tensor, data: Data) -> Iterator[str]:
    """Labels count from 0; a single output stands for two classes."""
    low, high = int(labels.min()), int(labels.max())
    outputs = int(data.outputs)
    known = len(data.classes) or (outputs if outputs > 1 else 0)
    if outputs == 1 < known and known != 2:
        yield f"{known} classes are named for a single output; `outputs={known}` would be right, or two classes"
    elif outputs > 1 and known > outputs:
        yield f"{known} classes are named for {outputs} outputs; `outputs={known}` would be right"
    if low < 0 or (known and high >= known):
        place = int((labels < 0).logical_or(labels >= (known or high + 1)).nonzero()[0])
        right = f"0 to {known - 1}" if known else "0 and up"
        names = f", for there are {f'{known} classes' if len(data.classes) else f'{known} outputs'}" if known else ""
        first = f"{name} labels run from {low} to {high} (example {place} is the first outside)"
        yield f"{first}; {right} would be right{names}"


def _shared_examples(own: Tensor, other: Tensor) -> int:
    """How many examples of one tensor are, in memory, examples of the other."""
    same = own.untyped_storage().data_ptr() == other.untyped_storage().data_ptr() and own.stride() == other.stride()
    if not same or not len(own) or not len(other) or own.stride(0) == 0:
        return 0
    apart, rest = divmod(int(other.storage_offset()) - int(own.storage_offset()), own.stride(0))
    return 0 if rest else max(0, min(len(own), apart + len(other)) - max(0, apart))

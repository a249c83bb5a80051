"""A model as its plugin builds it: whether its parameters can be trained as they are, and its way into the study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from studyrun.component import Data


def model_faults(model: object) -> Iterator[str]:
    """What is wrong with a model that has just been built. Parameters that are lazy have to be made before."""
    if not isinstance(model, nn.Module):
        yield f"`build` returns a {type(model).__name__}; a torch module would be right"
        return
    parameters = dict(model.named_parameters())
    if not any(parameter.requires_grad for parameter in parameters.values()):
        have = f"all of its {len(parameters)} parameters have requires_grad=False" if parameters else "it has none"
        yield f"no parameter can be trained: {have}"
    for name, parameter in parameters.items():
        if is_lazy(parameter):
            yield f"parameter {name!r} is not made by a forward pass; give its layer the size of its input"
        elif parameter.device.type == "meta":
            yield f"parameter {name!r} has no values (device meta); the CPU would be right"
        elif parameter.is_complex() and parameter.requires_grad:
            yield f"parameter {name!r} is complex; its real and imaginary parts as two parameters would be right"
        elif _folded(parameter):
            yield f"parameter {name!r} is an expanded tensor, whose entries share memory; `.clone()` would be right"
    yield from _shared_memory(parameters, dict(model.named_buffers()))


def _shared_memory(parameters: Mapping[str, nn.Parameter], buffers: Mapping[str, Tensor]) -> Iterator[str]:
    """Of different tensors on the same memory: as functions of one vector they are two, and as memory they are one."""
    tensors: dict[str, tuple[str, Tensor]] = {name: ("parameter", one) for name, one in parameters.items()}
    tensors |= {name: ("buffer", one) for name, one in buffers.items()}
    by_storage: dict[int, list[str]] = {}
    for name, (_, tensor) in tensors.items():
        if not is_lazy(tensor) and tensor.numel():
            by_storage.setdefault(tensor.untyped_storage().data_ptr(), []).append(name)
    for names in by_storage.values():
        for one, other in combinations(names, 2):
            if tensors[one][0] == "parameter" and _overlap(tensors[one][1], tensors[other][1]):
                yield (
                    f"parameter {one!r} and {tensors[other][0]} {other!r} are different tensors on the same memory; to "
                    "tie them, give both names one Parameter, or take the view in `forward`"
                )


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether the stretches of memory that two tensors of one storage lie on overlap."""
    first, second = (_extent(tensor) for tensor in (one, other))
    return first[0] < second[1] and second[0] < first[1]


def _extent(tensor: Tensor) -> tuple[int, int]:
    """The bytes from the first to behind the last entry, within the storage."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    first, size = int(tensor.storage_offset()), tensor.element_size()
    return first * size, (first + reach + 1) * size


def _folded(tensor: Tensor) -> bool:
    """Whether several entries of the tensor are one number in memory."""
    return any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def make_lazy_parameters(model: nn.Module, data: Data) -> None:
    """Pass two examples through a model with lazy layers, in evaluation mode, so that these learn their sizes.

    They draw their first values from the global generators, which the caller has seeded for the model's initialisation.
    """
    if not any(is_lazy(one) for one in (*model.parameters(), *model.buffers())):
        return
    few = data.train.inputs[:2]
    if few.is_floating_point():
        few = few.to(next((one.dtype for one in model.parameters() if one.is_floating_point()), few.dtype))
    with torch.no_grad():
        model.eval()(few)


def placed(model: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The model in the study's precision, on its device; complex buffers stay complex, whole numbers whole."""

    def convert(tensor: Tensor) -> Tensor:
        kind = dtype.to_complex() if tensor.is_complex() else dtype if tensor.is_floating_point() else None
        moved = tensor.to(device=device, dtype=kind)
        return moved.contiguous() if _folded(moved) else moved

    model._apply(convert)  # type: ignore[no-untyped-call]
    return model

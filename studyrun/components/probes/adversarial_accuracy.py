"""How many examples stay right when an adversary may move them a little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from studyrun.plugin import (
    Carry,
    Channel,
    Context,
    Field,
    Probe,
    ProbeError,
    Reading,
    Snapshot,
    Split,
    curvature,
    model_validator,
)

Norm = Literal["linf", "l2"]
EPSILON: Mapping[Norm, float] = {"linf": 8 / 255, "l2": 0.5}
SYMBOL: Mapping[Norm, str] = {"linf": "‖δ‖∞", "l2": "‖δ‖₂"}


class AdversarialAccuracy(Probe):
    """Accuracy and loss under projected gradient descent on the inputs, beside the accuracy on the same clean examples.

    δ ← Π(δ + α · direction(∇_δ J)), from a random δ in the ball ‖δ‖ ≤ ε, with the sign of the gradient under `linf` and
    the gradient over its norm under `l2`. δ is in units of the raw image, pixels from 0 to 1, where the data set names
    its normalisation, and of the model's inputs otherwise, as the trace says. An example counts as right if it is so
    clean and after every restart. The network is in evaluation mode. `loss` is the mean over examples of the largest
    loss among clean input and restarts. An attack gives upper bounds of the accuracy, no certificate.

    J is by default the margin max_{j≠y} f_j − f_y, on which accuracy turns: the study's loss need not rise towards the
    boundary, the squared error rising away from it where f_y exceeds its target. Cost: restarts · steps gradients by
    the inputs, each about a gradient evaluation on the examples attacked (0.8 of one for convolutional networks, 1.3
    for an MLP on CIFAR-10), and restarts + 1 forward passes. Memory: some copies of those examples, besides a chunk's
    pass through the model.

    Source: Madry et al. 2018, arXiv 1706.06083, Section 2.1 and Table 2 for linf, ε = 8/255, α = ε/4, 20 steps and a
    random start; Carlini and Wagner 2017, arXiv 1608.04644, for the margin; Croce et al. 2021, arXiv 2010.09670, for
    ε = 0.5 under l2. Drawn in Kwag et al. 2026, arXiv 2606.04212, Figure 9, which does not say what it attacks with.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:1706.06083", "arXiv:2606.04212")
    figures: ClassVar[tuple[str, ...]] = ("adversarial_accuracy",)
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 50}

    norm: Norm = "linf"
    """The ball's norm: the largest change of a value of an image, or the Euclidean length of all changes."""
    epsilon: Annotated[float, Field(ge=0)] | None = None
    """The ball's radius ε; null is 8/255 under linf, 0.5 under l2."""
    steps: Annotated[int, Field(ge=1)] = 20
    """Steps of each restart."""
    step: Annotated[float, Field(gt=0)] | None = None
    """The length α of a step; null is ε/4, and with fewer than four steps ε/steps."""
    restarts: Annotated[int, Field(ge=1)] = 1
    """How often the attack begins anew."""
    random_start: bool = True
    """Begin anywhere in the ball, uniformly; false begins at the clean input."""
    objective: Literal["margin", "loss"] = "margin"
    """J, which the attack makes large: the margin of the wrong class over the right one, or the study's own loss."""
    box: bool = True
    """Keep pixels of the raw image within 0 and 1, where the data set names its normalisation. One that lies outside
    from the start, as in prototypes, may only move inwards."""
    split: Literal["train", "test"] = "test"
    """Which examples are attacked."""
    group: str | None = None
    """Attack only this group's training examples."""
    examples: Annotated[int, Field(ge=1)] | None = 500
    """At most so many of them, evenly spread over the set; null for all."""

    @model_validator(mode="after")
    def _consistent(self) -> AdversarialAccuracy:
        if self.group is not None and self.split == "test":
            raise ValueError("the examples of a group are training examples: give `split: train` with `group`")
        if self.restarts > 1 and not self.random_start:
            raise ValueError("without a random start all restarts are the same: `restarts: 1` would be right")
        if self.steps * self._step < self._epsilon * (1 - 1e-9):
            least = self._epsilon / self.steps
            raise ValueError(f"{self.steps} steps of {self._step:.4g} never cross the ball: give a step of {least:.4g}")
        return self

    @property
    def _epsilon(self) -> float:
        return EPSILON[self.norm] if self.epsilon is None else self.epsilon

    @property
    def _step(self) -> float:
        return self._epsilon / min(4, self.steps) if self.step is None else self.step

    def channels(self, context: Context) -> Sequence[Channel]:
        if context.data.train.targets.is_floating_point() or context.data.outputs < 2:
            raise ProbeError("accuracy needs classes: this data set is for regression; take the probe out")
        if not context.classifies:
            raise ProbeError("accuracy needs a loss that says which class an output stands for (`correct`)")
        self._attacked(context)
        scaled = bool(context.data.deviation)
        attack = f"under attack within {SYMBOL[self.norm]} ≤ {self._epsilon:.4g} of the "
        attack += "raw image" if scaled else "model's input"
        attack += ", which stays in [0, 1]" if scaled and self.box else ""
        whom = {"train": "training examples", "test": "test examples"}[self.split]
        whom += f" of the group {self.group}" if self.group else ""
        return [
            Channel("accuracy", f"accuracy on {whom} {attack}", source="arXiv:1706.06083"),
            Channel("clean_accuracy", f"accuracy on the same {whom}, clean"),
            Channel("loss", f"loss on {whom} {attack}", (), "max ℓ(x + δ)", context.loss.units),
            Channel("examples", f"{whom} attacked", dtype="int64"),
        ]

    def _attacked(self, context: Context) -> Split:
        """The examples, evenly from all there are; raises `ProbeError` where there are none."""
        whole = context.data.train if self.split == "train" else context.data.test
        if whole is None:
            raise ProbeError("there is no test set to attack here; `split: train` would be right")
        if self.group is not None:
            if self.group not in context.groups:
                raise ProbeError(f"there is no group {self.group!r} here; there are {', '.join(context.groups)}")
            assert context.grouping is not None, "context.groups has refused a study without groups"
            whole = whole.take(context.grouping.members[self.group])
        count = min(self.examples or len(whole), len(whole))
        return whole.take(torch.arange(count, device=whole.targets.device) * len(whole) // count)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        images, generator = self._attacked(snapshot.context), snapshot.generator("adversarial accuracy")
        clean, largest = _judged(snapshot, images, images.inputs)
        right = clean
        for _ in range(self.restarts):
            start = self._start(images.inputs, generator)
            parts = (torch.split(part, snapshot.chunk_size) for part in (images.inputs, images.targets, start))
            moved = [self._climb(snapshot, Split(x, y), delta) for x, y, delta in zip(*parts, strict=True)]
            still, losses = _judged(snapshot, images, torch.cat(moved))
            right, largest = right & still, torch.maximum(largest, losses)
        reading = {
            "accuracy": right.double().mean(),
            "clean_accuracy": clean.double().mean(),
            "loss": largest.double().mean(),
            "examples": len(images),
        }
        return reading, carry

    def _start(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """δ of every example, uniform in the ball; drawn at once, lest chunks change what is drawn."""
        if not self.random_start:
            return torch.zeros_like(inputs)
        drawn = torch.empty(inputs.shape, dtype=inputs.dtype)
        if self.norm == "linf":
            return drawn.uniform_(-self._epsilon, self._epsilon, generator=generator).to(inputs.device)
        directions = _normalised(drawn.normal_(generator=generator))
        shares = torch.empty(len(drawn), dtype=drawn.dtype).uniform_(generator=generator)
        radii = self._epsilon * shares ** (1 / drawn[0].numel())  # a ball of radius r holds r^pixels of the volume
        return (_over_rows(radii, drawn) * directions).to(inputs.device)

    def _climb(self, snapshot: Snapshot, images: Split, start: Tensor) -> Tensor:
        """The inputs that the attack arrives at from δ = `start`."""
        region = self._region(images.inputs, snapshot.context)
        parameters, delta = list(snapshot.parameters.values()), region.project(start)
        for _ in range(self.steps):
            delta = delta.detach().requires_grad_()
            outputs = snapshot.forward(parameters, images.inputs + delta / region.deviation, statistics="eval")
            height = self._height(snapshot.context, outputs, images.targets).sum()
            slope = torch.autograd.grad(height, delta)[0].nan_to_num()  # no way to go where it is no number
            ahead = slope.sign() if self.norm == "linf" else _normalised(slope)
            delta = region.project(delta.detach() + self._step * ahead)
        return images.inputs + delta / region.deviation

    def _height(self, context: Context, outputs: Tensor, targets: Tensor) -> Tensor:
        """J of each example."""
        if self.objective == "loss":
            return context.loss.per_example(outputs, targets)
        right = targets[:, None]
        return outputs.scatter(1, right, -torch.inf).amax(1) - outputs.gather(1, right)[:, 0]

    def _region(self, inputs: Tensor, context: Context) -> _Region:
        if not context.data.deviation:
            return _Region(self.norm, self._epsilon, inputs.new_ones(()), None)
        mean, deviation = (
            inputs.new_tensor(numbers).view(-1, *[1] * (inputs.ndim - 2))
            for numbers in (context.data.mean, context.data.deviation)
        )
        raw = inputs * deviation + mean
        room = ((-raw).clamp(max=0), (1 - raw).clamp(min=0)) if self.box else None  # never without δ = 0
        return _Region(self.norm, self._epsilon, deviation, room)


@dataclass(frozen=True)
class _Region:
    """Where the δ of some images may lie: a ball, and the box `room` (lowest and highest δ), which holds δ = 0.

    `deviation` is how much of the raw image one unit of the model's input is.
    """

    norm: Norm
    epsilon: float
    deviation: Tensor
    room: tuple[Tensor, Tensor] | None

    def project(self, delta: Tensor) -> Tensor:
        """A point of the region near δ: the nearest of the ball, cut off at the box, which leads out of neither."""
        if self.norm == "linf":
            delta = delta.clamp(-self.epsilon, self.epsilon)
        else:
            lengths = torch.linalg.vector_norm(delta.flatten(1), dim=1)
            delta = delta * _over_rows((self.epsilon / lengths).where(lengths > self.epsilon, 1), delta)
        return delta if self.room is None else delta.clamp(*self.room)


def _judged(snapshot: Snapshot, images: Split, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Which examples are classified rightly at `inputs`, (n,), and their losses, (n,)."""
    loss, outputs = snapshot.context.loss, snapshot.outputs(inputs)
    correct = loss.correct(outputs, images.targets)
    assert correct is not None, "channels() has refused targets that are no classes"
    return correct, loss.per_example(outputs, images.targets)


def _over_rows(numbers: Tensor, like: Tensor) -> Tensor:
    """One number for each example, shaped to multiply a tensor (n, ...)."""
    return numbers.view(-1, *[1] * (like.ndim - 1))


def _normalised(vectors: Tensor) -> Tensor:
    """Each example's vector over its Euclidean norm, though its square be no number; zero stays zero."""
    vectors = vectors / _over_rows(curvature.magnitudes(vectors.flatten(1)).to(vectors), vectors)
    lengths = torch.linalg.vector_norm(vectors.flatten(1), dim=1)
    return vectors / _over_rows(lengths.where(lengths > 0, 1), vectors)

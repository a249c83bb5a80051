"""The residual networks for CIFAR, for `model: {use: resnet_cifar}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import nn
from torch.nn import functional

from studyrun.plugin import ComponentError, Field, LayerInit, Model, field_validator

if TYPE_CHECKING:
    from torch import Tensor

STAGES = 3


class ResnetCifar(Model):
    """The residual networks for small images with 6n + 2 layers: 14, 20, 32, 56, 110 and any other such depth.

    A 3 × 3 convolution, three stages of n basic blocks with `width`, 2 and 4 `width` channels, the mean over the image,
    a linear layer. A block is relu(shortcut(x) + N(conv(relu(N(conv(x)))))), N the normalisation; stages but the first
    begin with stride 2. Shortcuts have no parameters ("option A"): every second row and column, the channels that are
    new being 0. Convolutions have no bias. The defaults are the ResNet-14 of arXiv 2606.04212, of 171,058 parameters
    with two outputs, which it draws with `init: {scale: 0.2}`; the networks of He et al. are `norm: batch,
    zero_residual: false, last_deviation: null`, of 0.85 M parameters at depth 56 and 1.7 M at 110. Parameters are
    called `stem.weight`, `blocks.0.conv1.weight`, …, `last.weight`.

    Source: He et al. 2015, arXiv 1512.03385, Section 4.2 and Table 6; Kwag et al. 2026, arXiv 2606.04212.
    """

    depth: Annotated[int, Field(ge=8)] = 14
    """Layers with weights, 6n + 2: two in each of the 3n blocks, and the first and the last."""
    width: Annotated[int, Field(ge=1)] = 16
    """Channels of the first stage."""
    norm: Literal["batch", "none"] = "none"
    """Batch normalisation after every convolution, or none: then an example's loss is its own, whatever the chunks."""
    init: LayerInit = LayerInit()
    """How the convolutions are drawn, and the last layer without `last_deviation`."""
    zero_residual: bool = True
    """Start every block as its shortcut: its second convolution is 0, or with batch normalisation its last scale."""
    last_deviation: Annotated[float, Field(ge=0)] | None = 0.01
    """The last layer's weights are normal with this standard deviation, as torch's `normal_` reads (0, 0.01); null: as
    `init` says."""

    @field_validator("depth")
    @classmethod
    def _of_whole_blocks(cls, depth: int) -> int:
        below = depth - (depth - 2) % (2 * STAGES)
        if below != depth:
            raise ValueError(f"a depth is 6n + 2 layers, {below} or {below + 2 * STAGES} for example, not {depth}")
        return depth

    def build(self, example_shape: tuple[int, ...], outputs: int, init: torch.Generator) -> nn.Module:
        """Return the network in float64, drawn layer by layer. Raises `ComponentError` for examples that are no images.

        Convolutions that `zero_residual` silences are drawn all the same, so that networks of one seed share the rest.
        """
        if len(example_shape) != 3:
            raise ComponentError(
                f"model resnet_cifar: needs images (channels, height, width), not examples of {example_shape}"
            )
        # Made without memory first, since layers fill what they make from the global generator.
        with torch.device("meta"):
            module = _Network(self, example_shape[0], outputs).double()
        module.to_empty(device="cpu")
        with torch.no_grad():
            self._fill(module, init)
        return module

    def _fill(self, module: _Network, generator: torch.Generator) -> None:
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                self.init.fill(layer, generator)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
        last = self.init
        if self.last_deviation is not None:
            last = LayerInit(scheme="normal", scale=self.last_deviation, bias=self.init.bias)
        last.fill(module.last, generator)
        if self.zero_residual:
            silent = "conv2.weight" if self.norm == "none" else "norm2.weight"
            for name, parameter in module.named_parameters():
                if name.endswith(silent):
                    parameter.zero_()


class _Network(nn.Module):
    """The first convolution, the blocks of all stages, and the last layer on the mean over the image."""

    def __init__(self, options: ResnetCifar, channels: int, outputs: int) -> None:
        super().__init__()
        widths = [options.width << stage for stage in range(STAGES) for _ in range((options.depth - 2) // (2 * STAGES))]
        self.stem, self.norm = _convolution(options, channels, options.width)
        pairs = zip([options.width, *widths], widths, strict=False)
        self.blocks = nn.ModuleList(_Block(options, inside, outside) for inside, outside in pairs)
        self.last = nn.Linear(widths[-1], outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (n, o) on images (n, channels, height, width)."""
        values = functional.relu(self.norm(self.stem(inputs)))
        for block in self.blocks:
            values = block(values)
        outputs: Tensor = self.last(values.mean(dim=(2, 3)))
        return outputs


class _Block(nn.Module):
    """Two convolutions beside a shortcut; where the channels become more, the image becomes half as high and wide."""

    def __init__(self, options: ResnetCifar, inside: int, outside: int) -> None:
        super().__init__()
        self.stride, self.new_channels = 1 if inside == outside else 2, outside - inside
        self.conv1, self.norm1 = _convolution(options, inside, outside, self.stride)
        self.conv2, self.norm2 = _convolution(options, outside, outside)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return relu(shortcut + what the convolutions add)."""
        added = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(inputs)))))
        # The zeros come last: where they stand among the channels only names the channels of the next convolution.
        shortcut = functional.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return functional.relu(shortcut + added)


def _convolution(options: ResnetCifar, inside: int, outside: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    norm = nn.BatchNorm2d(outside) if options.norm == "batch" else nn.Identity()
    return nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False), norm

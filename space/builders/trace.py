"""The exact cost of any torch module, from one pass on the meta device, which computes nothing.

The convention is that of `phinas.space.cost`. Counted are the multiply-adds of convolutions,
linear layers and matrix products, attention included (torch's formulas, which count two operations
for each). Not counted: norms, activations, pooling, padding, softmax, embeddings, additions and
multiplications of maps, and the addition of a bias. Activations are the output elements of what is
counted.

Peak activations are those of `phinas.space.cost` for a module without known blocks: what keeps the
number of elements of an input that is not used again is done in place, as is padding, and all
that is still to be used is in memory.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from phinas.space.builders.meta_module import (
    count_params,
    drop_probabilities,
    hash_parts,
    tensor_shapes,
)
from phinas.space.cost import Cost

_ATEN = torch.ops.aten
# Shapes are all that is needed of them, and torch takes most of its time for these.
_BATCH_NORMS = {
    _ATEN.native_batch_norm.default,
    _ATEN._native_batch_norm_legit_no_training.default,
}


class TraceError(ValueError):
    """A module does not compute logits of an image."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What one pass of a module shows.

    Attributes:
        network_id: A hash of the shapes of parameters and of all operations with their shapes.
        cost: For one image.
        flops_by_size: The FLOPs of the layers whose output has this height in px, or as many rows
            as a map of this height; 0: those that do not depend on the resolution.
    """

    network_id: str
    cost: Cost
    flops_by_size: Mapping[float, int]


@dataclass(slots=True)
class _Step:
    """An operation. Tensors are numbers of storages."""

    inputs: list[int]
    outputs: list[int]
    is_counted: bool
    is_padding: bool


@dataclass
class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations of a pass."""

    names: dict[int, int] = field(default_factory=dict)  # number of each storage
    sizes: list[int] = field(default_factory=list)  # elements of each storage
    steps: list[_Step] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)  # so that no storage is used twice
    flops_by_size: dict[float, int] = field(default_factory=dict)
    activations: int = 0
    primitives: set[Any] = field(default_factory=set)  # operations that are not made of others

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def number(self, tensor: Tensor) -> int:
        """The number of a tensor's storage."""
        key = tensor.untyped_storage()._cdata
        if key not in self.names:
            self.names[key] = len(self.sizes)
            self.sizes.append(tensor.numel())
            self.tensors.append(tensor)
        return self.names[key]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        count_flops = flop_registry.get(func._overloadpacket)
        if count_flops is None and func not in self.primitives:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
            self.primitives.add(func)
        arguments = list(_leaves((*args, *kwargs.values())))
        inputs = [self.number(leaf) for leaf in arguments if isinstance(leaf, Tensor)]
        shapes = [_describe(leaf) for leaf in arguments]
        if func in _BATCH_NORMS:
            empty = torch.empty(0, device="meta")
            result = torch.empty_like(args[0]), empty, empty
        else:
            result = func(*args, **kwargs)
        outputs = [leaf for leaf in _leaves([result]) if isinstance(leaf, Tensor)]
        numbers = [self.number(leaf) for leaf in outputs]
        output_shapes = [tuple(leaf.shape) for leaf in outputs]
        self.operations.append(f"{func} {inputs} {shapes} {numbers} {output_shapes}")
        if count_flops is not None:
            self._count(count_flops(*args, **kwargs, out_val=result) // 2, outputs[0])
        is_padding = func is _ATEN.constant_pad_nd.default
        self.steps.append(_Step(inputs, numbers, count_flops is not None, is_padding))
        return result

    def _count(self, flops: int, output: Tensor) -> None:
        shape = output.shape
        if len(shape) == 4:
            size = 0.0 if shape[2] == 1 else float(shape[2])
        else:
            size = 0.0 if shape[-2] == 1 else math.sqrt(shape[-2])
        self.flops_by_size[size] = self.flops_by_size.get(size, 0) + flops
        self.activations += output.numel()


def trace(module: nn.Module, *, channels: int, resolution: int, classes: int) -> Trace:
    """Trace a module of the meta device for one image.

    Args:
        module: From images (N, channels, resolution, resolution) to logits (N, classes), in
            evaluation mode.
        channels: Of the images.
        resolution: In px.
        classes: Number of classes.

    Raises:
        TraceError: It returns something else.
        Exception: What the module raises.
    """
    images = torch.empty(1, channels, resolution, resolution, device="meta")
    recorder = _Recorder()
    parameters = [*module.parameters(), *module.buffers()]
    for parameter in parameters:
        recorder.number(parameter)
    num_parameters = len(recorder.sizes)
    recorder.number(images)
    with _own_attention(), torch.no_grad(), recorder:
        logits = module(images)
    if not isinstance(logits, Tensor):
        raise TraceError(f"it returns {type(logits).__name__} and not a tensor")
    if tuple(logits.shape) != (1, classes):
        raise TraceError(
            f"its output has the shape {tuple(logits.shape)} for one image and not (1, {classes})"
        )
    output = recorder.number(logits)
    cost = Cost(
        sum(recorder.flops_by_size.values()),
        count_params(module),
        recorder.activations,
        _peak_activations(recorder.steps, recorder.sizes, num_parameters, output),
    )
    identity = [*tensor_shapes(module), *drop_probabilities(module), *recorder.operations]
    return Trace(hash_parts(identity), cost, recorder.flops_by_size)


@contextmanager
def _own_attention() -> Iterator[None]:
    """Attention as matrix products, and not in kernels that hide them."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


def _leaves(values: Iterable[object]) -> Iterator[object]:
    """The values in lists and tuples."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _describe(argument: object) -> str:
    return (
        f"{tuple(argument.shape)}{argument.stride()}"
        if isinstance(argument, Tensor)
        else repr(argument)
    )


def _peak_activations(
    steps: list[_Step], sizes: list[int], num_parameters: int, output: int
) -> int:
    """The most elements in memory at one step.

    Args:
        steps: All operations.
        sizes: Elements of each storage.
        num_parameters: The first storages, which are not counted, are parameters and buffers.
        output: The storage of the logits.
    """
    last_use = {output: len(steps)}
    for index, step in enumerate(steps):
        for number in (*step.inputs, *step.outputs):
            last_use[number] = max(index, last_use.get(number, 0))
    images = num_parameters
    places = {images: images}  # where each storage is in memory: the first storage in that place
    free_at = {images: last_use.get(images, 0)}  # the last step that uses a place
    elements = {images: sizes[images]}  # of the places in use
    peak = sizes[images]
    for index, step in enumerate(steps):
        inputs = {places[number] for number in step.inputs if number in places}
        for number in step.outputs:
            is_old = number in places or number < num_parameters
            is_unused = last_use[number] == index and number != step.outputs[0]
            if is_old or is_unused:
                continue
            place = _reused_place(step, sizes[number], inputs, elements, free_at, index)
            if place is None:
                place = number
                elements[place] = sizes[number]
            places[number] = place
            free_at[place] = max(last_use[number], free_at.get(place, 0))
        alive = sum(size for place, size in elements.items() if free_at[place] >= index)
        peak = max(peak, alive)
        for place in [place for place in elements if free_at[place] <= index]:
            del elements[place]
    return peak


def _reused_place(
    step: _Step,
    size: int,
    inputs: set[int],
    elements: Mapping[int, int],
    free_at: Mapping[int, int],
    index: int,
) -> int | None:
    """The place of an input that an operation overwrites; None: there is none."""
    if step.is_counted:
        return None
    for place in sorted(inputs):
        fits = step.is_padding or elements.get(place) == size
        if place in elements and fits and free_at[place] <= index:
            return place
    return None

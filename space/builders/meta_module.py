"""A torch module without memory for its weights, and what identifies its structure.

The constructor runs with `torch.empty` on the meta device, where torch's layers have their weights,
and without initialization. Everything else stays on the CPU, since constructors often read numbers
of small tensors (`torch.linspace(0, rate, blocks).tolist()`), which the meta device does not have.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FILLING = {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_}
# attributes that the output of `extra_repr` may not show, and which decide what a layer computes
_ATTRIBUTE_TYPES = (bool, int, str)


class _WeightsOnMeta(TorchFunctionMode):
    """Makes `torch.empty` a function of the meta device, and skips what fills such a tensor."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        elif func in _FILLING or getattr(func, "__module__", "") == nn.init.__name__:
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


def build_on_meta(build: Callable[[], object]) -> object:
    """Call `build` and move the module that it returns to the meta device, in evaluation mode.

    A constructor that reads its own weights is called again on the CPU. The state of torch's
    generator is not changed.

    Returns:
        The module, or what `build` returns if it is no module.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            with _WeightsOnMeta():
                module = build()
        except Exception:  # whatever fails on the CPU too is the error
            module = build()
    return module.to("meta").eval() if isinstance(module, nn.Module) else module


def count_params(module: nn.Module) -> int:
    """The trainable numbers of a module; a shared parameter counts once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def structure_id(module: nn.Module) -> str:
    """A hash of layers, their settings and the shapes of parameters and buffers.

    Fractional attributes of the user's layers are not included, since many store the factors that
    they were made with.
    """
    return hash_parts(_structure(module))


def settings_id(module: nn.Module, *, ignored: Collection[float]) -> str:
    """A hash of the same and of fractional attributes. Modules with equal ones cost the same.

    Args:
        module: The module.
        ignored: Fractions that are left out: the factors that the module was made with.
    """
    fractions = [
        f"{name}.{key}={value!r}"
        for name, layer in module.named_modules()
        for key, value in sorted(vars(layer).items())
        if isinstance(value, float) and value not in ignored
    ]
    return hash_parts([*_structure(module), *fractions])


def tensor_shapes(module: nn.Module) -> list[str]:
    """Names, shapes and types of all parameters and buffers."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    return [f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in tensors]


def drop_probabilities(module: nn.Module) -> list[str]:
    """The probabilities of dropout and stochastic depth, which only training shows."""
    return [
        f"{name}.{attribute} {value!r}"
        for name, layer in module.named_modules()
        for attribute in ("p", "drop_prob", "drop_path")
        if isinstance(value := getattr(layer, attribute, None), float)
    ]


def hash_parts(parts: Iterable[str]) -> str:
    """Twelve hexadecimal digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _structure(module: nn.Module) -> list[str]:
    parts = tensor_shapes(module)
    for name, layer in module.named_modules():
        attributes = [
            f"{key}={value!r}"
            for key, value in sorted(vars(layer).items())
            if isinstance(value, _ATTRIBUTE_TYPES) and not key.startswith("_") and key != "training"
        ]
        parts.append(f"{name} {type(layer).__qualname__} {layer.extra_repr()} {attributes}")
    return parts

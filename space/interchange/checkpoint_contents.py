"""The state dict inside a training checkpoint.

Training programs save more than a state dict: the optimizer, the epoch, and two versions of the
weights. This module finds the weights by the tensor names of a known naming. Of several versions
the moving average (EMA) is used, since it is the one that authors evaluate and publish.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from phinas.space.interchange.state_dict_namings import (
    STATE_DICT_NAMINGS,
    StateDictNaming,
    WeightsError,
    unknown_naming_message,
)

_EMA_KEYS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "model_ema_state_dict",
    "ema",
)
_STATE_KEYS = ("state_dict", "model", "model_state_dict", "module", "net", "network", "weights")
# Parts of names that training programs put in front of the names of a network: DataParallel,
# torch.compile, Lightning and others.
_WRAPPERS = {"module", "_orig_mod", "model", "net", "network", "backbone", "encoder"}
_EMA_WRAPPERS = {"ema", "ema_model", "model_ema", "averaged_model"}
# Tensors that programs add: torch's AveragedModel, and thop, which counts operations.
_ADDED_TENSORS = ("n_averaged", "total_ops", "total_params")
_EXAMPLES = 3


@dataclass(frozen=True)
class CheckpointContents:
    """A state dict that was found in a file.

    Attributes:
        tensors: the tensors by name, without the prefix.
        naming: the naming of these names.
        key: dotted key of the state dict in the checkpoint, or "".
        prefix: what all names began with, such as "module.", or "".
        is_ema: whether it is the moving average of the weights.
        ignored: names of tensors that do not have the prefix.
        architecture: the name of the network that the checkpoint gives (`arch`), or "".
    """

    tensors: dict[str, Tensor]
    naming: StateDictNaming
    key: str = ""
    prefix: str = ""
    is_ema: bool = False
    ignored: tuple[str, ...] = ()
    architecture: str = ""

    def describe(self) -> str:
        """What was found, for the user, such as "tensors named as in timm's EfficientNet"."""
        parts = [f"tensors named as in {self.naming.description}"]
        if self.is_ema:
            parts.append(f"moving average (EMA) from {self.key or self.prefix.rstrip('.')}")
        elif self.key:
            parts.append(f"state dict from {self.key}")
        if self.prefix:
            parts.append(f"prefix {self.prefix} removed")
        if self.ignored:
            parts.append(f"other tensors ignored ({_list_names(self.ignored)})")
        return ", ".join(parts)


def find_state_dict(content: object) -> CheckpointContents:
    """Find the state dict of a network in what a file holds.

    Args:
        content: a state dict, or a dict with a state dict under a usual key, at any depth up to 3.

    Raises:
        WeightsError: no state dict has the names of a known naming.
    """
    for key, tensors in _state_dicts(content, ""):
        match = _match_prefix(tensors)
        if match is None:
            continue
        prefix, naming = match
        architecture = content.get("arch") if isinstance(content, Mapping) else None
        return CheckpointContents(
            {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix) and not name.endswith(_ADDED_TENSORS)
            },
            naming,
            key=key,
            prefix=prefix,
            is_ema=any(part in _EMA_KEYS for part in key.split(".")) or _is_ema(prefix),
            ignored=tuple(
                name
                for name in tensors
                if not name.startswith(prefix) and not name.endswith(_ADDED_TENSORS)
            ),
            architecture=architecture if isinstance(architecture, str) else "",
        )
    raise WeightsError(_describe_failure(content))


def _state_dicts(content: object, path: str, depth: int = 0) -> Iterator[tuple[str, dict]]:  # type: ignore[type-arg]
    """Dotted key and tensors of every state dict, moving averages first."""
    if not isinstance(content, Mapping) or depth > 3:
        return
    for keys in (_EMA_KEYS, ("",), _STATE_KEYS):
        for key in keys:
            if not key:
                tensors = {
                    name: value
                    for name, value in content.items()
                    if isinstance(name, str) and isinstance(value, Tensor)
                }
                if tensors:
                    yield path, tensors
            elif key in content:
                yield from _state_dicts(content[key], f"{path}.{key}" if path else key, depth + 1)


def _match_prefix(tensors: Mapping[str, Tensor]) -> tuple[str, StateDictNaming] | None:
    """The prefix of the names and their naming: a moving average, or else the shortest prefix.

    A prefix that no known program makes, such as "student.", must be the only one.
    """
    matches = [
        (not _is_ema(prefix), prefix.count("."), prefix, naming)
        for naming in STATE_DICT_NAMINGS.values()
        for prefix in _prefixes(tensors, naming.marker_tensor)
    ]
    known = [match for match in matches if _is_known(match[2])]
    if not known and len(matches) != 1:
        return None
    best = min(known or matches, key=lambda match: match[:3])
    return best[2], best[3]


def _prefixes(tensors: Mapping[str, Tensor], marker: str) -> Iterator[str]:
    for name in tensors:
        prefix = name.removesuffix(marker)
        if prefix != name and (not prefix or prefix.endswith(".")):
            yield prefix


def _is_known(prefix: str) -> bool:
    return all(part in _WRAPPERS | _EMA_WRAPPERS for part in prefix.split(".")[:-1])


def _is_ema(prefix: str) -> bool:
    return any(part in _EMA_WRAPPERS for part in prefix.split("."))


def _list_names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more


def _describe_failure(content: object) -> str:
    if not isinstance(content, Mapping):
        return (
            f"holds a {type(content).__name__} and no state dict; save model.state_dict() instead"
        )
    tensors = next((tensors for _, tensors in _state_dicts(content, "")), None)
    if tensors is None:
        keys = ", ".join(sorted(map(str, content))[:8]) or "none"
        wanted = ", ".join(_STATE_KEYS[:4])
        return (
            f"holds no state dict (its keys are {keys}); save model.state_dict(), alone or under "
            f"one of the keys {wanted}"
        )
    return unknown_naming_message(tensors)

"""A training in progress as a file, so that one that was killed goes on where it was.

The one decision to know: there is no generator to save but torch's own (stochastic depth, dropout):
order and augmentation are functions of seed, epoch and step. Two files take turns, each with a
sha256, written aside and renamed: a torn or damaged one is told by its hash, and the one before is
used. Tensors and JSON, nothing is unpickled.
"""

import hashlib
import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from phinas.experiment.run_dir import write_atomic
from phinas.training.engine.optimizer import forget
from phinas.training.engine.weights_io import metadata_of

FORMAT = 2
Held = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, and facts that are JSON


class Snapshots:
    """Where a training leaves its state every `seconds`; `key` names all that decides it, and
    another's file is not taken.
    """

    def __init__(self, path: Path, key: str, *, seconds: float) -> None:
        self._paths = (path, path.with_name(f"{path.name}.previous"))
        self._key, self._seconds = key, seconds
        self._last = time.monotonic()
        self._wrote = False  # so that what lies there is whole
        # set it (from a signal's handler) to have a snapshot taken at once, and the training ended
        self.stop = False

    @property
    def due(self) -> bool:
        return self.stop or time.monotonic() - self._last >= self._seconds

    def write(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Raises OSError where it can't be written; what was written before stays."""
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        body = save(
            kept,
            metadata={
                "facts": json.dumps(
                    {"format": FORMAT, "key": self._key} | dict(facts), allow_nan=False
                )
            },
        )
        newest, before = self._paths
        newest.parent.mkdir(parents=True, exist_ok=True)
        if self._wrote or self._read(newest) is not None:
            newest.replace(before)
        self._wrote = False
        write_atomic(newest, hashlib.sha256(body).digest() + body)
        self._wrote, self._last = True, time.monotonic()

    def read(self) -> Held | None:
        """What was written last and is whole; None where there is nothing of this training."""
        for path in self._paths:
            held = self._read(path)
            if held is not None:
                return held
            if path.exists():
                warnings.warn(
                    f"{path}: is damaged, or of another training; it is not used", stacklevel=2
                )
        return None

    def remove(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> Held | None:
        try:
            content = path.read_bytes()
            digest, body = content[:32], content[32:]
            if hashlib.sha256(body).digest() != digest:
                return None
            tensors = load(body)
            facts = json.loads(metadata_of(body)["facts"])
        except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        return (tensors, facts) if (facts["format"], facts["key"]) == (FORMAT, self._key) else None


@contextmanager
def stopped_by(
    snapshots: Snapshots, *numbers: int, again: Callable[[int], None] = lambda _number: None
) -> Iterator[list[int]]:
    """The first of these signals sets `snapshots.stop`, later ones are told to `again`; all are
    listed in what this gives.
    """
    caught: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if caught:
            again(number)
        caught.append(number)
        snapshots.stop = True

    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only there may Python hear signals
        yield caught
        return
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tensors_of(
    models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Tensor]:
    """All tensors that a training changes, by names like `network/stem.conv.weight`,
    `optimizer/3/momentum_buffer`.
    """
    found = {
        f"{kind}/{name}": tensor
        for kind, model in models.items()
        for name, tensor in model.state_dict().items()
    }
    for number, state in optimizer.state_dict()["state"].items():
        found |= {f"optimizer/{number}/{name}": tensor for name, tensor in state.items()}
    found["random/cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        found["random/cuda"] = torch.cuda.get_rng_state(device)
    return found


def put_back(
    tensors: Mapping[str, Tensor],
    models: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> None:
    """Undo what was done since `tensors_of`, of these models and this optimizer or of others like
    them.
    """
    for kind, model in models.items():
        model.load_state_dict({name: tensors[f"{kind}/{name}"] for name in model.state_dict()})
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            number, _, part = rest.partition("/")
            states.setdefault(int(number), {})[part] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    for parameter, state in optimizer.state.items():
        for part, tensor in state.items():
            if (
                tensor.shape == parameter.shape
            ):  # fused optimizers go through memory: it must lie as the parameter does
                state[part] = torch.empty_like(parameter).copy_(tensor)
    torch.set_rng_state(tensors["random/cpu"].cpu())
    if device.type == "cuda" and "random/cuda" in tensors:  # a training may have begun on a CPU
        torch.cuda.set_rng_state(tensors["random/cuda"].cpu(), device)


def undoing(
    models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, device: torch.device
) -> Callable[[], None]:
    """What puts all tensors back to what they hold now, in their places: a captured graph writes to
    those places.
    """
    held = {name: tensor.clone() for name, tensor in tensors_of(models, optimizer, device).items()}

    def undo() -> None:
        forget(optimizer)  # state that was created since
        for name, tensor in tensors_of(models, optimizer, device).items():
            if name in held and not name.startswith("random/"):
                tensor.copy_(held[name])
        torch.set_rng_state(held["random/cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(held["random/cuda"], device)

    return undo

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
from phinas.training.engine.optimizer import reset_state
from phinas.training.engine.weights_io import read_metadata

FORMAT = 2
TrainingState = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, and progress that is JSON


class CheckpointManager:
    """Where a training leaves its state every `seconds`; `key` names all that decides it, and
    another's file is not taken.
    """

    def __init__(self, path: Path, key: str, *, seconds: float) -> None:
        self._paths = (path, path.with_name(f"{path.name}.previous"))
        self._key, self._seconds = key, seconds
        self._last_write = time.monotonic()
        self._newest_is_valid = False  # so that what lies there is whole
        # set it (from a signal's handler) to have a checkpoint taken at once, and the training
        # ended
        self.stop_requested = False

    @property
    def is_due(self) -> bool:
        return self.stop_requested or time.monotonic() - self._last_write >= self._seconds

    def write(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Raises OSError where it can't be written; what was written before stays."""
        cpu_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        body = save(
            cpu_tensors,
            metadata={
                "progress": json.dumps(
                    {"format": FORMAT, "key": self._key} | dict(progress), allow_nan=False
                )
            },
        )
        newest, previous = self._paths
        newest.parent.mkdir(parents=True, exist_ok=True)
        if self._newest_is_valid or self._read(newest) is not None:
            newest.replace(previous)
        self._newest_is_valid = False
        write_atomic(newest, hashlib.sha256(body).digest() + body)
        self._newest_is_valid, self._last_write = True, time.monotonic()

    def read(self) -> TrainingState | None:
        """What was written last and is whole; None where there is nothing of this training."""
        for path in self._paths:
            state = self._read(path)
            if state is not None:
                return state
            if path.exists():
                warnings.warn(
                    f"{path}: is damaged, or of another training; it is not used", stacklevel=2
                )
        return None

    def remove(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> TrainingState | None:
        try:
            content = path.read_bytes()
            digest, body = content[:32], content[32:]
            if hashlib.sha256(body).digest() != digest:
                return None
            tensors = load(body)
            progress = json.loads(read_metadata(body)["progress"])
        except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        return (
            (tensors, progress)
            if (progress["format"], progress["key"]) == (FORMAT, self._key)
            else None
        )


@contextmanager
def stop_on_signals(
    checkpoints: CheckpointManager,
    *numbers: int,
    on_repeat: Callable[[int], None] = lambda _number: None,
) -> Iterator[list[int]]:
    """The first of these signals sets `checkpoints.stop_requested`, later ones call `on_repeat`;
    all are listed in what this gives.
    """
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if received:
            on_repeat(number)
        received.append(number)
        checkpoints.stop_requested = True

    # only there may Python hear signals
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def state_tensors(
    models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Tensor]:
    """All tensors that a training changes, by names like `network/stem.conv.weight`,
    `optimizer/3/momentum_buffer`.
    """
    tensors = {
        f"{kind}/{name}": tensor
        for kind, model in models.items()
        for name, tensor in model.state_dict().items()
    }
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in state.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def restore_state(
    tensors: Mapping[str, Tensor],
    models: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> None:
    """Undo what was done since `state_tensors`, of these models and this optimizer or of others
    like them.
    """
    for kind, model in models.items():
        model.load_state_dict({name: tensors[f"{kind}/{name}"] for name in model.state_dict()})
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            number, _, key = rest.partition("/")
            states.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    for parameter, state in optimizer.state.items():
        for key, tensor in state.items():
            # fused optimizers go through memory: it must lie as the parameter does
            if tensor.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(tensor)
    torch.set_rng_state(tensors["random/cpu"].cpu())
    if device.type == "cuda" and "random/cuda" in tensors:  # a training may have begun on a CPU
        torch.cuda.set_rng_state(tensors["random/cuda"].cpu(), device)


def make_state_restorer(
    models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, device: torch.device
) -> Callable[[], None]:
    """What puts all tensors back to what they hold now, in their places: a captured graph writes to
    those places.
    """
    saved = {
        name: tensor.clone() for name, tensor in state_tensors(models, optimizer, device).items()
    }

    def restore() -> None:
        reset_state(optimizer)  # state that was created since
        for name, tensor in state_tensors(models, optimizer, device).items():
            if name in saved and not name.startswith("random/"):
                tensor.copy_(saved[name])
        torch.set_rng_state(saved["random/cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(saved["random/cuda"], device)

    return restore

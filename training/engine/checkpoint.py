"""Checkpoints of a training in progress, from which an interrupted training resumes, and the states
of paused trainings.

The main decision: torch's generator (stochastic depth, dropout) is the only random state
that is saved, since order and augmentation are functions of seed, epoch and step. The newest and
the previous checkpoint are kept. Each is written to a temporary file and renamed, and starts with
its sha256. If the newest one is damaged, the previous one is used. A checkpoint holds tensors and
JSON; nothing is unpickled.
"""

import hashlib
import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from phinas.experiment.run_dir import write_atomic
from phinas.training.engine.optimizer import reset_state
from phinas.training.weights.weights_file import read_metadata

FORMAT = 2
SavedState = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, and progress as JSON data


class CheckpointManager:
    """Writes and reads the checkpoints of one training.

    Args:
        path: file of the newest checkpoint; the previous one has the suffix `.previous`.
        key: key of the training; a checkpoint with another key is not used.
        seconds: time between two checkpoints.

    Attributes:
        path: the file of the newest checkpoint.
        stop_requested: set by a signal handler. The trainer then writes a checkpoint at once and
            stops.
    """

    def __init__(self, path: Path, key: str, *, seconds: float) -> None:
        self.path = path
        self._paths = (path, path.with_name(f"{path.name}.previous"))
        self._key, self._seconds = key, seconds
        self._last_write = time.monotonic()
        self._newest_is_valid = False
        self.stop_requested = False

    @property
    def is_due(self) -> bool:
        """Whether it is time to write the next checkpoint."""
        return self.stop_requested or time.monotonic() - self._last_write >= self._seconds

    def write(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Write a checkpoint; the newest one becomes the previous one.

        Args:
            tensors: tensors by name.
            progress: JSON data.

        Raises:
            OSError: the file could not be written; an earlier checkpoint remains readable.
        """
        newest, previous = self._paths
        # without its parents: a run directory that was removed must not come back with nothing else
        newest.parent.mkdir(exist_ok=True)
        if self._newest_is_valid or _read_state(newest, self._key) is not None:
            newest.replace(previous)
        self._newest_is_valid = False
        _write_state(newest, self._key, tensors, progress)
        self._newest_is_valid, self._last_write = True, time.monotonic()

    def read(self) -> SavedState | None:
        """Return the newest intact checkpoint of this training; None if there is none."""
        for path in self._paths:
            state = _read_state(path, self._key)
            if state is not None:
                return state
            if path.exists():
                warnings.warn(
                    f"{path}: the checkpoint is damaged or belongs to another training; it is "
                    "ignored",
                    stacklevel=2,
                )
        return None

    def remove(self) -> None:
        """Remove both files, if they exist."""
        for path in self._paths:
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class PauseFiles:
    """The files from which a paused training is resumed, and to which it is paused.

    Args:
        key: key of the training; a state with another key is not used.
        source: the state with which the training begins; None for none.
        target: gets the state when the training pauses; None writes none.
    """

    key: str
    source: Path | None
    target: Path | None

    def read(self) -> SavedState | None:
        """Return the state with which the training begins; None if it is missing or damaged."""
        return _read_state(self.source, self.key) if self.source else None

    def write(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Write the state at the pause, if it has a file.

        Args:
            tensors: tensors by name.
            progress: JSON data.

        Raises:
            OSError: the file could not be written.
        """
        if self.target is not None:
            _write_state(self.target, self.key, tensors, progress)


def _write_state(
    path: Path, key: str, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]
) -> None:
    cpu_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.dumps({"format": FORMAT, "key": key} | dict(progress), allow_nan=False)
    body = save(cpu_tensors, metadata={"progress": header})
    write_atomic(path, hashlib.sha256(body).digest() + body)


def _read_state(path: Path, key: str) -> SavedState | None:
    """Return the state in a file; None if it is missing, damaged or of another training."""
    try:
        content = path.read_bytes()
        digest, body = content[:32], content[32:]
        if hashlib.sha256(body).digest() != digest:
            return None
        tensors = load(body)
        progress = json.loads(read_metadata(body)["progress"])
    except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    if (progress["format"], progress["key"]) != (FORMAT, key):
        return None
    return tensors, progress


@contextmanager
def stop_on_signals(
    checkpoints: CheckpointManager,
    *numbers: int,
    on_repeat: Callable[[int], None] = lambda _number: None,
) -> Iterator[list[int]]:
    """Let signals stop a training after it wrote a checkpoint, inside a `with` block.

    Args:
        checkpoints: the first signal sets its `stop_requested`.
        numbers: signal numbers.
        on_repeat: called with the signal number at every later signal.

    Yields:
        The numbers of the signals received so far.
    """
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if received:
            on_repeat(number)
        received.append(number)
        checkpoints.stop_requested = True

    # Python handles signals in the main thread only
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
    """Return all tensors that a training changes, random state included.

    Their names are such as `network/stem.conv.weight`, `optimizer/3/momentum_buffer` and
    `random/cpu`.
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
    """Restore the tensors of `state_tensors` in the same models and optimizer, or in others with
    the same structure.
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
            # fused optimizers need the memory layout of the parameter
            if tensor.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(tensor)
    torch.set_rng_state(tensors["random/cpu"].cpu())
    if device.type == "cuda" and "random/cuda" in tensors:  # may be absent: started on a CPU
        torch.cuda.set_rng_state(tensors["random/cuda"].cpu(), device)


def make_state_restorer(
    models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, device: torch.device
) -> Callable[[], None]:
    """Return a function that restores the current values of all tensors.

    It does so in place, since a captured CUDA graph refers to their memory.
    """
    saved = {
        name: tensor.clone() for name, tensor in state_tensors(models, optimizer, device).items()
    }

    def restore() -> None:
        reset_state(optimizer)  # also the state that was created since
        for name, tensor in state_tensors(models, optimizer, device).items():
            if name in saved and not name.startswith("random/"):
                tensor.copy_(saved[name])
        torch.set_rng_state(saved["random/cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(saved["random/cuda"], device)

    return restore

"""Weights as safetensors files: nothing is ever unpickled."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from experiment.errors import InputError
from experiment.rundir import write_atomic
from space.spec import ArchSpec


def save_weights(model: nn.Module, spec: ArchSpec, path: Path) -> None:
    """Write the state dict, contiguous and on the CPU, with the spec in the file's header."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomic(path, save(state, metadata={"format": "pt", "phinas.spec_id": spec.spec_id}))


def load_weights(model: nn.Module, path: Path) -> None:
    """Read weights into `model`. Raises InputError where the file is no safetensors file or of another network."""
    try:
        state = load(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file of weights") from None
    except SafetensorError as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error})") from None
    expected = model.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        have, want = state.get(name), expected.get(name)
        if have is None or want is None or have.shape != want.shape:
            shapes = [tuple(tensor.shape) if tensor is not None else "absent" for tensor in (have, want)]
            raise InputError(
                f"{path}: {name} is {shapes[0]} in the file and {shapes[1]} in the network: weights of another spec"
            )
    model.load_state_dict(state)

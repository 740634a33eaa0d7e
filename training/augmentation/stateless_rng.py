"""Random numbers without a generator: each is a pure function of (seed, purpose, epoch, sample,
draw).

The one decision to know: numbers are hashed from what they are for, not drawn from a stream. So an
image is treated alike in whatever batch, micro-batch, process or device it comes up, a training
that is resumed sees what it would have seen, and no state is to be saved. The hash is the finaliser
of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014) in
int64, which wraps; all sizes are static and nothing waits for the device.
"""

import torch
from torch import Tensor

from phinas.experiment.seeds import seed_of

# Odd numbers of 64 bits, as signed ones. Which they are matters little; that they differ keeps the
# counters apart.
_SEED, _EPOCH, _SAMPLE, _DRAW = (
    value - (1 << 64)
    for value in (0xA0761D6478BD642F, 0x9E3779B97F4A7C15, 0xD1342543DE82EF95, 0xDA942042E4DD58B5)
)
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64)
_BITS = 24  # what a float32 holds of a number below 1


def uniform(
    seed: int, epoch: Tensor | int, samples: Tensor, purpose: str, count: int = 1
) -> Tensor:
    """float32 (count, N) in [0, 1) on the device of `samples`: int64 (N,), indices in the training
    split.

    epoch: a 0-dim int64 tensor on that device where it changes inside a CUDA graph. The first draws
    are the same for any count.
    """
    stream = seed_of(seed, purpose) * _SEED
    if isinstance(epoch, Tensor):
        state = samples * _SAMPLE + (epoch * _EPOCH + _wrap(stream))
    else:
        state = samples * _SAMPLE + _wrap(stream + epoch * _EPOCH)
    state = state + (torch.arange(count, device=samples.device) * _DRAW)[:, None]
    return _shifted(_scramble(state), 64 - _BITS).to(torch.float32).mul_(2.0**-_BITS)


def _wrap(value: int) -> int:
    """As int64 holds it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _scramble(state: Tensor) -> Tensor:
    """splitmix64's finaliser, in place: every bit of the result depends on every bit of the
    state.
    """
    state ^= _shifted(state, 30)
    state *= _FIRST
    state ^= _shifted(state, 27)
    state *= _SECOND
    state ^= _shifted(state, 31)
    return state


def _shifted(state: Tensor, bits: int) -> Tensor:
    """Shifted right with zeros moving in, where torch repeats the sign."""
    return (state >> bits).bitwise_and_((1 << (64 - bits)) - 1)

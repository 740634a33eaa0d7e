"""Random numbers without a generator: each is a pure function of (seed, purpose, epoch, sample,
draw).

The one decision to know: numbers are hashed from what they are for, not drawn from a stream. So an
image is treated alike in whatever batch, micro-batch, process or device it comes up, a training
that is resumed sees what it would have seen, and no state is to be saved. The hash is the finalizer
of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014) in
int64, which wraps; all sizes are static and nothing waits for the device.
"""

import torch
from torch import Tensor

from phinas.experiment.seeds import derive_seed

# Odd numbers of 64 bits, as signed ones. Which they are matters little; that they differ keeps the
# counters apart.
_SEED_FACTOR, _EPOCH_FACTOR, _SAMPLE_FACTOR, _DRAW_FACTOR = (
    value - (1 << 64)
    for value in (0xA0761D6478BD642F, 0x9E3779B97F4A7C15, 0xD1342543DE82EF95, 0xDA942042E4DD58B5)
)
_MIX_FACTOR_1, _MIX_FACTOR_2 = 0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64)
_FLOAT_BITS = 24  # what a float32 holds of a number below 1


def stateless_uniform(
    seed: int, epoch: Tensor | int, samples: Tensor, purpose: str, num_draws: int = 1
) -> Tensor:
    """float32 (count, N) in [0, 1) on the device of `samples`: int64 (N,), indices in the training
    split.

    epoch: a 0-dim int64 tensor on that device where it changes inside a CUDA graph. The first draws
    are the same for any count.
    """
    stream = derive_seed(seed, purpose) * _SEED_FACTOR
    if isinstance(epoch, Tensor):
        state = samples * _SAMPLE_FACTOR + (epoch * _EPOCH_FACTOR + _to_int64(stream))
    else:
        state = samples * _SAMPLE_FACTOR + _to_int64(stream + epoch * _EPOCH_FACTOR)
    state = state + (torch.arange(num_draws, device=samples.device) * _DRAW_FACTOR)[:, None]
    return (
        _logical_shift_right(_mix_bits(state), 64 - _FLOAT_BITS)
        .to(torch.float32)
        .mul_(2.0**-_FLOAT_BITS)
    )


def _to_int64(value: int) -> int:
    """As int64 holds it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _mix_bits(state: Tensor) -> Tensor:
    """splitmix64's finalizer, in place: every bit of the result depends on every bit of the
    state.
    """
    state ^= _logical_shift_right(state, 30)
    state *= _MIX_FACTOR_1
    state ^= _logical_shift_right(state, 27)
    state *= _MIX_FACTOR_2
    state ^= _logical_shift_right(state, 31)
    return state


def _logical_shift_right(state: Tensor, bits: int) -> Tensor:
    """Shifted right with zeros moving in, where torch repeats the sign."""
    return (state >> bits).bitwise_and_((1 << (64 - bits)) - 1)

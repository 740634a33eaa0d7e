"""Random numbers without a generator: a pure function of (seed, purpose, epoch, sample, draw).

Numbers are hashed, not taken from a stream. So an image is augmented alike in any batch,
micro-batch, process and device, a resumed training continues bit-exactly, and no state has to be
saved. The hash is the finalizer of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", 2014) in int64 arithmetic, which wraps around. All tensor sizes are static, and
nothing synchronizes with the device.
"""

import torch
from torch import Tensor

from phinas.experiment.seeds import derive_seed

# Odd 64-bit numbers, as signed ones. Their values matter little, but they must differ, so that
# seed, epoch, sample and draw do not cancel.
_SEED_FACTOR, _EPOCH_FACTOR, _SAMPLE_FACTOR, _DRAW_FACTOR = (
    value - (1 << 64)
    for value in (0xA0761D6478BD642F, 0x9E3779B97F4A7C15, 0xD1342543DE82EF95, 0xDA942042E4DD58B5)
)
_MIX_FACTOR_1, _MIX_FACTOR_2 = 0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64)
_FLOAT_BITS = 24  # precision of float32


def stateless_uniform(
    seed: int, epoch: Tensor | int, samples: Tensor, purpose: str, num_draws: int = 1
) -> Tensor:
    """Uniform random numbers for samples.

    Args:
        seed: Random seed.
        epoch: The epoch. If it changes between replays of a CUDA graph, a 0-dim int64 tensor on the
            device of `samples`.
        samples: int64 (N,), indices in the training split.
        purpose: What the numbers are for. Different purposes have independent numbers.
        num_draws: Numbers per sample. The first ones do not depend on how many are drawn.

    Returns:
        float32 (num_draws, N) in [0, 1), on the device of `samples`.
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
    """Wrap an integer to the range of int64."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _mix_bits(state: Tensor) -> Tensor:
    """Apply the finalizer of splitmix64 in place.

    Every bit of the result depends on every bit of the state.
    """
    state ^= _logical_shift_right(state, 30)
    state *= _MIX_FACTOR_1
    state ^= _logical_shift_right(state, 27)
    state *= _MIX_FACTOR_2
    state ^= _logical_shift_right(state, 31)
    return state


def _logical_shift_right(state: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros. torch's operator would fill with the sign bit."""
    return (state >> bits).bitwise_and_((1 << (64 - bits)) - 1)

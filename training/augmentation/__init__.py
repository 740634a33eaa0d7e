"""Batched augmentation on the device. Its random numbers depend on (seed, epoch, sample) only."""

"""Batched augmentation on the device, with random numbers that depend on (seed, epoch, sample)
only.
"""

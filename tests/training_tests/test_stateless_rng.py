"""Tests of stateless random numbers: distribution, correlations, dependence on arguments."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from phinas.training.augmentation.stateless_rng import stateless_uniform

SAMPLES = torch.arange(100_000)


@pytest.mark.parametrize(
    ("seed", "epoch", "purpose"), [(0, 0, "flip"), (0, 1, "flip"), (2**32 - 1, 10**6, "crop")]
)
def test_numbers_are_uniform_in_the_half_open_unit_interval(seed, epoch, purpose):
    uniforms = stateless_uniform(seed, epoch, SAMPLES, purpose, 4)
    assert uniforms.dtype == torch.float32
    assert uniforms.shape == (4, len(SAMPLES))
    assert uniforms.min() >= 0
    assert uniforms.max() < 1
    for row in uniforms:
        counts = torch.bincount((row * 100).long(), minlength=100)
        assert chisquare(counts).pvalue > 1e-4


def test_numbers_of_neighboring_arguments_are_not_correlated():
    rows = [
        stateless_uniform(seed, epoch, SAMPLES + offset, purpose, 2)
        for seed, epoch, offset, purpose in itertools.product(
            (0, 1), (0, 1, 2), (0, 1, 1024), ("shift", "crop")
        )
    ]
    correlations = torch.corrcoef(torch.cat(rows)) - torch.eye(2 * len(rows))
    assert correlations.abs().max() < 6 / len(SAMPLES) ** 0.5


def test_pairs_of_neighboring_numbers_are_uniform_in_the_unit_square():
    uniforms = (stateless_uniform(3, 7, SAMPLES, "crop", 2) * 16).long()
    for first, second in ((uniforms[0], uniforms[1]), (uniforms[0, 1:], uniforms[0, :-1])):
        assert chisquare(torch.bincount(first * 16 + second, minlength=256)).pvalue > 1e-4


def test_numbers_of_a_sample_do_not_depend_on_the_batch():
    batch = stateless_uniform(5, 2, SAMPLES[:1000], "flip", 3)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stateless_uniform(5, 2, order, "flip", 3), batch[:, order])
    assert torch.equal(stateless_uniform(5, 2, torch.tensor([17]), "flip", 3), batch[:, 17:18])


def test_first_numbers_do_not_depend_on_the_number_of_draws():
    assert torch.equal(
        stateless_uniform(5, 2, SAMPLES, "flip", 1), stateless_uniform(5, 2, SAMPLES, "flip", 3)[:1]
    )


@pytest.mark.parametrize("epoch", [0, 3, 10**6])
def test_epoch_as_a_tensor_gives_the_same_numbers(epoch):
    assert torch.equal(
        stateless_uniform(5, torch.tensor(epoch), SAMPLES, "flip", 2),
        stateless_uniform(5, epoch, SAMPLES, "flip", 2),
    )


def test_samples_are_not_modified():
    samples = torch.arange(10)
    stateless_uniform(5, torch.tensor(1), samples, "flip")
    assert torch.equal(samples, torch.arange(10))


def test_numbers_equal_the_recorded_ones():
    uniforms = stateless_uniform(1, 3, torch.tensor([0, 1, 2, 49_999]), "flip", 2)
    assert (uniforms * 2**24).long().tolist() == [
        [2699314, 9620983, 1834307, 15291967],
        [8841770, 5284353, 504312, 2594616],
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_numbers_on_a_gpu_equal_those_on_the_cpu():
    assert torch.equal(
        stateless_uniform(5, 2, SAMPLES.cuda(), "flip", 3).cpu(),
        stateless_uniform(5, 2, SAMPLES, "flip", 3),
    )

"""Draws are uniform, independent in all they depend on, and depend on nothing else."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from phinas.training.augmentation.stateless_rng import stateless_uniform

SAMPLES = torch.arange(100_000)


@pytest.mark.parametrize(
    ("seed", "epoch", "purpose"), [(0, 0, "flip"), (0, 1, "flip"), (2**32 - 1, 10**6, "crop")]
)
def test_draws_are_uniform_below_one(seed, epoch, purpose):
    drawn = stateless_uniform(seed, epoch, SAMPLES, purpose, 4)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (4, len(SAMPLES))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for row in drawn:
        counts = torch.bincount((row * 100).long(), minlength=100)
        assert chisquare(counts).pvalue > 1e-4


def test_neighboring_samples_epochs_seeds_purposes_and_draws_are_not_correlated():
    rows = [
        stateless_uniform(seed, epoch, SAMPLES + offset, purpose, 2)
        for seed, epoch, offset, purpose in itertools.product(
            (0, 1), (0, 1, 2), (0, 1, 1024), ("shift", "crop")
        )
    ]
    correlations = torch.corrcoef(torch.cat(rows)) - torch.eye(2 * len(rows))
    assert correlations.abs().max() < 6 / len(SAMPLES) ** 0.5


def test_pairs_of_neighbors_fill_the_square_evenly():
    drawn = (stateless_uniform(3, 7, SAMPLES, "crop", 2) * 16).long()
    for first, second in ((drawn[0], drawn[1]), (drawn[0, 1:], drawn[0, :-1])):
        assert chisquare(torch.bincount(first * 16 + second, minlength=256)).pvalue > 1e-4


def test_a_draw_depends_on_its_sample_alone_and_not_on_the_batch():
    whole = stateless_uniform(5, 2, SAMPLES[:1000], "flip", 3)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stateless_uniform(5, 2, order, "flip", 3), whole[:, order])
    assert torch.equal(stateless_uniform(5, 2, torch.tensor([17]), "flip", 3), whole[:, 17:18])


def test_a_draw_does_not_depend_on_how_many_are_drawn():
    assert torch.equal(
        stateless_uniform(5, 2, SAMPLES, "flip", 1), stateless_uniform(5, 2, SAMPLES, "flip", 3)[:1]
    )


@pytest.mark.parametrize("epoch", [0, 3, 10**6])
def test_an_epoch_may_be_a_tensor(epoch):
    assert torch.equal(
        stateless_uniform(5, torch.tensor(epoch), SAMPLES, "flip", 2),
        stateless_uniform(5, epoch, SAMPLES, "flip", 2),
    )


def test_the_samples_are_left_as_they_were():
    samples = torch.arange(10)
    stateless_uniform(5, torch.tensor(1), samples, "flip")
    assert torch.equal(samples, torch.arange(10))


def test_the_draws_are_the_same_on_every_machine_and_in_every_version():
    drawn = stateless_uniform(1, 3, torch.tensor([0, 1, 2, 49_999]), "flip", 2)
    assert (drawn * 2**24).long().tolist() == [
        [2699314, 9620983, 1834307, 15291967],
        [8841770, 5284353, 504312, 2594616],
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_what_the_cpu_draws():
    assert torch.equal(
        stateless_uniform(5, 2, SAMPLES.cuda(), "flip", 3).cpu(),
        stateless_uniform(5, 2, SAMPLES, "flip", 3),
    )

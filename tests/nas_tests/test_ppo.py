"""The recurrent policy of PPO: it learns, it depends on the history only, and it restores the
settings of torch.
"""

import itertools
import math
import random
import statistics
import subprocess
import sys
import time

import pytest
import torch

from phinas.nas.strategies import ppo_policy
from phinas.nas.strategies.ppo_policy import Batch, Policy, train_policy
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")
NUM_CHOICES = [len(decision.values) for decision in TINY.decisions]


def bandit(choices):
    """A score to which each decision contributes independently: one of its values is better."""
    return 0.5 + 0.02 * sum(index == 1 for index in TINY.to_indices(choices))


def batches_of(count, *, seed=0):
    generator = random.Random(seed)
    samples = [[TINY.sample(generator) for _ in range(8)] for _ in range(count)]
    return [
        Batch(tuple(tuple(TINY.to_indices(one)) for one in part), tuple(map(bandit, part)))
        for part in samples
    ]


def test_the_last_bits_of_rewards_change_no_proposal():
    """The last bits differ between processors. The policy must be the same up to rounding."""
    batches = batches_of(3)
    perturbed_batches = [
        Batch(batch.rows, tuple(math.nextafter(reward, 1.0) for reward in batch.rewards))
        for batch in batches
    ]
    for parameter, perturbed_parameter in zip(
        train_policy(NUM_CHOICES, batches).parameters(),
        train_policy(NUM_CHOICES, perturbed_batches).parameters(),
        strict=True,
    ):
        torch.testing.assert_close(parameter, perturbed_parameter, rtol=1e-3, atol=1e-4)


def test_it_beats_random_on_an_additive_landscape(harness):
    random_choices, proposals = (
        harness().climb(name, bandit, trials=120) for name in ("random", "ppo")
    )
    assert (
        statistics.mean(map(bandit, proposals[-30:]))
        > statistics.mean(map(bandit, random_choices)) + 0.04
    )
    assert max(map(bandit, proposals)) > max(map(bandit, random_choices))


def test_a_later_decision_depends_on_an_earlier_one():
    """The reward is high if the first and the last of three decisions are equal."""
    rows = tuple(itertools.product((0, 1), repeat=3))
    batch = Batch(rows, tuple(0.9 if row[0] == row[2] else 0.1 for row in rows))
    samples = train_policy([2, 2, 2], [batch] * 12).sample(1000, seed=1)
    first, _, last = samples.T
    assert (first == last).mean() > 0.9
    assert 0.1 < first.mean() < 0.9


def test_training_on_one_batch_at_a_time_gives_the_policy_of_all_batches_at_once():
    batches = batches_of(6)
    for count in range(1, 7):
        step_by_step = train_policy(NUM_CHOICES, batches[:count])
    ppo_policy._trainer_cache.clear()
    at_once = train_policy(NUM_CHOICES, batches)
    assert at_once is not step_by_step
    for one, other in zip(step_by_step.parameters(), at_once.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_policy_depends_on_the_history():
    one, other = (train_policy(NUM_CHOICES, batches_of(2, seed=seed)) for seed in (0, 1))
    assert one.sample(50, seed=0).tolist() != other.sample(50, seed=0).tolist()


def test_importing_the_strategy_does_not_import_torch():
    code = "import sys, phinas.nas.strategies.ppo; print('torch' in sys.modules)"
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert completed.stdout.strip() == "False"


def test_the_cache_is_bounded():
    train_policy(NUM_CHOICES, batches_of(40))
    assert len(ppo_policy._trainer_cache) <= 16


def test_samples_are_indices_of_choices_and_depend_on_the_seed():
    policy = Policy(NUM_CHOICES, seed=0)
    samples = policy.sample(300, seed=5)
    assert samples.shape == (300, len(NUM_CHOICES))
    for column, count in zip(samples.T, NUM_CHOICES, strict=True):
        assert set(column.tolist()) == set(range(count))
    assert (samples == policy.sample(300, seed=5)).all()
    assert (samples != policy.sample(300, seed=6)).any()


def test_the_probabilities_of_all_sequences_sum_to_one():
    policy = Policy([2, 1, 3], seed=0)
    rows = torch.cartesian_prod(torch.arange(2), torch.arange(1), torch.arange(3))
    with torch.no_grad():
        logs, entropy = policy(rows)
    assert logs.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert 0 < entropy.min().item() <= entropy.max().item() < 1


def test_the_settings_of_torch_are_restored(harness):
    ppo_policy._trainer_cache.clear()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    harness().climb("ppo", bandit, trials=20)
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == threads
    torch.manual_seed(4)
    second_run = harness().climb("ppo", bandit, trials=20)
    ppo_policy._trainer_cache.clear()
    assert harness().climb("ppo", bandit, trials=20) == second_run


@pytest.mark.slow
def test_a_proposal_at_500_trials_takes_under_a_tenth_of_a_second(harness):
    timestamps = []

    def timed_score(choices):
        timestamps.append(time.process_time())
        return bandit(choices)

    harness().climb("ppo", timed_score, trials=510)
    assert (timestamps[-1] - timestamps[-11]) / 10 < 0.1

"""The recurrent controller: it learns, it is a function of the history alone, and it leaves torch
as it was.
"""

import itertools
import random
import statistics
import subprocess
import sys
import time

import pytest
import torch

from phinas.nas.strategies import ppo_policy
from phinas.nas.strategies.ppo_policy import Batch, Policy, learned
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")
RADICES = [len(decision.values) for decision in TINY.decisions]


def bandit(choices):
    """Each decision is an arm of its own, and one value of it pays."""
    return 0.5 + 0.02 * sum(index == 1 for index in TINY.indices(choices))


def batches_of(count, *, seed=0):
    generator = random.Random(seed)
    drawn = [[TINY.sample(generator) for _ in range(8)] for _ in range(count)]
    return [
        Batch(tuple(tuple(TINY.indices(one)) for one in part), tuple(map(bandit, part)))
        for part in drawn
    ]


def test_it_beats_random_where_each_decision_pays_by_itself(field):
    drawn, proposed = (field().climb(name, bandit, trials=120) for name in ("random", "ppo"))
    assert statistics.mean(map(bandit, proposed[-30:])) > statistics.mean(map(bandit, drawn)) + 0.04
    assert max(map(bandit, proposed)) > max(map(bandit, drawn))


def test_a_later_decision_follows_an_earlier_one():
    """The first and the last of three decisions pay only together, in either of two ways."""
    rows = tuple(itertools.product((0, 1), repeat=3))
    batch = Batch(rows, tuple(0.9 if row[0] == row[2] else 0.1 for row in rows))
    sampled = learned([2, 2, 2], [batch] * 12).sample(1000, seed=1)
    first, _, last = sampled.T
    assert (first == last).mean() > 0.9
    assert 0.1 < first.mean() < 0.9


def test_the_policy_is_the_same_whether_batches_came_one_by_one_or_all_at_once():
    batches = batches_of(6)
    for count in range(1, 7):
        step_by_step = learned(RADICES, batches[:count])
    ppo_policy._learners.clear()
    at_once = learned(RADICES, batches)
    assert at_once is not step_by_step
    for one, other in zip(step_by_step.parameters(), at_once.parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_history_makes_another_policy():
    one, other = (learned(RADICES, batches_of(2, seed=seed)) for seed in (0, 1))
    assert one.sample(50, seed=0).tolist() != other.sample(50, seed=0).tolist()


def test_torch_is_loaded_when_the_controller_is_needed_and_not_before():
    code = "import sys, phinas.nas.strategies; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_what_is_remembered_is_bounded():
    learned(RADICES, batches_of(40))
    assert len(ppo_policy._learners) <= 16


def test_samples_are_positions_of_the_decisions_and_follow_from_the_seed():
    policy = Policy(RADICES, seed=0)
    drawn = policy.sample(300, seed=5)
    assert drawn.shape == (300, len(RADICES))
    for column, radix in zip(drawn.T, RADICES, strict=True):
        assert set(column.tolist()) == set(range(radix))
    assert (drawn == policy.sample(300, seed=5)).all()
    assert (drawn != policy.sample(300, seed=6)).any()


def test_the_probabilities_of_all_sequences_sum_to_one():
    policy = Policy([2, 1, 3], seed=0)
    rows = torch.cartesian_prod(torch.arange(2), torch.arange(1), torch.arange(3))
    with torch.no_grad():
        logs, entropy = policy(rows)
    assert logs.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert 0 < entropy.min().item() <= entropy.max().item() < 1


def test_torch_is_left_as_it_was_found(field):
    ppo_policy._learners.clear()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    field().climb("ppo", bandit, trials=20)
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == threads
    torch.manual_seed(4)
    other_state = field().climb("ppo", bandit, trials=20)
    ppo_policy._learners.clear()
    assert field().climb("ppo", bandit, trials=20) == other_state


@pytest.mark.slow
def test_a_proposal_at_500_trials_takes_under_a_tenth_of_a_second(field):
    clock = []

    def timed(choices):
        clock.append(time.process_time())
        return bandit(choices)

    field().climb("ppo", timed, trials=510)
    assert (clock[-1] - clock[-11]) / 10 < 0.1

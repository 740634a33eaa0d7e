"""The choice of the next network to train: a new one that satisfies the cost constraint.

A proposal is checked before it costs anything: its cost is compared with the constraint, and its
network with the known ones. Networks are compared, not choices. After a rejected proposal, the
strategy proposes again with other random numbers. After several rejections, the candidates are the
neighbors of proposed networks that are known, then uniform samples, then an enumeration or a
descent. The number of attempts is bounded, and no trial is spent on a known network.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from phinas.experiment.seeds import derive_seed
from phinas.nas.cost_constraint import MAX_ENUMERABLE, descend_to_feasible
from phinas.nas.problem import Problem
from phinas.nas.search_state.proposer import Proposer
from phinas.nas.strategies.interface import ResumeTraining
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import ArchSpec

MAX_ATTEMPTS = 32
# A strategy that has converged proposes known networks again and again, and a proposal takes time.
MAX_DUPLICATES = 2
NUM_RANDOM_SAMPLES = 500
NUM_FINAL_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network to train.

    Attributes:
        spec: The network.
        choices: Its choices.
        num_rejected: Number of proposals that were rejected before it.
        is_proposed: Whether the strategy proposed it. If not, it replaces rejected proposals.
        epochs: Epoch after which its training pauses. None trains to the end.
    """

    spec: ArchSpec
    choices: Choices
    num_rejected: int
    is_proposed: bool
    epochs: int | None = None


class CandidateGenerator:
    """Selects the networks to train: feasible new proposals, or else replacements.

    Args:
        problem: The search problem.
        proposer: Gets proposals from the strategy.
        known: Identities of networks that are not proposed again (`Problem.identify`).
        seed: Seed of the search.
    """

    def __init__(self, problem: Problem, proposer: Proposer, known: set[str], *, seed: int) -> None:
        self._problem = problem
        self._space, self._cost_constraint = problem.space, problem.cost_constraint
        self._proposer, self._seed = proposer, seed
        self._known = known

    def next_candidate(self, number: int) -> Candidate | ResumeTraining | None:
        """Proposal `number`: a new network or a paused training. None if no network is left.

        The caller then calls the proposer's `accept` for a candidate with `is_proposed`, and
        its `add` for any other one.
        """
        duplicates: list[Choices] = []
        num_attempts, epochs = 0, None
        while num_attempts < MAX_ATTEMPTS and len(duplicates) < MAX_DUPLICATES:
            action = self._proposer.ask(number, num_attempts)
            if isinstance(action, ResumeTraining):
                return action
            choices, epochs = action.choices, action.epochs
            spec = self._space.decode(choices)
            is_known = self._is_known(spec, choices)
            if not is_known and self._is_feasible(spec, choices):
                return Candidate(spec, choices, num_attempts, is_proposed=True, epochs=epochs)
            self._proposer.reject()
            num_attempts += 1
            if is_known:
                duplicates.append(choices)
        for num_rejected, choices in enumerate(
            self._fallback_candidates(duplicates, number), start=num_attempts
        ):
            spec = self._space.decode(choices)
            if self._is_feasible(spec, choices) and not self._is_known(spec, choices):
                return Candidate(spec, choices, num_rejected, is_proposed=False, epochs=epochs)
        return None

    def _is_known(self, spec: ArchSpec, choices: Choices) -> bool:
        return self._problem.identify(choices, spec.network_id) in self._known

    def _is_feasible(self, spec: ArchSpec, choices: Choices) -> bool:
        is_within_limits = self._cost_constraint.is_satisfied(spec.cost().flops)
        return is_within_limits and self._problem.is_in_pool(choices)

    def _fallback_candidates(self, duplicates: list[Choices], number: int) -> Iterator[Choices]:
        generator = random.Random(derive_seed(self._seed, "elsewhere", number))
        if self._problem.pool is not None:
            pool = [*self._problem.enumerate_pool()]
            generator.shuffle(pool)
            yield from pool
            return
        for choices in duplicates:
            neighbors = list(self._space.neighbors(choices))
            generator.shuffle(neighbors)
            yield from neighbors
        for _ in range(NUM_RANDOM_SAMPLES):
            yield self._space.sample(generator)
        if self._space.size <= MAX_ENUMERABLE:
            yield from self._space.enumerate()
        else:
            for choices, _ in descend_to_feasible(self._space, self._cost_constraint, generator):
                yield choices
                yield from self._space.neighbors(choices)
            for _ in range(NUM_FINAL_SAMPLES):
                yield self._space.sample(generator)

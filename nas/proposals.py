"""What to measure next: never a network that is known, never one outside the cost constraint, as
long as there is another.

A proposal is settled before it costs anything: decoded, priced, held against the cost constraint
and against what was measured before (networks are compared, not strings of choices). What is
refused is asked again with other random numbers, then looked for beside what the strategy wanted
and has been measured, then drawn uniformly, then enumerated or descended to, all bounded, so a
trial is never spent on a network that is known.
"""

import random
from collections.abc import Iterator

from phinas.experiment.seeds import derive_seed
from phinas.nas.cost_constraint import MAX_ENUMERABLE, descend_to_feasible
from phinas.nas.problem import Problem
from phinas.nas.study import InMemoryStudy
from phinas.space.cost import network_cost
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import ArchSpec

MAX_ATTEMPTS = 32
MAX_DUPLICATES = (
    2  # a strategy that has converged proposes what is known again and again, and an ask is dear
)
NUM_RANDOM_SAMPLES = 500
NUM_FINAL_SAMPLES = 20_000


class CandidateGenerator:
    """known_spec_ids: the spec_ids of the networks that are known."""

    def __init__(
        self, problem: Problem, study: InMemoryStudy, known_spec_ids: set[str], *, seed: int
    ) -> None:
        self._space, self._cost_constraint = problem.space, problem.cost_constraint
        self._study, self._seed = study, seed
        self.known_spec_ids = known_spec_ids

    def next_candidate(self, number: int) -> tuple[ArchSpec, Choices, int] | None:
        """Proposal `number`: an unseen network inside the cost constraint, its choices, and how
        many were refused before it. None if there is none left."""
        duplicates: list[Choices] = []
        num_attempts = 0
        while num_attempts < MAX_ATTEMPTS and len(duplicates) < MAX_DUPLICATES:
            choices = self._study.ask(number, num_attempts)
            spec = self._new_feasible_spec(choices)
            if spec is not None:
                self._study.accept(number)
                self.known_spec_ids.add(spec.spec_id)
                return spec, choices, num_attempts
            self._study.reject()
            num_attempts += 1
            if self._space.decode(choices).spec_id in self.known_spec_ids:
                duplicates.append(choices)
        for num_rejected, choices in enumerate(
            self._fallback_candidates(duplicates, number), start=num_attempts
        ):
            spec = self._new_feasible_spec(choices)
            if spec is not None:
                self._study.add_running_trial(number, choices)
                self.known_spec_ids.add(spec.spec_id)
                return spec, choices, num_rejected
        return None

    def _new_feasible_spec(self, choices: Choices) -> ArchSpec | None:
        spec = self._space.decode(choices)
        return (
            spec
            if self._cost_constraint.is_satisfied(network_cost(spec).flops)
            and spec.spec_id not in self.known_spec_ids
            else None
        )

    def _fallback_candidates(self, duplicates: list[Choices], number: int) -> Iterator[Choices]:
        generator = random.Random(derive_seed(self._seed, "elsewhere", number))
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

"""What to measure next: never a network that is known, never one outside the gate, as long as there
is another.

A proposal is settled before it costs anything: decoded, priced, held against the gate and against
what was measured before (networks are compared, not strings of choices). What is refused is asked
again with other random numbers, then looked for beside what the strategy wanted and has been
measured, then drawn uniformly, then enumerated or descended to, all bounded, so a trial is never
spent on a network that is known.
"""

import random
from collections.abc import Iterator

from phinas.experiment.seeds import seed_of
from phinas.nas.cost_constraint import ENUMERABLE, approach
from phinas.nas.problem import Problem
from phinas.nas.study import Proposer
from phinas.space.cost import cost
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import ArchSpec

ASKS = 32
KNOWN_ASKS = (
    2  # a strategy that has converged proposes what is known again and again, and an ask is dear
)
DRAWS = 500
LAST_DRAWS = 20_000


class Proposals:
    """seen: the spec_ids of the networks that are known."""

    def __init__(self, problem: Problem, proposer: Proposer, seen: set[str], *, seed: int) -> None:
        self._space, self._gate = problem.space, problem.gate
        self._proposer, self._seed = proposer, seed
        self.seen = seen

    def settle(self, number: int) -> tuple[ArchSpec, Choices, int] | None:
        """Proposal `number`: an unseen network inside the gate, its choices, and how many were
        refused before it. None if there is none left."""
        known: list[Choices] = []
        asked = 0
        while asked < ASKS and len(known) < KNOWN_ASKS:
            choices = self._proposer.ask(number, asked)
            spec = self._fresh(choices)
            if spec is not None:
                self._proposer.take(number)
                self.seen.add(spec.spec_id)
                return spec, choices, asked
            self._proposer.refuse()
            asked += 1
            if self._space.decode(choices).spec_id in self.seen:
                known.append(choices)
        for refused, choices in enumerate(self._elsewhere(known, number), start=asked):
            spec = self._fresh(choices)
            if spec is not None:
                self._proposer.insist(number, choices)
                self.seen.add(spec.spec_id)
                return spec, choices, refused
        return None

    def _fresh(self, choices: Choices) -> ArchSpec | None:
        spec = self._space.decode(choices)
        return (
            spec if self._gate.admits(cost(spec).flops) and spec.spec_id not in self.seen else None
        )

    def _elsewhere(self, known: list[Choices], number: int) -> Iterator[Choices]:
        generator = random.Random(seed_of(self._seed, "elsewhere", number))
        for choices in known:
            around = list(self._space.neighbours(choices))
            generator.shuffle(around)
            yield from around
        for _ in range(DRAWS):
            yield self._space.sample(generator)
        if self._space.size <= ENUMERABLE:
            yield from self._space.enumerate()
        else:
            for choices, _ in approach(self._space, self._gate, generator):
                yield choices
                yield from self._space.neighbours(choices)
            for _ in range(LAST_DRAWS):
                yield self._space.sample(generator)

"""The proxy check: whether the short trainings of a search distinguish its networks.

After the first networks, some are trained again with another seed. The difference between both
trainings shows the training noise, and the spread of all networks shows what remains to rank them
by. The check is early, so that a user can end a search that ranks networks by noise.

The trials of the search do not change by it. It has a record and a seed of its own, the strategy
does not see its trainings, and the results of running trials wait until it has ended.
"""

from collections.abc import Callable

from phinas.experiment.artifacts.proxy_check import (
    CheckedNetwork,
    ProxyCheckFile,
    ReliabilityRecord,
)
from phinas.experiment.executors.shared import SharedExecutor
from phinas.experiment.schema.config import PROXY_CHECK_NETWORKS, SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.statistics.reliability import MIN_PAIRS, estimate_reliability
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.repeated_trainings import (
    ScoredNetworks,
    find_scored_networks,
    repeat_trainings,
)
from phinas.nas.search_loop import ProgressCallback
from phinas.space.search_spaces.inactive_choices import InactiveChoices
from phinas.space.search_spaces.search_space import SearchSpace


class ProxyCheck:
    """Checks a search once, as soon as it has enough networks with a score.

    Args:
        section: The configuration of the search. `section.repeated_networks` is not 0.
        space: The search space.
        evaluator: Describes the trainings. Its scores depend on the seed.
        executor: The executor of the search.
        seed: Seed of the run.
        trial_store: The record of the search.
        open_repeated_store: Opens the record of the repeated trainings.
        on_result: Called with the result.
    """

    def __init__(
        self,
        section: SearchSection,
        space: SearchSpace,
        evaluator: Evaluator,
        executor: SharedExecutor,
        *,
        seed: int,
        trial_store: TrialStore,
        open_repeated_store: Callable[[], TrialStore],
        on_result: Callable[[ProxyCheckFile], None],
    ) -> None:
        self._section, self._evaluator, self._executor = section, evaluator, executor
        self._canonical_choices = InactiveChoices(space).canonical_choices
        self._seed = derive_seed(seed, "proxy check")
        self._trial_store, self._open_repeated_store = trial_store, open_repeated_store
        self._on_result = on_result
        self._is_done = False

    def after(self, on_progress: ProgressCallback) -> ProgressCallback:
        """The callback `on_progress` of a search, followed by the check where it is due.

        Args:
            on_progress: Called as by the search, and during the check.
        """

        def report_and_check(done: int, total: int, text: str) -> None:
            on_progress(done, total, text)
            if not self._is_done:
                self._run_if_due(
                    lambda repeated, count: on_progress(
                        done, total, f"proxy check: {repeated} of {count} networks trained again"
                    )
                )

        return report_and_check

    def _run_if_due(self, on_progress: Callable[[int, int], None]) -> None:
        """Run the check if enough networks have a score."""
        recipe = self._section.recipe
        scored = find_scored_networks(
            self._trial_store.records(), epochs=recipe.epochs, count=PROXY_CHECK_NETWORKS
        )
        if scored is None:
            return
        repeated = scored.spread_over_ranks(self._section.repeated_networks)
        scores = repeat_trainings(
            repeated,
            self._evaluator,
            recipe,
            seed=self._seed,
            canonical_choices=self._canonical_choices,
            trial_store=self._open_repeated_store(),
            executor=self._executor.borrow(),
            on_progress=on_progress,
        )
        self._is_done = True
        proposals = {network.proposal for network in repeated.networks}
        self._on_result(_make_file(scored, proposals, scores, recipe_epochs=recipe.epochs))


def _make_file(
    scored: ScoredNetworks,
    repeated: set[int],
    repeated_scores: dict[int, float],
    *,
    recipe_epochs: int,
) -> ProxyCheckFile:
    """The record of a check.

    Args:
        scored: The networks of the search.
        repeated: The proposal numbers of those that were trained again.
        repeated_scores: The scores of the second trainings that succeeded, by proposal number.
        recipe_epochs: Epochs of a complete training.
    """
    networks = tuple(
        CheckedNetwork(
            proposal=network.proposal,
            network_id=network.spec.network_id,
            score=network.score,
            is_repeated=network.proposal in repeated,
            repeated_score=repeated_scores.get(network.proposal),
        )
        for network in scored.networks
    )
    pairs = [
        (index, row.repeated_score)
        for index, row in enumerate(networks)
        if row.repeated_score is not None
    ]
    result = None
    if len(pairs) >= MIN_PAIRS:
        result = ReliabilityRecord.of(estimate_reliability([row.score for row in networks], pairs))
    return ProxyCheckFile(
        metric=scored.networks[0].metric,
        epochs=scored.epochs,
        recipe_epochs=recipe_epochs,
        networks=networks,
        result=result,
    )

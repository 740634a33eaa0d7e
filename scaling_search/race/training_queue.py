"""The trainings of a scaling search: requested rung by rung, recorded and replayed."""

from collections.abc import Callable

from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, failure_reasons, run_jobs
from phinas.experiment.schema.config import Recipe, ScalingSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.race.race import TrainingRun
from phinas.space.network import Network
from phinas.space.spec import ArchSpec

MakeJob = Callable[[Network, Recipe, int], Job]
ProgressCallback = Callable[[int, int, str], None]


class TrainingQueue:
    """All trainings requested so far, as one list of jobs.

    Attributes:
        expected_runs: Trainings in total, as far as known; for progress.
        num_networks: Networks in total; for progress.
        metric: The name of the score; "" before the first result.
    """

    def __init__(
        self,
        baseline: ArchSpec,
        section: ScalingSection,
        seed: int,
        trial_store: TrialStore,
        executor: Executor,
        make_job: MakeJob,
        on_progress: ProgressCallback,
    ) -> None:
        self._baseline, self._section = baseline, section
        self._seeds = [derive_seed(seed, "scaling", index) for index in range(section.seeds)]
        self._trial_store, self._executor, self._make_job, self._on_progress = (
            trial_store,
            executor,
            make_job,
            on_progress,
        )
        self._tasks: list[Task] = []
        self._outcomes: dict[str, Outcome] = {}
        self.expected_runs = 0
        self.num_networks = 0
        self._network_numbers: dict[str, int] = {}
        self._best_score: float | None = None
        self.metric = ""

    @property
    def failure_summary(self) -> str:
        """Why trainings failed."""
        return failure_reasons(self._outcomes)

    def run(
        self, requested: list[tuple[GridMember, TrainingRun]]
    ) -> dict[TrainingRun, float | None]:
        """Run the requested trainings and return their scores, None for a failed one. A recorded
        training is not run again.
        """
        tasks = {run: self._task(member, run) for member, run in requested}
        self._tasks += tasks.values()
        self._outcomes = run_jobs(
            self._tasks,
            self._trial_store,
            self._executor,
            on_progress=self._announce,
            list_may_grow=True,
        )
        measurements = {
            run: self._outcomes[task.job.key].measurement for run, task in tasks.items()
        }
        for measurement in measurements.values():
            self.metric = self.metric or (measurement.metric if measurement else "")
        return {
            run: None if measurement is None else measurement.score
            for run, measurement in measurements.items()
        }

    def close(self) -> None:
        """Cancel jobs that wait in the study but belong to no rung, as after a change of
        settings.
        """
        run_jobs(self._tasks, self._trial_store, self._executor, on_progress=self._announce)

    def _task(self, member: GridMember, run: TrainingRun) -> Task:
        recipe = self._section.recipe.model_copy(update={"epochs": run.epochs})
        seed = self._seeds[run.seed]
        user_attrs = {
            "network_id": member.spec.network_id,
            "baseline": self._baseline.network_id,
            "flops": member.flops,
        }
        return Task(
            self._make_job(member.spec, recipe, seed),
            user_attrs | {"seed": seed, "epochs": run.epochs},
        )

    def _announce(self, done: int, total: int, task: Task, outcome: Outcome) -> None:
        numbers = self._network_numbers
        number = numbers.setdefault(task.user_attrs["network_id"], len(numbers) + 1)
        if outcome.measurement is not None:
            score = outcome.measurement.score
            self._best_score = max(score, self._best_score or score)
        best = "" if self._best_score is None else f", best so far {self._best_score:.1%}"
        self._on_progress(
            done,
            max(total, self.expected_runs),
            f"network {number} of {self.num_networks}: {outcome}{best}",
        )

"""The trainings of a scaling search: requested rung by rung, recorded and replayed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, failure_reasons, run_jobs
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, ScalingSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.race.race import TrainingRun
from phinas.space.network import Network, ScalableNetwork


class MakeJob(Protocol):
    """Makes the job of a training."""

    def __call__(
        self, network: Network, recipe: Recipe, seed: int, *, stop_epoch: int | None = None
    ) -> Job:
        """`stop_epoch` is used only for evaluators that support pausing."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluator:
    """What trains the networks.

    Attributes:
        make_job: Makes the job of a training, whose value is a Measurement.
        can_pause: Whether trainings can be paused and resumed.
    """

    make_job: MakeJob
    can_pause: bool


ProgressCallback = Callable[[int, int, str], None]


class TrainingQueue:
    """All trainings requested so far, as one list of jobs.

    Args:
        pauses_trainings: A short training is a full one that pauses, and the full one continues it.
            Otherwise it has a schedule of its own.

    Attributes:
        expected_runs: Trainings in total, as far as known; for progress.
        num_networks: Networks in total; for progress.
        metric: The name of the score; "" before the first result.
        score_step: By how much one image changes a score, roughly; 0 where that is unknown.
    """

    def __init__(
        self,
        baseline: ScalableNetwork,
        section: ScalingSection,
        seed: int,
        trial_store: TrialStore,
        executor: Executor,
        make_job: MakeJob,
        on_progress: ProgressCallback,
        *,
        pauses_trainings: bool,
    ) -> None:
        self._baseline, self._section = baseline, section
        self._seeds = [derive_seed(seed, "scaling", index) for index in range(section.seeds)]
        self._trial_store, self._executor, self._make_job, self._on_progress = (
            trial_store,
            executor,
            make_job,
            on_progress,
        )
        self._pauses_trainings = pauses_trainings
        self._tasks: list[Task] = []
        self._outcomes: dict[str, Outcome] = {}
        self.expected_runs = 0
        self.num_networks = 0
        self._network_numbers: dict[str, int] = {}
        self._best_score: float | None = None
        self.metric = ""
        self.score_step = 0.0
        self._best_measurements: dict[str, Measurement] = {}

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
        for (member, _), measurement in zip(requested, measurements.values(), strict=True):
            if measurement is not None:
                self._note(member.spec.network_id, measurement)
        return {
            run: None if measurement is None else measurement.score
            for run, measurement in measurements.items()
        }

    def _note(self, network_id: str, measurement: Measurement) -> None:
        self.metric = self.metric or measurement.metric
        if measurement.images:
            self.score_step = max(self.score_step, 1 / measurement.images)
        best = self._best_measurements.get(network_id)
        if best is None or measurement.score > best.score:
            self._best_measurements[network_id] = measurement

    def best_measurement(self, network_id: str) -> Measurement | None:
        """Of the trainings of a network that have been run, the one with the highest score."""
        return self._best_measurements.get(network_id)

    def close(self) -> None:
        """Cancel jobs that wait in the study but belong to no rung, as after a change of settings,
        and remove the states of paused trainings.
        """
        run_jobs(self._tasks, self._trial_store, self._executor, on_progress=self._announce)
        if self._trial_store.paused_trainings:
            self._trial_store.paused_trainings.retain(self._trial_store.name, ())

    def _task(self, member: GridMember, run: TrainingRun) -> Task:
        recipe, seed = self._section.recipe, self._seeds[run.seed]
        if self._pauses_trainings and run.epochs < recipe.epochs:
            job = self._make_job(member.spec, recipe, seed, stop_epoch=run.epochs)
        else:
            recipe = recipe.model_copy(update={"epochs": run.epochs})
            job = self._make_job(member.spec, recipe, seed)
        user_attrs = {
            "network_id": member.spec.network_id,
            "baseline": self._baseline.network_id,
            "flops": member.flops,
        }
        return Task(job, user_attrs | {"seed": seed, "epochs": run.epochs})

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

"""The trials that a model of the score is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phinas.nas.problem import Problem
from phinas.nas.strategies.interface import PastTrial
from phinas.nas.surrogate.accuracy_model import failed_to_learn
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.nas.surrogate.transfer import EarlierSearch
from phinas.space.search_spaces.inactive_choices import Indices, Mask


@dataclass(frozen=True)
class MeasuredTrials:
    """The trials with a score, in the order of their numbers.

    Attributes:
        numbers: Their numbers, (trials,).
        rows: Indices of their choices, (trials, decisions).
        curves: Score after each epoch, (trials, epochs), NaN where it is not known. Only the final
            scores, (trials, 1), if all trials have one and no training can be paused.
        paused_epochs: The epochs after which their trainings are paused, (trials,). 0 if not.
        costs: (trials,). NaN where the cost has not been measured.
        can_be_best: Whether a trial is complete and did not fail to learn, (trials,). If there is
            no complete trial, all count.
        pending_rows: Indices of the choices of the other networks that are being trained.
    """

    numbers: Indices
    rows: Indices
    curves: FloatArray
    paused_epochs: Indices
    costs: FloatArray
    can_be_best: Mask
    pending_rows: Indices

    @classmethod
    def of(cls, problem: Problem, history: Sequence[PastTrial]) -> "MeasuredTrials":
        measured = [
            trial for trial in history if trial.scores and trial.status not in ("failed", "running")
        ]
        is_complete = np.array([trial.status == "complete" for trial in measured], dtype=bool)
        if is_complete.all() and not problem.can_pause:
            curves = np.array([[trial.score] for trial in measured], dtype=np.float64)
        else:
            curves = np.full((len(measured), problem.epochs), np.nan)
            for curve, trial in zip(curves, measured, strict=True):
                curve[np.array([*trial.scores], dtype=int) - 1] = [*trial.scores.values()]
        can_be_best = np.ones(len(measured), dtype=bool)
        if is_complete.any():
            final_scores = curves[is_complete, -1]
            can_be_best[:] = is_complete
            can_be_best[is_complete] = ~failed_to_learn(final_scores)
        pending = [trial.choices for trial in history if trial.status == "running"]
        return cls(
            np.array([trial.number for trial in measured], dtype=np.int64),
            problem.to_indices([trial.choices for trial in measured]),
            curves,
            np.array(
                [trial.epochs if trial.status == "paused" else 0 for trial in measured],
                dtype=np.int64,
            ),
            np.array([trial.cost for trial in measured], dtype=np.float64),
            can_be_best,
            problem.to_indices(pending),
        )

    @classmethod
    def of_earlier_search(cls, search: EarlierSearch, pending_rows: Indices) -> "MeasuredTrials":
        """The trials of an earlier search.

        Args:
            search: The earlier search.
            pending_rows: Indices of the choices of networks that it should not propose, (networks,
                decisions).
        """
        scores = np.array(search.scores)
        return cls(
            numbers=np.arange(len(scores)),
            rows=np.array(search.rows),
            curves=scores[:, None],
            paused_epochs=np.zeros(len(scores), dtype=np.int64),
            costs=np.full(len(scores), np.nan),
            can_be_best=~failed_to_learn(scores),
            pending_rows=pending_rows,
        )

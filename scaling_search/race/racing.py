"""Racing: which members to train next, until one is left or the budget is spent, and the result.

First every member is trained for a fifth of the epochs; the budget includes them. Those that are
far below all others are trained so once more, with the next seed, in case the first training
diverged. Then, rung by rung, members are trained in full, each with the next of the shared seeds:
the leader, and those whose training tells most about which member is the best, per epoch. The first
full training of a member continues its short one if trainings can be paused and the accuracy after
each epoch is that of a training that ends there (`Race.continues_trainings`). Otherwise the short
training has a full schedule of its own.

After each rung all results together are evaluated again (phinas.experiment.statistics.
posterior_fit): members that are not the best, with a probability of 95%, are excluded and not
trained further. A later rung may include them again, so the ties always follow from all results.
Members that are neither trained with every seed nor
excluded are ties too, marked "open". So there are more ties than after a full grid. A member with a
failed training is not trained further and does not win, but stays a tie unless its other trainings
show that it is worse.

All of it is a pure function of the results, in any order, so resuming is replaying.
"""

from collections.abc import Container, Sequence

from phinas.experiment.artifacts.coefficients_file import MemberStatus
from phinas.scaling_search.race.divergence import suspicious_members
from phinas.scaling_search.race.race import MemberResult, Race, RaceResult, Results, TrainingRun
from phinas.scaling_search.race.race_state import (
    RaceState,
    failed_members,
    race_state,
)


def next_runs(race: Race, results: Results) -> list[TrainingRun]:
    """The trainings of the current rung without a result, in the order to start them; none: the
    race has ended.

    Results that belong to no rung so far have no effect.
    """
    return _replay(race, results)[1]


def evaluate_race(race: Race, results: Results) -> RaceResult:
    """The result after the finished rungs.

    Raises:
        ValueError: Fewer than two members did not fail.
    """
    rungs, _ = _replay(race, results)
    finished = {run: results[run] for rung in rungs for run in rung}
    failed = failed_members(finished)
    if race.num_members - len(failed) < 2 or not rungs:
        raise ValueError(
            f"{race.num_members - len(failed)} of {race.num_members} members did not fail; two are "
            "needed"
        )
    state = race_state(race, finished)
    winner = state.leader
    excluded_after: list[set[int]] = []
    for count in range(1, len(rungs) + 1):
        partial_results = {run: results[run] for rung in rungs[:count] for run in rung}
        excluded_after.append(set(race_state(race, partial_results).excluded))
    newly_excluded = [
        tuple(sorted(after - before))
        for before, after in zip([set[int](), *excluded_after], excluded_after, strict=False)
    ]
    rows = tuple(
        _member_result(race, member, finished, state) for member in range(race.num_members)
    )
    rivals = [
        member
        for member, row in enumerate(rows)
        if member != winner and member not in failed and row.num_trainings
    ] or [member for member in range(race.num_members) if member not in (winner, *failed)]
    runner_up = max(rivals, key=lambda member: state.probabilities[member])
    return RaceResult(
        winner,
        tuple(member for member in range(race.num_members) if member not in state.excluded),
        rows,
        runner_up,
        state.score_gap(runner_up),
        rows[runner_up].gap_interval,
        state.posteriors[winner].noise_std,
        race.total_epochs(finished),
        race.full_grid_epochs,
        tuple(newly_excluded),
    )


def _replay(race: Race, results: Results) -> tuple[list[list[TrainingRun]], list[TrainingRun]]:
    """The finished rungs, and the missing trainings of the current one."""
    rungs: list[list[TrainingRun]] = []
    finished: dict[TrainingRun, float | None] = {}
    while rung := _next_rung(race, finished):
        missing = [run for run in rung if run not in results]
        if missing:
            return rungs, missing
        rungs.append(rung)
        finished |= {run: results[run] for run in rung}
    return rungs, []


def _next_rung(race: Race, finished: Results) -> list[TrainingRun]:
    """The next rung after trainings that all have a result."""
    if not finished and not race.early_elimination:
        return [
            TrainingRun(member, seed, race.epochs)
            for seed in range(race.num_seeds)
            for member in range(race.num_members)
        ]
    if not finished:
        return [TrainingRun(member, 0, race.short_epochs) for member in range(race.num_members)]
    if not race.early_elimination:
        return []
    repeated = [
        run
        for member in suspicious_members(race, finished)
        if (run := TrainingRun(member, 1, race.short_epochs)) not in finished
    ]
    epochs_left = race.max_epochs - race.total_epochs(finished)
    repeated_epochs = race.total_epochs(repeated)
    if repeated and race.num_seeds > 1 and repeated_epochs + 2 * race.epochs <= epochs_left:
        return repeated
    failed = failed_members(finished)
    if race.num_members - len(failed) < 2:
        return []
    state = race_state(race, finished)
    remaining = [
        member
        for member in range(race.num_members)
        if member not in state.excluded and member not in failed
    ]
    if len(remaining) < 2:
        return []
    next_full_runs = [
        _next_full_run(race, finished, member, state.diverged) for member in remaining
    ]
    candidates = [run for run in next_full_runs if run is not None]
    candidates.sort(
        key=lambda run: (
            run.member != state.leader,
            -state.information_about_best[run.member] / race.epochs_to_train(run, finished),
            run.member,
        )
    )
    rung = _affordable_runs(race, finished, candidates, epochs_left)
    seeds = [run.seed for run in (*rung, *finished) if run.epochs == race.epochs]
    return [run for run in rung if seeds.count(run.seed) > 1]


def _next_full_run(
    race: Race, finished: Results, member: int, diverged: Container[TrainingRun]
) -> TrainingRun | None:
    """The full training of a member with the next seed; None if there is none. A short training
    that diverged is not continued.
    """
    for seed in range(race.num_seeds):
        run = TrainingRun(member, seed, race.epochs)
        is_continued = race.epochs_to_train(run, finished) < race.epochs
        has_diverged = is_continued and TrainingRun(member, seed, race.short_epochs) in diverged
        if run not in finished and not has_diverged:
            return run
    return None


def _affordable_runs(
    race: Race, finished: Results, candidates: Sequence[TrainingRun], epochs_left: int
) -> list[TrainingRun]:
    """The first candidates, for a third of the remaining epochs, but at least two of them."""
    runs: list[TrainingRun] = []
    spent = 0
    for run in candidates:
        epochs = race.epochs_to_train(run, finished)
        if spent + epochs > epochs_left or (len(runs) > 1 and spent >= epochs_left / 3):
            break
        runs.append(run)
        spent += epochs
    return runs


def _member_result(race: Race, member: int, finished: Results, state: RaceState) -> MemberResult:
    full_runs = [
        run for run in sorted(finished) if run.member == member and run.epochs == race.epochs
    ]
    scores = [
        score
        for run in full_runs
        if (score := finished[run]) is not None and run not in state.diverged
    ]
    score = sum(scores) / len(scores) if scores else None
    adjusted_score = None if score is None else score - race.flops_adjustment(member)
    status: MemberStatus = "tied"
    if _next_full_run(race, finished, member, state.diverged):
        status = "open"
    if member in state.excluded:
        status = "excluded"
    if member in state.failed:
        status = "failed"
    if member == state.leader:
        status = "winner"
    is_measured = any(
        run.member == member and result is not None and run not in state.diverged
        for run, result in finished.items()
    )
    return MemberResult(
        status,
        len(scores),
        sum(run.member == member for run in state.diverged),
        score,
        adjusted_score,
        state.score_gap(member) if is_measured else None,
        state.gap_interval(member, race.confidence, num_trainings=len(scores)) if scores else None,
        state.probabilities[member],
    )

"""The progress of a search in one line."""

from phinas.nas.pareto import pareto_front
from phinas.nas.search_state.state import SearchState


def describe_progress(state: SearchState) -> str:
    """The best trial so far, or the range of the Pareto front."""
    if state.estimating_exponent and state.num_done:
        return (
            f"{state.num_done} of {state.budget} random networks from which the reward exponent is "
            "estimated"
        )
    if not state.trials:
        num_paused = state.num_paused
        paused = f", {num_paused} paused" if num_paused else ""
        return f"no trial is complete yet{paused}"
    reward = state.problem.reward
    if state.problem.pareto:
        front = pareto_front(state.trials, reward.cost_metric)
        return (
            f"Pareto front of {len(front)} networks, {front[0].score:.1%} to {front[-1].score:.1%}"
        )
    best = max(state.trials, key=lambda trial: trial.reward)
    latency = f", {best.latency_ms:.3g} ms" if best.latency_ms is not None else ""
    exponent = (
        f" (w = {reward.exponent:g}, estimated)" if state.section.reward_exponent == "auto" else ""
    )
    return (
        f"best so far {best.score:.1%} with {best.cost.flops / 1e6:.3g}M FLOPs{latency}{exponent}"
    )

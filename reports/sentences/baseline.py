"""How the baseline was selected, in sentences: for the page and for the terminal."""

from phinas.experiment.artifacts.baseline_file import (
    BaselineFile,
    ExcludedReference,
    ExponentEstimate,
    ReferenceRecord,
    RewardRecord,
    SelectionRecord,
)
from phinas.experiment.statistics.paired_comparison import ROUNDING_TOLERANCE, format_probability
from phinas.nas.reward_exponent import (
    FALLBACK_EXPONENT,
    MAX_EXPONENT,
    MIN_EXPONENT,
    MIN_NETWORKS,
)
from phinas.reports.formatting import COST_LABELS, format_cost
from phinas.reports.run_data import RunData
from phinas.reports.sentences.rendering import list_sentences, render


def explain_choice(baseline: BaselineFile) -> list[str]:
    """Why this network is the baseline."""
    selection = baseline.selection
    if selection is None:
        return [_describe_user_baseline(baseline)]
    reward = render(
        "baseline",
        "choice",
        reward=_describe_reward(selection.reward),
        num_finalists=len(selection.finalists),
        num_trials=selection.num_trials,
        front_size=len(selection.pareto_trials) if selection.searched_front else 0,
    )
    estimate = selection.reward.exponent_estimate
    return list_sentences(
        reward,
        _describe_outcome(selection),
        _describe_probability(selection),
        describe_exponent(estimate) if estimate is not None else "",
        describe_passed_over(baseline),
    )


def describe_passed_over(baseline: BaselineFile) -> str:
    """How many networks could not become the baseline; "" where all could."""
    count = baseline.selection.num_unscalable if baseline.selection else 0
    return render("baseline", "passed_over", count=count) if count else ""


def describe_exponent(estimate: ExponentEstimate) -> str:
    """How the exponent of the reward was estimated, or why it is a default."""
    low, high = estimate.interval or (0.0, 0.0)
    return render(
        "baseline",
        "exponent",
        case=estimate.case,
        value=estimate.value,
        fallback=FALLBACK_EXPONENT,
        num_networks=estimate.num_networks,
        min_networks=MIN_NETWORKS,
        slope=estimate.slope or 0.0,
        low=low,
        high=high,
        value_range=(MIN_EXPONENT, MAX_EXPONENT),
    )


def describe_reference(selection: SelectionRecord) -> str:
    """The baseline compared with the published network; "" where there is none."""
    if selection.excluded_reference is not None:
        return _describe_exclusion(selection.excluded_reference, selection)
    if selection.reference is None:
        return ""
    reference = selection.reference
    return render(
        "baseline",
        "reference",
        case=_reference_case(reference),
        name=reference.name,
        difference=f"{reference.reward_difference:+.4f}".replace("-", "\N{MINUS SIGN}"),
        uncertainty=_describe_uncertainty(reference),
        kind=_kind(selection),
    )


def describe_baseline(run_data: RunData) -> list[str]:
    """The conclusions on the baseline, or on the search before there is one."""
    baseline = run_data.baseline
    if baseline is None:
        return [_describe_search(run_data)]
    selection = baseline.selection
    if selection is None:
        return [_describe_user_baseline(baseline)]
    selected, dataset = selection.selected, run_data.manifest.data
    images = f"{dataset.validation:,} " if dataset else ""
    opening = render(
        "baseline",
        "searched",
        num_trials=len(run_data.trials),
        network_id=baseline.network_id,
        trial=selection.trial,
        score=selected.mean_score,
        label=run_data.search_score_label,
        split=f" on the {images}validation images" if run_data.search_trains_networks else "",
        seeds=len(selected.scores),
        kind=_kind(selection),
        size=_describe_size(baseline),
    )
    has_others = len(selection.finalists) > 1
    return list_sentences(
        opening,
        _describe_outcome(selection) if has_others else "",
        _describe_probability(selection),
        describe_reference(selection),
    )


def _kind(selection: SelectionRecord) -> str:
    return "training" if selection.from_training else "measurement"


def _describe_size(baseline: BaselineFile) -> str:
    return render(
        "baseline",
        "size",
        flops=baseline.flops,
        params=baseline.params,
        latency_ms=baseline.latency_ms,
    )


def _describe_user_baseline(baseline: BaselineFile) -> str:
    return render(
        "baseline",
        "user_supplied",
        network_id=baseline.network_id,
        source=baseline.source,
        classes=baseline.spec.classes,
        resolution=baseline.spec.resolution,
        size=_describe_size(baseline),
    )


def _describe_reward(reward: RewardRecord) -> str:
    cost = "" if reward.cost_metric == "flops" else f" of {COST_LABELS[reward.cost_metric]}"
    if reward.kind == "accuracy":
        return "the score alone"
    return f"{reward.kind} reward{cost}, w = {reward.exponent:g}".replace("-", "\N{MINUS SIGN}")


def _describe_outcome(selection: SelectionRecord) -> str:
    return render(
        "baseline",
        "outcome",
        case=selection.outcome,
        num_others=len(selection.finalists) - 1,
        tied=[row.network_id for row in selection.tied_finalists],
        seeds=len(selection.selected.scores),
        kind=_kind(selection),
    )


def _describe_probability(selection: SelectionRecord) -> str:
    probability = selection.probability_of_best
    if probability is None or len(selection.finalists) == 1:
        return ""
    return render("baseline", "probability", value=format_probability(probability))


def _reference_case(reference: ReferenceRecord) -> str:
    if reference.is_selected_network:
        return "same"
    if reference.interval is None:
        return "unknown"
    cases = {True: "reached", False: "not_reached", None: "undecided"}
    return cases[reference.rediscovered]


def _describe_uncertainty(reference: ReferenceRecord) -> str:
    if reference.interval is None:
        return ""
    low, high = reference.interval
    if high - low < ROUNDING_TOLERANCE:
        return ", repeated measurements were identical"
    return f", 95% CI {low:+.4f} to {high:+.4f}".replace("-", "\N{MINUS SIGN}")


def _describe_exclusion(excluded: ExcludedReference, selection: SelectionRecord) -> str:
    return render(
        "baseline",
        "excluded",
        name=excluded.name,
        case=excluded.case,
        flops=excluded.flops or 0,
        resolution=excluded.resolution,
        max_cost_ratio=excluded.max_cost_ratio or 0.0,
        reason=excluded.reason,
        verb="trained" if selection.from_training else "measured",
    )


def _describe_search(run_data: RunData) -> str:
    best_trial, num_trials = run_data.best_trial, len(run_data.trials)
    if best_trial is None and run_data.num_unscored_trials:
        return render("baseline", "unscored", count=run_data.num_unscored_trials)
    if best_trial is None:
        return render("baseline", "nothing_measured")
    label = run_data.search_score_label
    note = f" {label}" + (" after a short training" if run_data.search_trains_networks else "")
    if run_data.reward is None:
        front = run_data.pareto_front
        return render(
            "baseline",
            "front",
            num_trials=num_trials,
            num_front=len(front),
            low=front[0].score,
            high=front[-1].score,
            note=note,
        )
    cost = format_cost(run_data.cost_metric, best_trial.get_cost(run_data.cost_metric))
    return render(
        "baseline",
        "best_so_far",
        num_trials=num_trials,
        trial=best_trial.number,
        score=best_trial.score,
        cost=cost,
        note=note,
    )

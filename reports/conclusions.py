"""What a run came to, in plain words with the numbers, and what it can't tell.

What the family gains over B0 is as the validation found it
(`phinas.scaling_search.validation.validation_summary`), with the luck of training and of the test
images. Where it found none (older runs; a single training of each), two members are compared by the
interval of the difference of two fractions (Newcombe, "Interval estimation for the difference
between independent proportions", 1998, method 10). That says nothing of the luck of training, and
takes the test images of the two as independent draws; they are the same images, so there it errs on
the side of "can't be told".
"""

from typing import Any

from phinas.experiment.statistics.intervals import newcombe_interval
from phinas.experiment.statistics.paired_comparison import format_probability
from phinas.reports.coefficient_verdict import (
    describe_domain_coefficients,
    describe_paper_coefficients,
)
from phinas.reports.controls import describe_compound_verdict, describe_identical_controls
from phinas.reports.formatting import (
    GREEK_LETTERS,
    format_cost,
    format_count,
    format_percent,
    format_points,
    join_names,
    pluralize,
)
from phinas.reports.run_data import RunData


def list_conclusions(run_data: RunData) -> list[str]:
    """Sentences for the top of the page."""
    return [
        sentence for paragraph in make_conclusion_paragraphs(run_data) for sentence in paragraph
    ]


def make_conclusion_paragraphs(run_data: RunData) -> list[list[str]]:
    """Of sentences: baseline; coefficients; family; how it compares with other ways to scale. None
    is empty.
    """
    paragraphs = [
        _describe_baseline(run_data),
        [*_describe_coefficients(run_data), *describe_paper_coefficients(run_data)],
        [*_describe_family(run_data), *_describe_predictions(run_data)],
        [
            *describe_compound_verdict(run_data),
            *describe_domain_coefficients(run_data),
            *describe_identical_controls(run_data),
        ],
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def compare_accuracies(first: dict[str, Any], second: dict[str, Any]) -> tuple[float, float, float]:
    """By how much `second` is more accurate than `first` (rows of validation.yaml), and the 95%
    interval of that.
    """
    interval = newcombe_interval(
        first["accuracy"], first["images"], second["accuracy"], second["images"]
    )
    return second["accuracy"] - first["accuracy"], *interval


def summarize_wins(coefficients: dict[str, Any]) -> str:
    """ "all", "some" or "none" of the other ways to scale can be told from the best."""
    members = coefficients["members"]
    num_tied = sum(row["tied"] for row in members)
    return "all" if num_tied == 1 else "none" if num_tied == len(members) else "some"


def _describe_baseline(run_data: RunData) -> list[str]:
    baseline = run_data.baseline
    if baseline is None:
        return _describe_search(run_data)
    size = (
        f"{format_count(baseline['flops'])} FLOPs and {format_count(baseline['params'])} parameters"
    )
    if baseline.get("latency_ms"):
        size += f", {format_cost('latency', baseline['latency_ms'])} an inference"
    finalist = run_data.chosen_finalist
    if finalist is None:
        explanation = baseline["explanation"].removeprefix("given: ")
        return [
            f"The baseline, {baseline['spec_id']}, was given, not searched ({explanation}). It has "
            f"{size}."
        ]
    accuracies = finalist["accuracies"]
    dataset = run_data.manifest.get("data") or {}
    count_text = f"{dataset['validation']:,} " if dataset.get("validation") else ""
    split_phrase = (
        f" on the {count_text}validation images" if run_data.search_trains_networks else ""
    )
    kind = "training" if run_data.search_trains_networks else "measurement"
    mean = format_percent(sum(accuracies) / len(accuracies))
    repeats_note = (
        f"mean of {pluralize(len(accuracies), kind)}" if len(accuracies) > 1 else f"one {kind}"
    )
    sentences = [
        f"Of {pluralize(len(run_data.trials), 'network')} measured, the baseline is "
        f"{baseline['spec_id']} (trial {baseline['trial']}): {mean}{split_phrase} ({repeats_note}) "
        f"with {size}."
    ]
    other_finalists = [row for row in run_data.finalists if row is not finalist]
    tied_finalists = [row for row in other_finalists if row["tied_with_chosen"]]
    others_phrase = (
        f"the other {len(other_finalists)} finalists"
        if len(other_finalists) > 1
        else "the other finalist"
    )
    if other_finalists and len(tied_finalists) == len(other_finalists):
        subject_phrase = (
            f"None of {others_phrase} can"
            if len(other_finalists) > 1
            else "The other finalist can't"
        )
        sentences.append(
            f"{subject_phrase} be told from it: these data do not say which of them is best."
        )
    elif tied_finalists:
        sentences.append(f"{len(tied_finalists)} of {others_phrase} can't be told from it.")
    elif other_finalists and run_data.is_noiseless:
        sentences.append(f"It beats {others_phrase}, and measured again each came to the same.")
    elif other_finalists:
        sentences.append(f"It beats {others_phrase} beyond the noise of {kind} (95%).")
    if other_finalists and (chance := baseline.get("probability_of_best")) is not None:
        sentences.append(
            f"The probability that it is the best of them is {format_probability(chance)}."
        )
    return sentences + _describe_reference(
        baseline.get("reference"), "trained" if run_data.search_trains_networks else "measured"
    )


def _describe_reference(reference: dict[str, Any] | None, verb: str) -> list[str]:
    """Whether the published network is reached, or why none was trained or measured."""
    if reference is None:
        return []
    if "exclusion_reason" in reference:
        return [f"{reference['name']} was not {verb} beside it: {reference['exclusion_reason']}."]
    explanation = str(reference["explanation"]).replace("-", "\N{MINUS SIGN}")
    return [f"{explanation[0].upper()}{explanation[1:]}."]


def _describe_search(run_data: RunData) -> list[str]:
    best_trial = run_data.best_trial
    if best_trial is None and run_data.num_unscored_trials:
        return [
            f"{pluralize(run_data.num_unscored_trials, 'network')} measured so far, from which the "
            "weight of the reward will be estimated."
        ]
    if best_trial is None:
        return ["Nothing has been measured yet."]
    training_note = " after a short training" if run_data.search_trains_networks else ""
    if run_data.reward is None:
        count_text = pluralize(len(run_data.trials), "network")
        return [
            f"{count_text} measured so far, of which {len(run_data.pareto_front)} are on the "
            f"Pareto front, at {format_percent(run_data.pareto_front[0].accuracy)} to "
            f"{format_percent(run_data.pareto_front[-1].accuracy)}{training_note}."
        ]
    cost = best_trial.get_cost(run_data.cost_metric)
    return [
        f"{pluralize(len(run_data.trials), 'network')} measured so far; the best by reward is "
        f"trial {best_trial.number}, {format_percent(best_trial.accuracy)} at "
        f"{format_cost(run_data.cost_metric, cost)}{training_note}. No baseline has been chosen "
        "yet."
    ]


def _describe_coefficients(run_data: RunData) -> list[str]:
    coefficients = run_data.coefficients
    if coefficients is None:
        return []
    if run_data.searched_coefficients is None:
        point = ", ".join(f"{name}\u00a0=\u00a0{coefficients[name]:.2f}" for name in GREEK_LETTERS)
        return [
            f"To grow it, scale by {point}: given, not searched, so whether others suit these data "
            "better is not said here."
        ]
    values = ", ".join(
        f"{name}\u00a0=\u00a0{coefficients[name]:.2f} ({coefficients['ranges'][name][0]:.2f} to "
        f"{coefficients['ranges'][name][1]:.2f})"
        for name in ("alpha", "beta", "gamma")
    )
    opening = (
        f"To grow it, scale by {values}: the best point and, in brackets, the range that these "
        "data leave."
    )
    ways_text = pluralize(
        len(coefficients["members"]),
        "measured way" if run_data.scaling_accuracy_source else "trained way",
    )
    cost = f"{coefficients['flops_multiple'] ** coefficients['grid_phi']:.3g} times the FLOPs"
    num_tied = sum(row["tied"] for row in coefficients["members"]) - 1
    explanation = {
        "all": f"Of {ways_text} to spend {cost}, this one beats all others beyond the noise (95%).",
        "some": f"Of {ways_text} to spend {cost}, {num_tied} can't be told from the "
        "best, so "
        "the ranges "
        "count, not the point.",
        "none": f"None of the {ways_text} to spend {cost} can be told from another: "
        "these "
        "data do not "
        "say whether depth, width or "
        "resolution is the better investment, and the point is no more than a start.",
    }
    source_note = (
        f"Accuracies of ways to scale are those of {run_data.scaling_accuracy_source}, not of "
        "trainings."
        if run_data.scaling_accuracy_source
        else ""
    )
    return [
        opening,
        explanation[summarize_wins(coefficients)],
        *([source_note] if source_note else []),
    ]


def _describe_family(run_data: RunData) -> list[str]:
    members = run_data.validated_members
    if not members:
        return []
    by_name, gain_result = {row["name"]: row for row in members}, run_data.gain or {}
    has_gain = gain_result.get("baseline") in by_name and gain_result.get("member") in by_name
    first, last = (
        (by_name[gain_result["baseline"]], by_name[gain_result["member"]])
        if has_gain
        else (members[0], members[-1])
    )
    opening = (
        f"On the test split {first['name'].upper()} reaches {format_percent(first['accuracy'])}"
    )
    if first is last:
        return [f"{opening}; no other member of the family was trained."]
    gain, low, high = (
        (gain_result["gain"], *gain_result["interval"])
        if has_gain
        else compare_accuracies(first, last)
    )
    cost = f"at {last['flops'] / first['flops']:.1f} times the FLOPs"
    opening += f" and {last['name'].upper()}, {cost}, {format_percent(last['accuracy'])}"
    difference_text = (
        f"{format_points(gain)} points (95%: {format_points(low)} to {format_points(high)})"
    )
    images_text = f"{last['images']:,} test images"
    if low > 0:
        noise_phrase = " and the luck of training" if has_gain else ""
        return [
            f"{opening}: {difference_text}, so scaling helps beyond what the "
            f"{images_text}{noise_phrase} leave open."
        ]
    if high < 0:
        return [f"{opening}: {difference_text}, so scaling hurts here, with these recipes."]
    repeats_phrase = (
        f" and {pluralize(len(last['accuracies']), 'training')} of each" if has_gain else ""
    )
    return [
        f"{opening}: {difference_text}; with {images_text}{repeats_phrase} that gain can't be told "
        "from none."
    ]


def _describe_predictions(run_data: RunData) -> list[str]:
    """Which accuracies of the family are no measurements."""
    rows = run_data.predicted_members
    if not rows:
        return []
    farthest_member = max(rows, key=lambda row: row["prediction"]["extrapolation"])
    prediction = farthest_member["prediction"]
    low, high = prediction["interval"]
    names = join_names([row["name"].upper() for row in rows])
    extrapolation_note = (
        f", at {prediction['extrapolation']:.1f} times the FLOPs of the largest trained network"
        if prediction["extrapolation"] > 1
        else ""
    )
    is_single = len(rows) == 1
    return [
        f"{names} {'was' if is_single else 'were'} not trained: what is told of "
        f"{'its' if is_single else 'their'} accuracy is a prediction "
        f"({farthest_member['name'].upper()}: {format_percent(prediction['accuracy'])}, 95%: "
        f"{format_percent(low)} to {format_percent(high)}{extrapolation_note})."
    ]

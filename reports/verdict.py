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

from phinas.experiment.measurement import wilson_interval
from phinas.experiment.statistics.paired_comparison import shown_chance
from phinas.reports.coefficient_verdict import about_own, about_paper
from phinas.reports.controls import about_compound, about_same
from phinas.reports.formatting import (
    GREEK,
    amount,
    counted,
    joined_names,
    percent,
    points,
    quantity,
)
from phinas.reports.run_data import Records


def verdict(records: Records) -> list[str]:
    """Sentences for the top of the page."""
    return [sentence for paragraph in paragraphs(records) for sentence in paragraph]


def paragraphs(records: Records) -> list[list[str]]:
    """Of sentences: baseline; coefficients; family; how it compares with other ways to scale. None
    is empty.
    """
    told = [
        _about_baseline(records),
        [*_about_coefficients(records), *about_paper(records)],
        [*_about_family(records), *_about_predictions(records)],
        [*about_compound(records), *about_own(records), *about_same(records)],
    ]
    return [paragraph for paragraph in told if paragraph]


def difference(first: dict[str, Any], second: dict[str, Any]) -> tuple[float, float, float]:
    """By how much `second` is more accurate than `first` (rows of validation.yaml), and the 95%
    interval of that.
    """
    (low1, high1), (low2, high2) = (
        wilson_interval(row["accuracy"], row["images"]) for row in (first, second)
    )
    p1, p2 = first["accuracy"], second["accuracy"]
    below = ((p2 - low2) ** 2 + (high1 - p1) ** 2) ** 0.5
    above = ((high2 - p2) ** 2 + (p1 - low1) ** 2) ** 0.5
    return p2 - p1, p2 - p1 - below, p2 - p1 + above


def told_apart(coefficients: dict[str, Any]) -> str:
    """ "all", "some" or "none" of the other ways to scale can be told from the best."""
    members = coefficients["members"]
    tied = sum(row["tied"] for row in members)
    return "all" if tied == 1 else "none" if tied == len(members) else "some"


def _about_baseline(records: Records) -> list[str]:
    facts = records.baseline
    if facts is None:
        return _about_search(records)
    size = f"{quantity(facts['flops'])} FLOPs and {quantity(facts['params'])} parameters"
    if facts.get("latency_ms"):
        size += f", {amount('latency', facts['latency_ms'])} an inference"
    chosen = records.chosen_finalist
    if chosen is None:
        why = facts["why"].removeprefix("given: ")
        return [
            f"The baseline, {facts['spec_id']}, was given, not searched ({why}). It has {size}."
        ]
    accuracies = chosen["accuracies"]
    images = records.manifest.get("data") or {}
    count = f"{images['validation']:,} " if images.get("validation") else ""
    on = f" on the {count}validation images" if records.trained else ""
    kind = "training" if records.trained else "measurement"
    mean = percent(sum(accuracies) / len(accuracies))
    how = f"mean of {counted(len(accuracies), kind)}" if len(accuracies) > 1 else f"one {kind}"
    told = [
        f"Of {counted(len(records.trials), 'network')} measured, the baseline is "
        f"{facts['spec_id']} (trial {facts['trial']}): "
        f"{mean}{on} ({how}) with {size}."
    ]
    others = [row for row in records.finalists if row is not chosen]
    tied = [row for row in others if row["tied_with_chosen"]]
    rest = f"the other {len(others)} finalists" if len(others) > 1 else "the other finalist"
    if others and len(tied) == len(others):
        none = f"None of {rest} can" if len(others) > 1 else "The other finalist can't"
        told.append(f"{none} be told from it: these data do not say which of them is best.")
    elif tied:
        told.append(f"{len(tied)} of {rest} can't be told from it.")
    elif others and records.noiseless:
        told.append(f"It beats {rest}, and measured again each came to the same.")
    elif others:
        told.append(f"It beats {rest} beyond the noise of {kind} (95%).")
    if others and (chance := facts.get("chance_of_best")) is not None:
        told.append(f"The probability that it is the best of them is {shown_chance(chance)}.")
    return told + _about_reference(
        facts.get("reference"), "trained" if records.trained else "measured"
    )


def _about_reference(reference: dict[str, Any] | None, done: str) -> list[str]:
    """Whether the published network is reached, or why none was trained or measured."""
    if reference is None:
        return []
    if "left_out" in reference:
        return [f"{reference['name']} was not {done} beside it: {reference['left_out']}."]
    why = str(reference["why"]).replace("-", "\N{MINUS SIGN}")
    return [f"{why[0].upper()}{why[1:]}."]


def _about_search(records: Records) -> list[str]:
    best = records.best
    if best is None and records.held:
        return [
            f"{counted(records.held, 'network')} measured so far, from which the weight of the "
            "reward will be estimated."
        ]
    if best is None:
        return ["Nothing has been measured yet."]
    after = " after a short training" if records.trained else ""
    if records.reward is None:
        measured = counted(len(records.trials), "network")
        return [
            f"{measured} measured so far, of which {len(records.front)} are on the Pareto front, "
            f"at {percent(records.front[0].accuracy)} to "
            f"{percent(records.front[-1].accuracy)}{after}."
        ]
    return [
        f"{counted(len(records.trials), 'network')} measured so far; the best by reward is trial "
        f"{best.number}, "
        f"{percent(best.accuracy)} at "
        f"{amount(records.metric, best.cost_in(records.metric))}{after}. "
        "No baseline has been chosen yet."
    ]


def _about_coefficients(records: Records) -> list[str]:
    found = records.coefficients
    if found is None:
        return []
    if records.searched_coefficients is None:
        point = ", ".join(f"{name}\u00a0=\u00a0{found[name]:.2f}" for name in GREEK)
        return [
            f"To grow it, scale by {point}: given, not searched, so whether others suit these "
            "data better is not said here."
        ]
    values = ", ".join(
        f"{name}\u00a0=\u00a0{found[name]:.2f} ({found['ranges'][name][0]:.2f} to "
        f"{found['ranges'][name][1]:.2f})"
        for name in ("alpha", "beta", "gamma")
    )
    told = (
        f"To grow it, scale by {values}: the best point and, in brackets, the range that "
        "these data leave."
    )
    ways = counted(len(found["members"]), "measured way" if records.scaled_by else "trained way")
    cost = f"{found['multiple'] ** found['compared_at_phi']:.3g} times the FLOPs"
    tied = sum(row["tied"] for row in found["members"]) - 1
    why = {
        "all": f"Of {ways} to spend {cost}, this one beats all others beyond the noise (95%).",
        "some": f"Of {ways} to spend {cost}, {tied} can't be told from the best, so the ranges "
        "count, not the point.",
        "none": f"None of the {ways} to spend {cost} can be told from another: these data do not "
        "say whether depth, width or "
        "resolution is the better investment, and the point is no more than a start.",
    }
    by = (
        f"Accuracies of ways to scale are those of {records.scaled_by}, not of trainings."
        if records.scaled_by
        else ""
    )
    return [told, why[told_apart(found)], *([by] if by else [])]


def _about_family(records: Records) -> list[str]:
    trained = records.validated
    if not trained:
        return []
    by_name, found = {row["name"]: row for row in trained}, records.gain or {}
    known = found.get("over") in by_name and found.get("member") in by_name
    first, last = (
        (by_name[found["over"]], by_name[found["member"]]) if known else (trained[0], trained[-1])
    )
    told = f"On the test split {first['name'].upper()} reaches {percent(first['accuracy'])}"
    if first is last:
        return [f"{told}; no other member of the family was trained."]
    gain, low, high = (found["gain"], *found["interval"]) if known else difference(first, last)
    cost = f"at {last['flops'] / first['flops']:.1f} times the FLOPs"
    told += f" and {last['name'].upper()}, {cost}, {percent(last['accuracy'])}"
    measure = f"{points(gain)} points (95%: {points(low)} to {points(high)})"
    images = f"{last['images']:,} test images"
    if low > 0:
        luck = " and the luck of training" if known else ""
        return [f"{told}: {measure}, so scaling helps beyond what the {images}{luck} leave open."]
    if high < 0:
        return [f"{told}: {measure}, so scaling hurts here, with these recipes."]
    few = f" and {counted(len(last['accuracies']), 'training')} of each" if known else ""
    return [f"{told}: {measure}; with {images}{few} that gain can't be told from none."]


def _about_predictions(records: Records) -> list[str]:
    """Which accuracies of the family are no measurements."""
    rows = records.predicted
    if not rows:
        return []
    far = max(rows, key=lambda row: row["prediction"]["beyond"])
    found = far["prediction"]
    low, high = found["interval"]
    names = joined_names([row["name"].upper() for row in rows])
    beyond = (
        f", at {found['beyond']:.1f} times the FLOPs of the largest trained network"
        if found["beyond"] > 1
        else ""
    )
    one = len(rows) == 1
    return [
        f"{names} {'was' if one else 'were'} not trained: what is told of "
        f"{'its' if one else 'their'} "
        f"accuracy is a prediction ({far['name'].upper()}: {percent(found['accuracy'])}, 95%: "
        f"{percent(low)} to "
        f"{percent(high)}{beyond})."
    ]

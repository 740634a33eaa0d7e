"""The sentences about the check of the learning rate of a stage: for the page and the terminal."""

from phinas.experiment.artifacts.learning_rates import LearningRatesFile
from phinas.reports.sentences.rendering import list_sentences, render

_TOPIC = "learning_rates"


def describe_learning_rates(check: LearningRatesFile) -> list[str]:
    """What was trained, the learning rate of the stage, and which networks another one suits."""
    trained = render(
        _TOPIC,
        "trained",
        names=[network.name for network in check.networks],
        rates=[format_rate(rate) for rate in check.rates],
        epochs=check.epochs,
        recipe_epochs=check.recipe_epochs,
        num_seeds=check.num_seeds,
    )
    return list_sentences(trained, _describe_choice(check), _describe_end(check), *_suits(check))


def format_rate(learning_rate: float) -> str:
    """A learning rate in up to three significant digits."""
    return f"{learning_rate:.3g}"


def _describe_choice(check: LearningRatesFile) -> str:
    """Which rate is used, and why."""
    rate, recipe_rate = format_rate(check.learning_rate), format_rate(check.recipe_rate)
    over_recipe = check.over_recipe
    if over_recipe is None:
        if check.learning_rate != check.recipe_rate:
            return render(_TOPIC, "recipe_failed", rate=rate, recipe_rate=recipe_rate)
        return render(_TOPIC, "not_compared", rate=rate)
    values = {
        "gain": over_recipe.gain,
        "interval": over_recipe.interval,
        "num_networks": len(check.compared_networks),
    }
    if check.learning_rate == check.recipe_rate:
        other = format_rate(over_recipe.learning_rate)
        return render(_TOPIC, "kept", rate=rate, other=other, **values)
    return render(_TOPIC, "changed", rate=rate, recipe_rate=recipe_rate, **values)


def _describe_end(check: LearningRatesFile) -> str:
    """That a better rate may be outside the range, where another one than the recipe's is used."""
    if check.learning_rate == check.recipe_rate:
        return ""
    end = {check.rates[0]: "lowest", check.rates[-1]: "highest"}.get(check.learning_rate)
    rate = format_rate(check.learning_rate)
    return render(_TOPIC, "end_of_range", rate=rate, end=end) if end else ""


def _suits(check: LearningRatesFile) -> list[str]:
    """Which networks another rate suits significantly better."""
    if check.disagreeing:
        return [
            render(
                _TOPIC,
                "suits_another",
                name=network.name,
                rate=format_rate(gain.learning_rate),
                gain=gain.gain,
                interval=gain.interval,
            )
            for network, gain in check.disagreeing
        ]
    half_widths = [
        (network.best_other.interval[1] - network.best_other.interval[0]) / 2
        for network in check.compared_networks
        if network.best_other is not None and network.best_other.interval is not None
    ]
    return [render(_TOPIC, "suits_all", half_width=max(half_widths))] if half_widths else []

"""The training that saved weights are from, in one sentence."""

from phinas.experiment.artifacts.trained_weights import TrainedWeights
from phinas.experiment.measurement import metric_label
from phinas.reports.sentences.rendering import render


def describe_weights(weights: TrainedWeights, *, name: str) -> str:
    """Say which training the weights of a network are from, and what score it has.

    Args:
        weights: The training.
        name: The network.
    """
    return render(
        "trained_weights",
        "origin",
        name=name,
        weights=weights,
        label=metric_label(weights.metric),
    )

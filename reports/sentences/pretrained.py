"""The comparison with a published network that was fine-tuned, in one sentence."""

from phinas.experiment.artifacts.pretrained_reference import PretrainedReference
from phinas.reports.sentences.rendering import render


def describe_pretrained(reference: PretrainedReference) -> str:
    """The comparison for the terminal, the model card and the page of a run."""
    low, high = reference.interval
    return render(
        "pretrained",
        "comparison",
        case="more" if low > 0 else "less" if high < 0 else "tied",
        name=reference.member.upper() or "the network",
        reference=reference,
        published=reference.network.rpartition("/")[2],
        weights=reference.weights.rpartition("/")[2],
    )

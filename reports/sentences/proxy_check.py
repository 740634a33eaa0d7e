"""The sentences about the proxy check of a search: for the page and for the terminal."""

from phinas.experiment.artifacts.proxy_check import ProxyCheckFile
from phinas.experiment.measurement import metric_label
from phinas.experiment.schema.config import MIN_RANK_CORRELATION
from phinas.reports.sentences.rendering import list_sentences, render


def has_low_rank_correlation(check: ProxyCheckFile) -> bool:
    """Whether the expected rank correlation is known and below the level of the warning."""
    result = check.result
    return result is not None and result.true_rank_correlation.value < MIN_RANK_CORRELATION


def describe_proxy_check(check: ProxyCheckFile, *, trains_networks: bool) -> list[str]:
    """The spread of networks, the training noise and the expected rank correlation.

    Args:
        check: The proxy check.
        trains_networks: Whether the scores come from trainings, not from a user's function.
    """
    kind = "training" if trains_networks else "measurement"
    if check.result is None:
        num_repeated = sum(row.is_repeated for row in check.networks)
        return [
            render(
                "proxy_check",
                "too_few",
                num_repeated=num_repeated,
                num_pairs=check.num_pairs,
                kind=kind,
            )
        ]
    return list_sentences(
        render(
            "proxy_check",
            "estimate",
            num_networks=len(check.networks),
            num_pairs=check.num_pairs,
            epochs=check.epochs,
            recipe_epochs=check.recipe_epochs,
            result=check.result,
            label=metric_label(check.metric),
            kind=kind,
        ),
        render("proxy_check", "low", limit=f"{MIN_RANK_CORRELATION:g}")
        if has_low_rank_correlation(check)
        else "",
    )

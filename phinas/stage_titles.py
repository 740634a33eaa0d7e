"""The titles of the stages that the progress of a run shows."""

from collections.abc import Sequence

from phinas.experiment.schema.config import Config
from phinas.training.learning_rate_check import check_title


def displayed_stages(config: Config, stages: Sequence[str]) -> list[str]:
    """The titles of the stages that a run shows, in order.

    Args:
        config: The configuration of the run.
        stages: The stages to run.
    """
    searches = "search" in stages and config.scaling.baseline is None
    races = "scale" in stages and config.scaling.coefficients is None
    validates = "validate" in stages
    is_shown = {
        "data": config.data is not None,
        "search": searches,
        check_title("finalists"): searches and config.search.finalist_recipe.check_rates,
        "finalists": searches,
        check_title("scaling"): races and config.scaling.recipe.check_rates,
        "scaling": races,
        check_title("validation"): validates and config.validation.recipe.check_rates,
        "validation": validates,
        "report": "report" in stages,
    }
    return [title for title, shown in is_shown.items() if shown]

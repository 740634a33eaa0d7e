"""The message about a proxy check: its result, and what to raise if the trainings are too noisy."""

from phinas.adapt_to_data import ImageProperties, max_resolution
from phinas.experiment.artifacts.proxy_check import ProxyCheckFile
from phinas.experiment.schema.config import Config
from phinas.reports.formatting import join_names
from phinas.reports.sentences.proxy_check import describe_proxy_check, has_low_rank_correlation


def describe_check(
    check: ProxyCheckFile,
    config: Config,
    data: ImageProperties | None,
    *,
    train_images: int,
    resolution: int,
) -> str:
    """The result of a proxy check in one line. It is a warning if the rank correlation is low.

    Args:
        check: The proxy check.
        config: The configuration of the run.
        data: The images. None for a run without images.
        train_images: Number of training images, 0 without images.
        resolution: Input resolution of the networks in px.
    """
    trains_networks = config.search.evaluator == "proxy"
    result = " ".join(describe_proxy_check(check, trains_networks=trains_networks))
    if not has_low_rank_correlation(check):
        return f"proxy check: {result}"
    return f"warning: proxy check: {result} " + _advise(
        config, data, train_images=train_images, resolution=resolution
    )


def _advise(
    config: Config, data: ImageProperties | None, *, train_images: int, resolution: int
) -> str:
    """What makes the scores less noisy, of what can still be raised."""
    section = config.search
    if section.noise_std:
        return f"Lower search.noise_std (now {section.noise_std:g}), or raise search.finalists."
    epochs = f"search.recipe.epochs (now {section.recipe.epochs})"
    if section.evaluator != "proxy":
        return f"Raise {epochs}, if the scores of {section.evaluator} depend on it."
    settings = [epochs]
    if config.data is not None and config.data.max_train_images is not None:
        settings.append(f"data.max_train_images (now {train_images:,})")
    limit = max_resolution(config, data)
    if data is not None and resolution < min(limit, data.native_size):
        size = min(limit, data.native_size)
        settings.append(f"search.resolution (now {resolution} px; the images have {size:g} px)")
    return f"Raise {join_names(settings, 'or')}."

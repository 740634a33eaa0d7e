"""Which configuration keys have an option, and where `--help` lists it."""

from phinas.experiment.schema.run import HardwareSection

DATA_KEYS = (
    "data.source",
    "data.group_by",
    "data.drop_duplicates",
    "data.label_column",
    "data.image_column",
    "data.min_images_per_class",
    "data.resize_mode",
    "data.upsample",
    "data.skip_bad_images",
    "metric",
)
RUN_KEYS = (
    "run.time_budget",
    "run.seed",
    "run.device",
    "run.latency_runtime",
    "run.workers",
    "run.threads",
    "run.trials_per_gpu",
    "run.deterministic",
    "run.storage",
)
SEARCH_KEYS = (
    "search.space",
    "search.trials",
    "search.recipe",
    "search.recipe.epochs",
    "search.max_flops",
    "search.min_flops",
    "search.strategy",
    "search.evaluator",
    "search.pruner",
    "search.reward",
    "search.cost",
    "search.reward_exponent",
    "search.target_cost",
    "search.reference",
    "search.learn_from",
)
RESOLUTION_KEYS = ("search.resolution",)
BASELINE_KEYS = ("scaling.baseline", *RESOLUTION_KEYS)
SCALING_KEYS = (
    "scaling.recipe",
    "scaling.recipe.epochs",
    "scaling.seeds",
    "scaling.max_grid_members",
    "scaling.max_budget_fraction",
    "scaling.evaluator",
    "scaling.strategy",
    "scaling.constraint",
    "scaling.flops_multiple",
    "scaling.tolerance",
    "scaling.grid_phi",
    "scaling.grid_step",
    "scaling.rounding",
)
FAMILY_KEYS = (
    "scaling.coefficients",
    "scaling.phi",
    "scaling.flops",
    "scaling.params",
    "scaling.latency_ms",
    "scaling.max_resolution",
    "validation.pretrained_reference",
)
FIT_KEYS = (
    "recipe",
    "recipe.epochs",
    "weights",
    "normalization",
    "resolution",
    "recipe.batch_size",
    "device",
    "seed",
    "freeze_backbone",
    "pretrained_reference",
    "recipe.max_minutes",
    "data.upsample",
    "data.skip_bad_images",
    "data.group_by",
    "data.drop_duplicates",
    "data.label_column",
    "data.image_column",
    "data.min_images_per_class",
    "data.resize_mode",
    "threads",
    "deterministic",
    "onnx",
)

# With --out these are the options that a beginner needs first.
BASIC_KEYS = {
    "data.source",
    "search.space",
    "search.trials",
    "search.recipe.epochs",
    "search.max_flops",
    "scaling.baseline",
    "scaling.recipe.epochs",
    "scaling.seeds",
    "run.seed",
    "run.device",
    "run.workers",
    "recipe",
    "recipe.epochs",
    "recipe.batch_size",
    "weights",
    "resolution",
    "seed",
    "device",
}

# Options that are not named like the last part of their key.
FLAGS = {
    "data.source": "--data",
    # Without "family" they would read like limits of the search.
    "scaling.flops": "--family-flops",
    "scaling.params": "--family-params",
    "scaling.latency_ms": "--family-latency-ms",
    "scaling.max_resolution": "--family-max-resolution",
    "run.latency_runtime": "--runtime",
}

METAVARS = {
    "run.time_budget": "DURATION",
    "data.group_by": "NAME",
    "data.label_column": "NAME",
    "data.image_column": "NAME",
    "data.resize_mode": "MODE",
    "normalization": "NAME",
    "pretrained_reference": "NETWORK=WEIGHTS",
    "validation.pretrained_reference": "NETWORK=WEIGHTS",
    "run.latency_runtime": "RUNTIME",
    "scaling.coefficients": "ALPHA,BETA,GAMMA",
    "search.learn_from": "RUN,RUN,...",
}

# A recipe's keys do not say which training they belong to.
MEANINGS = {
    "search.recipe.epochs": "Number of passes over the training images, for the training of a "
    "candidate.",
    "scaling.recipe.epochs": "Number of passes over the training images, for the training of a "
    "network of the grid.",
}

_HEADINGS = {
    "data": "Data",
    "metric": "Data",
    "search": "Search",
    "scaling": "Scaling and family",
    "validation": "Scaling and family",
    "run": "Hardware and run",
}


def is_fixed_by_run(key: str) -> bool:
    """Whether a run that has a baseline has decided this key already."""
    if key == "run.time_budget":
        return False  # that of the scaling search
    return not key.startswith(("scaling.", "validation.")) or key == "scaling.baseline"


def heading_of(key: str) -> str:
    """The heading under which `--help` lists the option of a key."""
    if key in HardwareSection.model_fields:
        return "Hardware and run"
    return _HEADINGS.get(key.partition(".")[0], "Training")

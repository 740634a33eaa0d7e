"""The ways to fine-tune that benchmarks/finetune.py compares.

Most are the recipe `finetune` with changed keys. Two are no options of phinas, since they gained
nothing: learning rates that decay from block to block, and blocks that are trained from a later
step on. Both change the factors of the learning rate in the optimizer of a `TrainingSetup`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from phinas.experiment.schema.recipe import FINETUNE, RECIPES, Recipe
from phinas.training.engine.training_setup import TrainingSetup

FROZEN, CHOSEN = "classifier only", "finetune"


@dataclass(frozen=True)
class Variant:
    """A way to fine-tune.

    Attributes:
        changes: changed keys of the recipe.
        recipe: name of the recipe.
        freeze_backbone: train the classifier only.
        random_classifier: start from a random classifier instead of zeros.
        layer_decay: learning rate of a block as a fraction of that of the next one.
        unfreezing: fractions of the steps after which the last and the first block are trained.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = FINETUNE
    freeze_backbone: bool = False
    random_classifier: bool = False
    layer_decay: float = 1.0
    unfreezing: tuple[float, float] = (0.0, 0.0)

    def make_recipe(self, epochs: int) -> Recipe:
        return Recipe(**{**RECIPES[self.recipe][1], **self.changes, "epochs": epochs})


_ONE_RATE = {"learning_rate": 3e-4, "backbone_learning_rate_factor": 1.0}
VARIANTS = {
    FROZEN: Variant(freeze_backbone=True),
    CHOSEN: Variant(),
    "one learning rate, 0.0003": Variant(_ONE_RATE),
    "layer-wise decay 0.95 from 0.0005": Variant(
        {**_ONE_RATE, "learning_rate": 5e-4}, layer_decay=0.95
    ),
    "random classifier": Variant(random_classifier=True),
    "trained batch-norm statistics": Variant({"freeze_batch_norm": False}),
    "dropout and stochastic depth of the network": Variant({"regularization": 1.0}),
    "classifier first, 20% of the steps": Variant(unfreezing=(0.2, 0.2)),
    "unfreezing by block, 20% to 80%": Variant(unfreezing=(0.2, 0.8)),
    "weight decay 0.05": Variant({"weight_decay": 0.05}),
    "EMA of 10% of the steps": Variant({"ema_fraction": 0.1}),
    "SGD, 0.1 and 0.01 for the backbone": Variant({"optimizer": "sgd", "learning_rate": 0.8}),
    "batches of 128": Variant({"batch_size": 128}),
    "recipe proxy": Variant(recipe="proxy"),
}


def schedule_layers(setup: TrainingSetup, variant: Variant) -> Callable[[int], None]:
    """Apply `layer_decay` and `unfreezing` to the optimizer of a setup.

    Returns:
        A function that must be called after each step with the number of completed steps.
    """
    if variant.layer_decay == 1 and not any(variant.unfreezing):
        return lambda _step: None
    layers = _layers(setup.network)
    last = len(layers) - 1
    starts = _start_steps(variant, last, setup.total_steps)
    groups = []
    for number, parameters in enumerate(layers):
        for group in setup.optimizer.param_groups:
            members = {id(parameter) for parameter in group["params"]}
            part = [parameter for parameter in parameters if id(parameter) in members]
            if part:
                factor = group["rate_factor"] * variant.layer_decay ** (last - number)
                groups.append((starts[number], factor, {**group, "params": part}))
    setup.optimizer.param_groups[:] = [group for _, _, group in groups]

    def update(step: int) -> None:
        for start, factor, group in groups:
            group["rate_factor"] = factor if step >= start else 0.0

    update(0)
    return update


def _start_steps(variant: Variant, last: int, steps: int) -> list[float]:
    """The step from which each layer is trained, from the stem to the classifier."""
    top, bottom = variant.unfreezing
    fractions = [top + (bottom - top) * (last - 1 - number) / (last - 1) for number in range(last)]
    return [fraction * steps for fraction in (*fractions, 0.0)]


def _layers(network: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of the stem, each block, the head and the classifier."""
    stages = network.get_submodule("stages")
    blocks = [block for stage in stages.children() for block in stage.children()]
    parts = [network.get_submodule("stem"), *blocks, network.get_submodule("head")]
    return [[*part.parameters()] for part in (*parts, network.get_submodule("classifier"))]


def randomize_classifier(module: nn.Module) -> None:
    """Give the classifier the random weights of a new `ConvNet`."""
    classifier = module.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    with torch.no_grad():
        bound = classifier.out_features**-0.5
        classifier.weight.uniform_(-bound, bound)

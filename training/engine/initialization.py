"""Initialization of a network for training: initial weights, frozen parts, stochastic depth and
batch-norm momentum.

A `ConvNet` has the random weights of the published EfficientNet, which suit 350 epochs of ImageNet.
For short trainings on few classes two parts of them are smaller here. The classifier, whose
published weights grow as classes become fewer, is at most in inverse proportion to its inputs
(Yang et al., arXiv:2203.03466, table 3). And the last batch-norm weight of each residual block is
zero, so that the block starts as the identity (Goyal et al., arXiv:1706.02677, section 5.1).
Measured: benchmarks/proxy_recipe.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Recipe
from phinas.space.network import Network
from phinas.space.pytorch.conv_net import ConvBlock, ConvNet, last_norm, scale_regularization

# After the training, batches before the last fifth of the steps have a weight of 1% in the running
# statistics.
_STATISTICS_FRACTION = 0.2
_REMAINING_WEIGHT = 0.01
# Largest initial weight of a classifier, times its inputs. For B0 (1,280 inputs) ten times as much
# costs most of what three epochs learn. For networks of 64 inputs a tenth costs as much.
_CLASSIFIER_SCALE = 20.0


@dataclass(frozen=True)
class Initialization:
    """Initial weights of a network, and whether its backbone is frozen.

    Args:
        prepare: function that loads weights into the new module; the default keeps the random ones.
        freeze_backbone: train the classifier only; batch norms keep their statistics.
    """

    prepare: Callable[[nn.Module], None] = lambda _module: None
    freeze_backbone: bool = False


FROM_SCRATCH = Initialization()


def initialize_network(
    network: Network,
    recipe: Recipe,
    initialization: Initialization,
    *,
    device: torch.device,
    steps: int,
) -> nn.Module:
    """Build a network on a device, in channels-last format, with random weights from torch's
    current generator. A `ConvNet` gets the initialization for short trainings (see above); other
    networks keep their own.

    Batch norms of published networks average over hundreds of steps. In a training too short for
    that, they average over fewer steps (`min_batch_norm_momentum`). Otherwise the running
    statistics are wrong: a MobileNetV2 trained for 31 steps had 10% accuracy on ten classes
    (measured).

    Args:
        network: the network to build.
        recipe: its `regularization` multiplies dropout and stochastic depth. Networks that are not
            a `ConvNet` keep theirs if it is "auto".
        initialization: initial weights and frozen parts.
        device: device of the training.
        steps: train steps before the first evaluation that counts: those of the training, or of its
            first epoch where each epoch counts.

    Raises:
        InputError: the regularization or the frozen backbone needs to know the parts of a network
            that is not a `ConvNet`.
    """
    module = network.build()
    if isinstance(module, ConvNet):
        shrink_initial_outputs(module)
    initialization.prepare(module)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if initialization.freeze_backbone:
        module.requires_grad_(False)
        require_conv_net(module, key="freeze_backbone").classifier.requires_grad_(True)
    if isinstance(module, ConvNet) or recipe.regularization != "auto":
        conv_net = require_conv_net(module, key="recipe.regularization")
        scale_regularization(conv_net, recipe.regularization_factor)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.momentum is not None:
            part.momentum = max(part.momentum, min_batch_norm_momentum(steps))
    return module


def shrink_initial_outputs(network: ConvNet) -> None:
    """Shrink the classifier to at most the scale above, and set the last batch-norm weight of each
    residual block to zero.
    """
    classifier = network.classifier
    published_bound = classifier.out_features**-0.5
    with torch.no_grad():
        classifier.weight *= min(1.0, _CLASSIFIER_SCALE / classifier.in_features / published_bound)
    for block in network.modules():
        if isinstance(block, ConvBlock) and block.has_shortcut:
            nn.init.zeros_(last_norm(block).weight)


def min_batch_norm_momentum(steps: int) -> float:
    """Return the momentum with which the running statistics after `steps` train steps are those of
    the last fifth of the steps: 0.52 for 31 steps, 0.01 for 2,300.
    """
    return 1 - _REMAINING_WEIGHT ** (1 / max(1.0, _STATISTICS_FRACTION * steps))


def set_train_mode(module: nn.Module, recipe: Recipe, initialization: Initialization) -> None:
    """Set training mode: for the classifier only if the backbone is frozen, and not for the batch
    norms if the recipe freezes their statistics.
    """
    module.train(not initialization.freeze_backbone)
    if initialization.freeze_backbone:
        network = require_conv_net(module, key="freeze_backbone")
        network.dropout.train()
        network.classifier.train()
    if recipe.freeze_batch_norm:
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d | nn.SyncBatchNorm):
                part.eval()


def require_conv_net(module: nn.Module, *, key: str) -> ConvNet:
    """Return a network whose parts are known.

    Args:
        module: the network.
        key: the configuration key that needs them, for the error message.

    Raises:
        InputError: the network is not a `ConvNet`.
    """
    if not isinstance(module, ConvNet):
        raise InputError(
            f"{key}: the classifier and the blocks of {type(module).__name__} are unknown; leave "
            "it at its default"
        )
    return module

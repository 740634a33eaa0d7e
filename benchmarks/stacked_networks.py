"""Several networks of one architecture as one network with grouped convolutions."""

import copy

import torch
from torch import Tensor, nn


class _GroupedClassifier(nn.Module):
    """The classifiers, without bias, of `count` networks whose channels are concatenated."""

    def __init__(self, classifier: nn.Linear, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(classifier.weight.detach().repeat(count, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, network, class) of features (batch, network * channel)."""
        features_by_network = features.unflatten(1, (len(self.weight), -1))
        return torch.einsum("nkc,kdc->nkd", features_by_network, self.weight)


def stack_networks(network: nn.Module, count: int) -> nn.Module:
    """`count` networks of one architecture as one network with grouped convolutions.

    The channels of the networks are concatenated (arXiv:2102.02344).
    """
    stacked = copy.deepcopy(network)
    for parent in list(stacked.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.Conv2d):
                setattr(parent, name, _stack_convolution(module, count))
            elif isinstance(module, nn.BatchNorm2d):
                norm = nn.BatchNorm2d(
                    count * module.num_features, eps=module.eps, momentum=module.momentum
                )
                setattr(parent, name, norm)
            elif isinstance(module, nn.Linear):
                setattr(parent, name, _GroupedClassifier(module, count))
    return stacked


def _stack_convolution(convolution: nn.Conv2d, count: int) -> nn.Conv2d:
    return type(convolution)(
        count * convolution.in_channels,
        count * convolution.out_channels,
        convolution.kernel_size,
        stride=convolution.stride,
        padding=convolution.padding,
        groups=count * convolution.groups,
        bias=convolution.bias is not None,
    )

"""What other tools count for the same network, in closed form and without torch.

No two counters agree, and some give different counts for one network: they look up modules by
their exact class, or see functions only, so the number depends on how a library implements the
network. Hence two tables: CONVENTIONS, one row for each tool, a sum of multiples of few terms; and
IMPLEMENTATIONS, one row for each implementation of the network. Every pair equals the tool's own
number to the last digit, in eval mode, for one image; the tests run the tools (calflops if it is
installed). Accel-NASBench's `macs` are thop's with the implementation torchvision.

Verified with fvcore 0.1.5.post20221221, ptflops 0.7.5, thop 0.1.1.post2209072238, torchinfo 1.8.0,
calflops 0.3.2 and torch 2.13.0, on the networks of `ArchSpec.build`, timm 1.0.31 and torchvision
0.28.0 that IMPLEMENTATIONS names.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.layers import Conv, lower, output_resolution
from phinas.space.network_fields import NetworkFields


@dataclass(frozen=True, slots=True)
class Implementation:
    """How a library implements a network, as far as counters notice it.

    Attributes:
        description: the library and its networks.
        plain_norms: batch norms are `nn.BatchNorm2d` itself, not a subclass.
        se_pooling: "mean" (of the tensor), "function" (functional.adaptive_avg_pool2d) or "module"
            (nn.AdaptiveAvgPool2d).
        head_pooling: likewise, before the classifier.
        same_convs: the convolutions that are a subclass of `nn.Conv2d` with padding "same": those
            with a "kernel" above 1, those "strided", or "" for none.
    """

    description: str
    plain_norms: bool
    se_pooling: str
    head_pooling: str
    same_convs: str


@dataclass(frozen=True, slots=True)
class Convention:
    """What a tool counts.

    Attributes:
        tool: the tool and its function.
        coefficients: how often it counts each of the TERMS.
        difference: how its count differs from multiply-adds.
    """

    tool: str
    coefficients: Mapping[str, int]
    difference: str


IMPLEMENTATIONS = {
    "phinas": Implementation("phinas.space.spec.ArchSpec.build", True, "mean", "mean", "kernel"),
    "timm": Implementation(
        "timm's EfficientNets (tf_ too), MobileNets, MnasNets; its ResNets",
        False,
        "mean",
        "module",
        "strided",
    ),
    "torchvision": Implementation(
        "torchvision's EfficientNets and ResNets; Accel-NASBench", True, "module", "module", ""
    ),
    "functional": Implementation("torchvision's MobileNetV2", True, "function", "function", ""),
}

# All per image. Elements are numbers in a feature map.
TERMS = {
    "macs": "multiply-adds of convolutions and the classifier, SE's two convolutions included",
    "macs_in_subclasses": "those of them in subclasses of nn.Conv2d (padding `same`)",
    "conv_biases": "additions of a bias in convolutions (those of SE)",
    "linear_biases": "additions of a bias in the classifier",
    "norms": "output elements of batch norms",
    "norms_plain": "those of them from nn.BatchNorm2d itself",
    "norm_params_plain": "weights and biases of nn.BatchNorm2d itself",
    "relu": "output elements of ReLU",
    "relu6": "output elements of ReLU6",
    "silu": "output elements of SiLU",
    "pooled": "input elements of global average pooling, unless it is a mean",
    "pooled_by_module": "those of them in nn.AdaptiveAvgPool2d",
    "pooled_outputs": "output elements of nn.AdaptiveAvgPool2d",
    "max_pooled": "input elements of the stem's max pooling, with the padding if it is `same`",
    "max_pooled_by_module": "those of them in nn.MaxPool2d itself",
}

CONVENTIONS = {
    "phinas": Convention(
        "spec.cost().flops; the papers' FLOPS",
        {"macs": 1},
        "multiply-adds of convolutions and the classifier, nothing else",
    ),
    "fvcore": Convention(
        "fvcore, FlopCountAnalysis.total()",
        {"macs": 1, "norms": 2, "pooled": 1},
        "adds 2 per batch-norm element, though inference folds batch norms away, and 1 per pooled "
        "element unless it is a mean",
    ),
    "ptflops": Convention(
        "ptflops, backend pytorch",
        {
            "macs": 1,
            "macs_in_subclasses": -1,
            "conv_biases": 1,
            "linear_biases": 1,
            "norms_plain": 2,
            "relu": 2,
            "relu6": 1,
            "silu": 1,
            "pooled": 1,
            "pooled_by_module": 1,
            "max_pooled": 1,
            "max_pooled_by_module": 1,
        },
        "adds biases, activations, pooling and 2 per batch-norm element; a ReLU or pooling module "
        "counts twice (itself, then the function that it calls), a subclass of a known module not "
        "at all",
    ),
    "ptflops_aten": Convention(
        "ptflops, backend aten",
        {"macs": 1, "conv_biases": 1, "linear_biases": 1},
        "adds the biases of SE and of the classifier",
    ),
    "thop": Convention(
        "thop, profile()",
        {
            "macs": 1,
            "macs_in_subclasses": -1,
            "norms_plain": 4,
            "pooled_by_module": 1,
            "pooled_outputs": 1,
        },
        "adds 4 per batch-norm element and height * width + 1 per channel pooled, but sees modules "
        "of known classes only: no subclass (timm's batch norms, convolutions of padding `same`), "
        "no mean",
    ),
    "torchinfo": Convention(
        "torchinfo, total_mult_adds",
        {"macs": 1, "conv_biases": 1, "linear_biases": 1, "norm_params_plain": 1},
        "adds biases, and each parameter of a batch norm once, whatever the size of its map",
    ),
    "calflops_macs": Convention("calflops, MACs", {"macs": 1}, "none; its FLOPs differ"),
    "calflops": Convention(
        "calflops, FLOPs",
        {
            "macs": 2,
            "conv_biases": 1,
            "norms": 2,
            "relu": 1,
            "silu": 1,
            "pooled": 1,
            "max_pooled": 1,
        },
        "a multiply-add is two; adds batch norms, SE's biases, pooling, SiLU and ReLU, but no "
        "ReLU6 and no classifier's bias",
    ),
    "torch": Convention(
        "torch, FlopCounterMode",
        {"macs": 2},
        "a multiply-add is two operations; nothing else is counted",
    ),
}


class _TermCounter:
    """Counts the TERMS of one network in one implementation."""

    def __init__(self, implementation: Implementation, *, same_padding: bool) -> None:
        self.implementation, self.same_padding = implementation, same_padding
        self.counts = Counter(dict.fromkeys(TERMS, 0))

    def add_conv(self, conv: Conv, resolution: int) -> int:
        """Count a convolution on a map of `resolution`, with its norm and activation.

        Returns the resolution of its output.
        """
        if conv.name == "squeeze":
            self.add_pooling(self.implementation.se_pooling, conv.in_width, resolution)
        out_resolution = (
            resolution if conv.pooled_input else output_resolution(resolution, conv.stride)
        )
        elements = conv.out_width * (1 if conv.pooled_input else out_resolution * out_resolution)
        macs = conv.kernel**2 * (conv.in_width // conv.groups) * elements
        self.counts["macs"] += macs
        if self.same_padding and {"kernel": conv.kernel > 1, "strided": conv.stride > 1}.get(
            self.implementation.same_convs
        ):
            self.counts["macs_in_subclasses"] += macs
        if conv.norm:
            self.counts["norms"] += elements
            self.counts["norms_plain"] += elements * self.implementation.plain_norms
            self.counts["norm_params_plain"] += 2 * conv.out_width * self.implementation.plain_norms
        else:
            self.counts["conv_biases"] += elements
        self.add_activation(conv.activation, elements)
        return out_resolution

    def add_activation(self, name: str, elements: int) -> None:
        if name in TERMS:  # no tool counts other activations
            self.counts[name] += elements

    def add_pooling(self, pooling: str, width: int, resolution: int) -> None:
        if pooling != "mean":
            self.counts["pooled"] += width * resolution * resolution
        if pooling == "module":
            self.counts["pooled_by_module"] += width * resolution * resolution
            self.counts["pooled_outputs"] += width

    def add_max_pooling(self, width: int, resolution: int) -> int:
        """Count the stem's max pooling and return the resolution after it.

        Padding "same" is a step before the operator, symmetric padding is part of it.
        """
        out_resolution = output_resolution(resolution, 2)
        num_inputs = (
            width
            * (max(resolution, 2 * out_resolution + 1) if self.same_padding else resolution) ** 2
        )
        self.counts["max_pooled"] += num_inputs
        self.counts["max_pooled_by_module"] += 0 if self.same_padding else num_inputs
        return out_resolution


def count_terms(spec: NetworkFields, implementation: str = "phinas") -> dict[str, int]:
    """The count of each of the TERMS for `spec` in an implementation of IMPLEMENTATIONS."""
    # timm's ResNets are written with plain modules.
    if implementation == "timm" and any(
        BLOCK_KINDS[stage.block].projects_shortcut for stage in spec.stages
    ):
        implementation = "torchvision"
    network, counter = (
        lower(spec),
        _TermCounter(IMPLEMENTATIONS[implementation], same_padding=spec.padding == "same"),
    )
    resolution = counter.add_conv(network.stem, spec.resolution)
    if network.stem_pool:
        resolution = counter.add_max_pooling(network.stem.out_width, resolution)
    for block in (block for stage in network.stages for block in stage):
        in_resolution = resolution
        for conv in block.convs:
            resolution = counter.add_conv(conv, resolution)
        if block.projection:
            counter.add_conv(block.projection, in_resolution)
        counter.add_activation(
            block.activation, block.convs[-1].out_width * resolution * resolution
        )
    if network.head:
        counter.add_conv(network.head, resolution)
    counter.add_pooling(counter.implementation.head_pooling, spec.last_width, resolution)
    counter.counts["macs"] += spec.last_width * spec.classes
    counter.counts["linear_biases"] += spec.classes
    return dict(counter.counts)


def count_flops(spec: NetworkFields, implementation: str = "phinas") -> dict[str, int]:
    """The FLOPs of `spec` by each of CONVENTIONS, in an implementation of IMPLEMENTATIONS: exactly
    the tool's own number.
    """
    counts = count_terms(spec, implementation)
    return {
        name: sum(
            coefficient * counts[term] for term, coefficient in convention.coefficients.items()
        )
        for name, convention in CONVENTIONS.items()
    }

"""What other tools count for the same network, in closed form and without torch.

No counter in the field agrees with another, and some disagree with themselves: they look modules up
by their exact class, or see functions only, so the number depends on how a library wrote the
network. Hence two tables: CONVENTIONS, one row a tool, each a sum of whole multiples of few terms;
and FORMS, one row a way of writing the network. Every pair is exact to the last digit against the
tool itself, in eval mode, for one image; the tests run the tools (calflops where it is installed).
Accel-NASBench's `macs` are thop's in form torchvision.

Verified with fvcore 0.1.5.post20221221, ptflops 0.7.5, thop 0.1.1.post2209072238, torchinfo 1.8.0,
calflops 0.3.2 and torch 2.13.0, on the networks of `blocks.build`, timm 1.0.31 and torchvision
0.28.0 that FORMS names.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from phinas.space.layers import Conv, lower, reduced
from phinas.space.spec import ArchSpec


@dataclass(frozen=True, slots=True)
class Form:
    """One way of writing a network, as far as a counter sees it.

    plain_norms: batch norms are `nn.BatchNorm2d` itself, not a subclass. se_pooling, head_pooling:
    "mean" (of the tensor), "function" (functional.adaptive_avg_pool2d) or "module"
    (nn.AdaptiveAvgPool2d). same_convs: which convolutions are a subclass of `nn.Conv2d` under
    padding "same": those of a "kernel" above 1, those "strided", or "" for none.
    """

    where: str
    plain_norms: bool
    se_pooling: str
    head_pooling: str
    same_convs: str


@dataclass(frozen=True, slots=True)
class Convention:
    """`weights`: how often each of the TERMS is counted. `why`: how it differs from multiply-adds,
    in a sentence.
    """

    tool: str
    weights: Mapping[str, int]
    why: str


FORMS = {
    "phinas": Form("built here: phinas.space.blocks.build", True, "mean", "mean", "kernel"),
    "timm": Form(
        "timm's EfficientNets (tf_ too), MobileNets, MnasNets; its ResNets",
        False,
        "mean",
        "module",
        "strided",
    ),
    "torchvision": Form(
        "torchvision's EfficientNets and ResNets; Accel-NASBench", True, "module", "module", ""
    ),
    "functional": Form("torchvision's MobileNetV2", True, "function", "function", ""),
}

# All per image. Elements are numbers in a map.
TERMS = {
    "macs": "multiply-adds of convolutions and the classifier, SE's two convolutions included",
    "macs_unseen": "those of them in subclasses of nn.Conv2d (padding `same`)",
    "conv_biases": "additions of a bias in convolutions (SE's two)",
    "linear_biases": "additions of a bias in the classifier",
    "norms": "elements that batch norms put out",
    "norms_seen": "those of them from nn.BatchNorm2d itself",
    "norm_params_seen": "weights and biases of nn.BatchNorm2d itself",
    "relu": "elements that pass a ReLU",
    "relu6": "elements that pass a ReLU6",
    "silu": "elements that pass a SiLU",
    "pooled": "elements that enter a global average pooling, unless it is written as a mean",
    "pooled_seen": "those of them that enter nn.AdaptiveAvgPool2d",
    "pools_seen": "elements that leave nn.AdaptiveAvgPool2d",
    "max_pooled": "elements that enter the stem's max pooling, with its padding under `same`",
    "max_pooled_seen": "those of them that enter nn.MaxPool2d itself",
}

CONVENTIONS = {
    "phinas": Convention(
        "cost(spec).flops; the papers' FLOPS",
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
            "macs_unseen": -1,
            "conv_biases": 1,
            "linear_biases": 1,
            "norms_seen": 2,
            "relu": 2,
            "relu6": 1,
            "silu": 1,
            "pooled": 1,
            "pooled_seen": 1,
            "max_pooled": 1,
            "max_pooled_seen": 1,
        },
        "adds biases, activations, pooling and 2 per batch-norm element; a ReLU or pooling module "
        "counts twice (itself, then "
        "the function that it calls), a subclass of a known module not at all",
    ),
    "ptflops_aten": Convention(
        "ptflops, backend aten",
        {"macs": 1, "conv_biases": 1, "linear_biases": 1},
        "adds the biases of SE and of the classifier",
    ),
    "thop": Convention(
        "thop, profile()",
        {"macs": 1, "macs_unseen": -1, "norms_seen": 4, "pooled_seen": 1, "pools_seen": 1},
        "adds 4 per batch-norm element and height * width + 1 per channel pooled, but sees "
        "modules of known classes only: no "
        "subclass (timm's batch norms, convolutions of padding `same`), no mean",
    ),
    "torchinfo": Convention(
        "torchinfo, total_mult_adds",
        {"macs": 1, "conv_biases": 1, "linear_biases": 1, "norm_params_seen": 1},
        "adds biases, and each parameter of a batch norm once, whatever the size of its map",
    ),
    "calflops_macs": Convention(
        "calflops, MACs", {"macs": 1}, "agrees; its FLOPs are another matter"
    ),
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


class _Tally:
    """The TERMS counted so far of one network as written in one form."""

    def __init__(self, form: Form, *, same: bool) -> None:
        self.form, self.same = form, same
        self.found = Counter(dict.fromkeys(TERMS, 0))

    def add_conv(self, conv: Conv, side: int) -> int:
        """A convolution, with what follows it, of a map of `side` pixels of a side. The side of the
        map at hand after it.
        """
        if conv.role == "squeeze":
            self.add_pooling(self.form.se_pooling, conv.in_width, side)
        after = side if conv.pooled else reduced(side, conv.stride)
        elements = conv.out_width * (1 if conv.pooled else after * after)
        macs = conv.kernel**2 * (conv.in_width // conv.groups) * elements
        self.found["macs"] += macs
        if self.same and {"kernel": conv.kernel > 1, "strided": conv.stride > 1}.get(
            self.form.same_convs
        ):
            self.found["macs_unseen"] += macs
        if conv.norm:
            self.found["norms"] += elements
            self.found["norms_seen"] += elements * self.form.plain_norms
            self.found["norm_params_seen"] += 2 * conv.out_width * self.form.plain_norms
        else:
            self.found["conv_biases"] += elements
        self.add_activation(conv.activation, elements)
        return after

    def add_activation(self, name: str, elements: int) -> None:
        if name in TERMS:  # no tool counts the others
            self.found[name] += elements

    def add_pooling(self, written: str, width: int, side: int) -> None:
        if written != "mean":
            self.found["pooled"] += width * side * side
        if written == "module":
            self.found["pooled_seen"] += width * side * side
            self.found["pools_seen"] += width

    def add_max_pooling(self, width: int, side: int) -> int:
        """The stem's max pooling; the side after it. Padding "same" comes before the operator, the
        other is inside it.
        """
        after = reduced(side, 2)
        entered = width * (max(side, 2 * after + 1) if self.same else side) ** 2
        self.found["max_pooled"] += entered
        self.found["max_pooled_seen"] += 0 if self.same else entered
        return after


def terms(spec: ArchSpec, form: str = "phinas") -> dict[str, int]:
    """Each of the TERMS for `spec` as written in `form`, a name of FORMS."""
    if form == "timm" and any(stage.block == "bottleneck" for stage in spec.stages):
        form = "torchvision"  # timm's ResNets are written with plain modules
    network, tally = lower(spec), _Tally(FORMS[form], same=spec.padding == "same")
    side = tally.add_conv(network.stem, spec.resolution)
    if network.stem_pool:
        side = tally.add_max_pooling(network.stem.out_width, side)
    for block in (block for stage in network.stages for block in stage):
        entry = side
        for conv in block.convs:
            side = tally.add_conv(conv, side)
        if block.projection:
            tally.add_conv(block.projection, entry)
        tally.add_activation(block.activation, block.convs[-1].out_width * side * side)
    if network.head:
        tally.add_conv(network.head, side)
    tally.add_pooling(tally.form.head_pooling, spec.last_width, side)
    tally.found["macs"] += spec.last_width * spec.classes
    tally.found["linear_biases"] += spec.classes
    return dict(tally.found)


def counts(spec: ArchSpec, form: str = "phinas") -> dict[str, int]:
    """What each of CONVENTIONS says of `spec` as written in `form`, a name of FORMS: the tool's own
    number, exactly.
    """
    found = terms(spec, form)
    return {
        name: sum(times * found[term] for term, times in row.weights.items())
        for name, row in CONVENTIONS.items()
    }

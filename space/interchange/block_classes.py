"""The block classes of a stand-alone file, in the form that its template needs.

One class serves all blocks of one kind in a network. It is derived from their lowered layers: what
the blocks have in common is its code, what they differ in are its arguments. So a new kind of block
needs no change here.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from graphlib import TopologicalSorter

from phinas.space.layers import Block, Conv

_ACTIVATIONS = {
    "": "",
    "silu": "nn.SiLU",
    "relu": "nn.ReLU",
    "relu6": "nn.ReLU6",
    "hard_swish": "nn.Hardswish",
    "sigmoid": "nn.Sigmoid",
}
_TYPES = {
    "stride": "int = 1,",
    "has_shortcut": "bool = False,",
    "has_projection": "bool = False,",
    "activation": "type[nn.Module],",
}
_OPTIONAL_TYPE = "int = 0,  # 0: none"


def conv_arguments(conv: Conv) -> str:
    """The arguments of the file's `convolution` for stem or head."""
    spatial = [conv.kernel, conv.stride] if (conv.kernel, conv.stride) != (1, 1) else []
    return ", ".join(
        map(
            str,
            [
                conv.in_width,
                conv.out_width,
                *spatial,
                f"activation={_ACTIVATIONS[conv.activation]}",
            ],
        )
    )


class BlockClass:
    """The class of blocks of one kind.

    Each convolution takes the map of the one before, so only its output width is an argument; a
    depthwise convolution needs none. All spatial convolutions of a block have one kernel size, and
    one of them has the stride. Other grouped convolutions have one number of groups.

    Args:
        kind: the kind of block.
        blocks: its blocks in the network.

    Attributes:
        has_shortcut: whether "all" blocks have a shortcut, "some", or "" for none.
        has_projection: whether "all" shortcuts are projected, "some", or "" for none.
        layers: the convolutions. Each has the keys name, arguments, condition (of an optional
            layer) and width (an expression for its output width).
    """

    def __init__(self, kind: str, blocks: Sequence[Block]) -> None:
        self.name = kind.title().replace("_", "").replace("Mbconv", "MBConv")
        self.blocks = blocks = tuple(dict.fromkeys(blocks))  # each that differs, once
        self.conv_names = _conv_order(blocks)
        self.has_shortcut = _quantify(block.shortcut for block in blocks)
        self.has_projection = _quantify(block.projection is not None for block in blocks)
        self._activations = {_main_activation(block) for block in blocks}
        self.activation = self._activation([(block, block.activation) for block in blocks])
        self.layers: list[dict[str, str]] = []
        width = "in_width"  # the expression for the width of the current map
        for conv_name in self.conv_names:
            optional = self._is_optional(conv_name)
            if conv_name == "squeeze":
                condition = " if squeeze else None" if optional else ""
                self._add_layer("squeeze", width, "squeeze", condition=condition)
                self._add_layer("excite", "squeeze", width, condition=condition)
            elif optional:
                self._add_layer(
                    conv_name,
                    width,
                    conv_name,
                    condition=f" if {conv_name} else nn.Identity()",
                    width=f"{conv_name} or {width}",
                )
                width = "width"
            else:
                out_width = width if self._is_depthwise(conv_name) else conv_name
                self._add_layer(conv_name, width, out_width)
                width = out_width
        if not self.has_projection:
            self.layers[-1]["width"] = ""  # not used any more
        self.projection = f"in_width, {width}" + (
            ", 1, stride" if any(map(self._is_spatial, self.conv_names)) else ""
        )

    def _add_layer(
        self, conv_name: str, in_width: str, out_width: str, *, condition: str = "", width: str = ""
    ) -> None:
        activation = self._activation(
            [(block, conv.activation) for block, conv in self._convs_named(conv_name)]
        )
        arguments = [in_width, out_width]
        arguments += self._spatial_arguments(conv_name)
        arguments += self._groups_argument(conv_name, in_width)
        arguments += [] if self._convs_named(conv_name)[0][1].norm else ["norm=False"]
        arguments += [f"activation={activation}"] if activation else []
        self.layers.append(
            {
                "name": conv_name,
                "arguments": ", ".join(arguments),
                "condition": condition,
                "width": width,
            }
        )

    def _convs_named(self, conv_name: str) -> list[tuple[Block, Conv]]:
        """The blocks that have a convolution of that name, and the convolution."""
        return [
            (block, conv) for block in self.blocks for conv in block.convs if conv.name == conv_name
        ]

    def _is_optional(self, conv_name: str) -> bool:
        return len(self._convs_named(conv_name)) < len(self.blocks)

    def _is_spatial(self, conv_name: str) -> bool:
        return any(conv.kernel > 1 or conv.stride > 1 for _, conv in self._convs_named(conv_name))

    def _spatial_arguments(self, conv_name: str) -> list[str]:
        """The arguments for kernel and stride of a convolution, which a 1x1 one does not have."""
        if not self._is_spatial(conv_name):
            return []
        return ["kernel", "stride"] if conv_name == self._strided_conv else ["kernel"]

    @cached_property
    def _strided_conv(self) -> str:
        """The convolution that has the stride; the first spatial one if no block has one."""
        spatial_names = [name for name in self.conv_names if self._is_spatial(name)]
        strided_names = [
            name for name in spatial_names if any(c.stride > 1 for _, c in self._convs_named(name))
        ]
        return (strided_names or spatial_names or [""])[0]

    def _is_depthwise(self, conv_name: str) -> bool:
        convs = [conv for _, conv in self._convs_named(conv_name)]
        return any(conv.groups > 1 for conv in convs) and all(
            conv.groups == conv.in_width == conv.out_width for conv in convs
        )

    def _groups_argument(self, conv_name: str, in_width: str) -> list[str]:
        if self._is_depthwise(conv_name):
            return [f"groups={in_width}"]
        groups = self._convs_named(conv_name)[0][1].groups
        return [f"groups={groups}"] if groups > 1 else []

    def _activation(self, uses: Sequence[tuple[Block, str]]) -> str:
        """The Python expression of an activation: its class, or the argument `activation` if the
        blocks differ.
        """
        differs = len(self._activations) > 1 and all(
            name == _main_activation(block) for block, name in uses
        )
        return "activation" if differs else _ACTIVATIONS[uses[0][1]]

    @property
    def docstring(self) -> str:
        """The docstring of the class."""
        conv_names = ", ".join(
            "squeeze and excite" if conv_name == "squeeze" else conv_name
            for conv_name in self.conv_names
        )
        shortcut_text = {
            "": "",
            "some": ", plus the input where `has_shortcut`",
            "all": ", plus the input",
        }[self.has_shortcut]
        projection_text = {
            "": "",
            "some": ", convolved where `has_projection`",
            "all": ", convolved",
        }[self.has_projection]
        activation_text = ", activation" if self.activation else ""
        summary = f"{conv_names}{shortcut_text}{projection_text}{activation_text}."
        return summary[0].upper() + summary[1:]

    @property
    def arguments(self) -> list[str]:
        """The parameters of the class besides `in_width`, with types and defaults."""
        values = [self._argument_values(block) for block in self.blocks]
        required_names = {
            name
            for name in self._argument_names()
            if all(name in block_values for block_values in values)
        }
        return [
            f"{name}: {_TYPES.get(name, 'int,' if name in required_names else _OPTIONAL_TYPE)}"
            for name in self._argument_names()
        ]

    def call_expression(self, block: Block) -> str:
        """The expression that makes `block`, for the table of stages."""
        values = self._argument_values(block)
        arguments = [f"{name}={values[name]}" for name in self._argument_names() if name in values]
        return f"partial({', '.join([self.name, str(block.convs[0].in_width), *arguments])})"

    def _argument_names(self) -> list[str]:
        """The parameters' names, in the order of the convolutions."""
        names: list[str] = []
        for conv_name in self.conv_names:
            names += [] if self._is_depthwise(conv_name) else [conv_name]
            names += self._spatial_arguments(conv_name)
        optional_flags = {
            "has_shortcut": self.has_shortcut == "some",
            "has_projection": self.has_projection == "some",
        }
        optional_flags["activation"] = len(self._activations) > 1
        # If several convolutions have a kernel, the argument follows the last.
        names = [*dict.fromkeys(reversed(names))][::-1]
        return [*names, *(name for name, is_argument in optional_flags.items() if is_argument)]

    def _argument_values(self, block: Block) -> dict[str, object]:
        """The arguments of `block`, without those at their defaults."""
        values: dict[str, object] = {conv.name: conv.out_width for conv in block.convs}
        for conv in block.convs:
            if self._is_spatial(conv.name):
                values["kernel"] = conv.kernel
            if conv.stride > 1:
                values["stride"] = conv.stride
        flags = {"has_shortcut": block.shortcut, "has_projection": block.projection is not None}
        values |= {name: True for name, flag in flags.items() if flag}
        return values | {"activation": _ACTIVATIONS[_main_activation(block)]}


def _conv_order(blocks: Iterable[Block]) -> list[str]:
    """The names of all convolutions in an order that agrees with every block; `excite` is left out,
    because it always follows `squeeze`.
    """
    # Lists, because the order of sets differs between processes.
    predecessors: dict[str, list[str]] = {}
    for block in blocks:
        conv_names = [conv.name for conv in block.convs if conv.name != "excite"]
        for previous, conv_name in itertools.pairwise(["", *conv_names]):
            predecessors.setdefault(conv_name, []).extend([previous] if previous else [])
    return list(TopologicalSorter(predecessors).static_order())


def _main_activation(block: Block) -> str:
    """The activation of a block, apart from its gate."""
    return next(
        name
        for name in (block.activation, *(conv.activation for conv in block.convs))
        if name not in ("", "sigmoid")
    )


def _quantify(flags: Iterable[bool]) -> str:
    """Whether "all" are true, "some", or "" for none."""
    distinct = set(flags)
    return "some" if len(distinct) > 1 else "all" if distinct == {True} else ""

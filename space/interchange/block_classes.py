"""The block classes of a stand-alone file, as what its template needs to write them.

A class makes every block of one kind that a network has. It is read off their lowered layers: what
the blocks have in common is its code, what they differ in are its arguments. So a kind of block
that `layers` learns is written without a word here.
"""

import itertools
from collections.abc import Iterable, Sequence
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
    "adds_input": "bool = False,",
    "projects": "bool = False,",
    "activation": "type[nn.Module],",
}


def convolution_arguments(conv: Conv) -> str:
    """The arguments of the file's `convolution` for one that is the only one of its like (stem,
    head).
    """
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
    """The class of `blocks`, all of one kind. adds_input, projects: whether "all" of them do,
    "some", or "" none.

    Each convolution takes the map of the one before, so only the width that it gives need be said,
    and of a depthwise one not even that. At most one convolution of a block has a kernel and a
    stride to tell.
    """

    def __init__(self, kind: str, blocks: Sequence[Block]) -> None:
        self.name = kind.title().replace("_", "").replace("Mbconv", "MBConv")
        self.blocks = blocks = tuple(dict.fromkeys(blocks))  # each that differs, once
        self.roles = _ordered_roles(blocks)
        self.adds_input = _share(block.shortcut for block in blocks)
        self.projects = _share(block.projection is not None for block in blocks)
        self._activations = {_own_activation(block) for block in blocks}
        self.activation = self._activation([(block, block.activation) for block in blocks])
        self.layers: list[
            dict[str, str]
        ] = []  # role, arguments, otherwise (if the block has none), width (of the map then)
        width = "in_width"  # the expression for the width of the map at hand
        for role in self.roles:
            optional = self._optional(role)
            if role == "squeeze":
                otherwise = " if squeeze else None" if optional else ""
                self._add("squeeze", width, "squeeze", otherwise=otherwise)
                self._add("excite", "squeeze", width, otherwise=otherwise)
            elif optional:
                self._add(
                    role,
                    width,
                    role,
                    otherwise=f" if {role} else nn.Identity()",
                    width=f"{role} or {width}",
                )
                width = "width"
            else:
                made = width if self._depthwise(role) else role
                self._add(role, width, made)
                width = made
        if not self.projects:
            self.layers[-1]["width"] = ""  # nothing asks for it any more
        self.projection = f"in_width, {width}" + (
            ", 1, stride" if any(map(self._spatial, self.roles)) else ""
        )

    def _add(
        self, role: str, given: str, made: str, *, otherwise: str = "", width: str = ""
    ) -> None:
        activation = self._activation(
            [(block, conv.activation) for block, conv in self._made(role)]
        )
        words = [given, made]
        words += ["kernel", "stride"] if self._spatial(role) else []
        words += [f"groups={given}"] if self._depthwise(role) else []
        words += [] if self._made(role)[0][1].norm else ["norm=False"]
        words += [f"activation={activation}"] if activation else []
        self.layers.append(
            {"role": role, "arguments": ", ".join(words), "otherwise": otherwise, "width": width}
        )

    def _made(self, role: str) -> list[tuple[Block, Conv]]:
        """The blocks that have such a convolution, and theirs."""
        return [(block, conv) for block in self.blocks for conv in block.convs if conv.role == role]

    def _optional(self, role: str) -> bool:
        return len(self._made(role)) < len(self.blocks)

    def _spatial(self, role: str) -> bool:
        return any(conv.kernel > 1 or conv.stride > 1 for _, conv in self._made(role))

    def _depthwise(self, role: str) -> bool:
        convs = [conv for _, conv in self._made(role)]
        return any(conv.groups > 1 for conv in convs) and all(
            conv.groups == conv.in_width == conv.out_width for conv in convs
        )

    def _activation(self, used: Sequence[tuple[Block, str]]) -> str:
        """An activation as the code says it: its class, or the argument `activation` where it
        follows blocks that differ.
        """
        follows = len(self._activations) > 1 and all(
            name == _own_activation(block) for block, name in used
        )
        return "activation" if follows else _ACTIVATIONS[used[0][1]]

    @property
    def told(self) -> str:
        """What the class says of itself."""
        roles = ", ".join(
            "squeeze and excite" if role == "squeeze" else role for role in self.roles
        )
        added = {"": "", "some": ", plus the input where `adds_input`", "all": ", plus the input"}[
            self.adds_input
        ]
        projected = {"": "", "some": ", convolved where `projects`", "all": ", convolved"}[
            self.projects
        ]
        return f"{roles[0].upper()}{roles[1:]}{added}{projected}{', activation' if self.activation else ''}."

    @property
    def arguments(self) -> list[str]:
        """The parameters of the class beside `in_width`, with types, defaults and what these
        mean.
        """
        settings = [self._settings(block) for block in self.blocks]
        always = {name for name in self._names() if all(name in each for each in settings)}
        return [
            f"{name}: "
            f"{_TYPES.get(name, 'int,' if name in always else 'int = 0,  # 0: there is none')}"
            for name in self._names()
        ]

    def call(self, block: Block) -> str:
        """What makes `block`, as the table of stages says it."""
        settings = self._settings(block)
        words = [f"{name}={settings[name]}" for name in self._names() if name in settings]
        return f"partial({', '.join([self.name, str(block.convs[0].in_width), *words])})"

    def _names(self) -> list[str]:
        """The parameters' names, in the order of the convolutions."""
        names: list[str] = []
        for role in self.roles:
            names += [] if self._depthwise(role) else [role]
            names += ["kernel", "stride"] if self._spatial(role) else []
        whole = {"adds_input": self.adds_input == "some", "projects": self.projects == "some"}
        whole["activation"] = len(self._activations) > 1
        names = [*dict.fromkeys(reversed(names))][
            ::-1
        ]  # where several convolutions have a kernel, it follows the last
        return [*names, *(name for name, needed in whole.items() if needed)]

    def _settings(self, block: Block) -> dict[str, object]:
        """What the parameters are for `block`, without those that are at their defaults."""
        settings: dict[str, object] = {conv.role: conv.out_width for conv in block.convs}
        for conv in block.convs:
            if self._spatial(conv.role):
                settings |= {"kernel": conv.kernel} | (
                    {"stride": conv.stride} if conv.stride > 1 else {}
                )
        flags = {"adds_input": block.shortcut, "projects": block.projection is not None}
        settings |= {name: True for name, flag in flags.items() if flag}
        return settings | {"activation": _ACTIVATIONS[_own_activation(block)]}


def _ordered_roles(blocks: Iterable[Block]) -> list[str]:
    """The roles of all convolutions in an order that is every block's own; `excite` goes without
    saying after its squeeze.
    """
    after: dict[str, list[str]] = {}  # no sets: their order is another in each process
    for block in blocks:
        roles = [conv.role for conv in block.convs if conv.role != "excite"]
        for before, role in itertools.pairwise(["", *roles]):
            after.setdefault(role, []).extend([before] if before else [])
    return list(TopologicalSorter(after).static_order())


def _own_activation(block: Block) -> str:
    """The activation that a block has everywhere but in its gate."""
    return next(
        name
        for name in (block.activation, *(conv.activation for conv in block.convs))
        if name not in ("", "sigmoid")
    )


def _share(flags: Iterable[bool]) -> str:
    """How many are true: "all", "some", or "" for none."""
    found = set(flags)
    return "some" if len(found) > 1 else "all" if found == {True} else ""

"""The published B1..B7 held against the rule alpha^phi, beta^phi, gamma^phi, dimension by
dimension.

The paper (arXiv:1905.11946, section 3.3) fixes 1.2 / 1.1 / 1.15 and scales with phi; its code has a
table of factors with one decimal, and resolutions, that are not the rule's. Why has been asked
since 2019. Each published number is turned back into the phi that it implies (log d / log alpha),
with the interval of phi in which the rule's rounded network has the same blocks, channels or
pixels. In which rows a dimension departs is derived: a factor that differs by more than its last
printed digit can mean, a resolution by a pixel.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.scaling_search.family.phi import REACH, Interval, edge, network_at
from phinas.scaling_search.family.regularization import PUBLISHED_PHI, regularised
from phinas.space.cost import cost
from phinas.space.presets import EFFICIENTNET, preset
from phinas.space.published import Compound
from phinas.space.spec import ArchSpec

_LAST_DIGIT = 0.05 + 1e-9  # factors are printed with one decimal
_PIXEL = 1.0


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of a published network beside the rule's at the row's phi.

    rule, published: factors on B0's; rule_sizes, published_sizes: rounded (blocks a stage; channels
    of stem, stages and head; pixels of a side). implied: the phi at which the rule has the
    published factor (None: the rule does not scale this);
    interval: all phi at which it has the published sizes (None: none). departs: -1 where the
    published factor is smaller than the rule's beyond rounding, 1 where it is larger, else 0.
    """

    rule: float
    published: float
    implied: float | None
    interval: Interval | None
    rule_sizes: tuple[int, ...]
    published_sizes: tuple[int, ...]
    departs: int


@dataclass(frozen=True, slots=True)
class Amount:
    """FLOPs or parameters of both; implied: the phi from which on the rule's network has more than
    the published one.
    """

    rule: int
    published: int
    implied: float


@dataclass(frozen=True, slots=True)
class Row:
    """A published network beside the rule's at `phi`. Dropout has no phi of its own: the rule's is
    fitted to these rows.
    """

    name: str
    phi: float
    depth: Dimension
    width: Dimension
    resolution: Dimension
    rule_dropout: float
    published_dropout: float
    flops: Amount
    params: Amount

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def compare_published(
    coefficients: Coefficients = PAPER, *, ladder: Sequence[float] = PUBLISHED_PHI[1:]
) -> list[Row]:
    """B1..B7 as published beside what the coefficients make of B0 at the phi of the ladder, one for
    each.

    Raises ValueError for a ladder of another length.
    """
    names = list(EFFICIENTNET)[1:]
    return [_row(name, phi, coefficients) for name, phi in zip(names, ladder, strict=True)]


def _row(name: str, phi: float, coefficients: Coefficients) -> Row:
    table, baseline, published = EFFICIENTNET[name], preset("efficientnet_b0"), preset(name)
    rule = regularised(network_at(baseline, coefficients, phi), phi)
    return Row(
        name.removeprefix("efficientnet_"),
        phi,
        **_dimensions(table, phi, coefficients, networks=(baseline, rule, published)),
        rule_dropout=rule.dropout,
        published_dropout=published.dropout,
        flops=_amount(
            baseline, rule, published, coefficients, needed=lambda spec: cost(spec).flops
        ),
        params=_amount(
            baseline, rule, published, coefficients, needed=lambda spec: cost(spec).params
        ),
    )


def _dimensions(
    table: Compound,
    phi: float,
    coefficients: Coefficients,
    *,
    networks: tuple[ArchSpec, ArchSpec, ArchSpec],
) -> dict[str, Dimension]:
    baseline, rule, published = networks
    side = baseline.resolution
    told = (
        ("depth", coefficients.alpha, table.depth, _LAST_DIGIT, _depths),
        ("width", coefficients.beta, table.width, _LAST_DIGIT, _widths),
        ("resolution", coefficients.gamma, table.resolution / side, _PIXEL / side, _side),
    )
    found = {}
    for name, base, factor, tolerance, sizes in told:
        implied = math.log(factor) / math.log(base) if base > 1 else None
        gap = factor - base**phi
        found[name] = Dimension(
            rule=base**phi,
            published=factor,
            implied=implied,
            interval=None
            if implied is None
            else _interval(baseline, coefficients, implied, sizes, wanted=sizes(published)),
            rule_sizes=sizes(rule),
            published_sizes=sizes(published),
            departs=0 if abs(gap) <= tolerance else int(math.copysign(1, gap)),
        )
    return found


Sizes = Callable[[ArchSpec], tuple[int, ...]]


def _depths(spec: ArchSpec) -> tuple[int, ...]:
    return tuple(stage.depth for stage in spec.stages)


def _widths(spec: ArchSpec) -> tuple[int, ...]:
    return (spec.stem_width, *(stage.width for stage in spec.stages), spec.head_width)


def _side(spec: ArchSpec) -> tuple[int, ...]:
    return (spec.resolution,)


def _interval(
    baseline: ArchSpec,
    coefficients: Coefficients,
    phi: float,
    sizes: Sizes,
    *,
    wanted: tuple[int, ...],
) -> Interval | None:
    """All phi around this one at which the rule has the wanted sizes."""

    def means(other: float) -> bool:
        return sizes(network_at(baseline, coefficients, other)) == wanted

    return (edge(means, phi, -REACH), edge(means, phi, REACH)) if means(phi) else None


def _amount(
    baseline: ArchSpec,
    rule: ArchSpec,
    published: ArchSpec,
    coefficients: Coefficients,
    *,
    needed: Callable[[ArchSpec], int],
) -> Amount:
    # Around B0 cost never falls as phi rises, so the first network above the published one is found
    # by bisection.
    limit = needed(published)
    crossing = edge(
        lambda phi: needed(network_at(baseline, coefficients, phi)) <= limit, -REACH, REACH
    )
    return Amount(needed(rule), limit, crossing)


def difference(rows: Sequence[Row], coefficients: Coefficients = PAPER) -> str:
    """In one sentence, what was published otherwise than the rule has it, worked out from the
    rows.
    """
    factors = " / ".join(
        f"{value:g}" for value in (coefficients.alpha, coefficients.beta, coefficients.gamma)
    )
    ladder = ", ".join(f"{row.phi:g}" for row in rows)
    clauses = [_clause(name, rows) for name in ("depth", "width", "resolution")]
    ratios = [row.flops.published / row.flops.rule for row in rows]
    clauses.append(f"FLOPs are {min(ratios):.2f} to {max(ratios):.2f} times the rule's")
    return (
        f"Against {factors} at phi {ladder}, the published {', '.join(clauses[:-1])}, and "
        f"{clauses[-1]}."
    )


_UNITS = {"depth": "blocks", "width": "channels", "resolution": "pixels"}


def _clause(name: str, rows: Sequence[Row]) -> str:
    """What happens to one dimension, and where it is farthest from the rule."""
    found: list[tuple[Row, Dimension]] = [(row, getattr(row, name)) for row in rows]
    parts = []
    for sign, verb in ((-1, "cut"), (1, "raised")):
        departing = [(row, each) for row, each in found if each.departs == sign]
        if not departing:
            continue
        where = _where([row.name for row, _ in departing], rows)
        worst, told = max(
            departing, key=lambda pair: abs(math.log(pair[1].published / pair[1].rule))
        )
        most = "" if len(departing) == 1 else f"most in {worst.name.upper()}: "
        implied = "" if told.implied is None else f", phi {told.implied:.1f} for {worst.phi:g}"
        unlike = [row.name for row, each in departing if each.rule_sizes != each.published_sizes]
        hidden = (
            ""
            if len(unlike) in (0, len(departing))
            else f"; in whole {_UNITS[name]} {_where(unlike, rows)}"
        )
        parts.append(
            f"{verb} {where} ({most}{told.published:.3g} times B0's for "
            f"{told.rule:.3g}{implied}{hidden})"
        )
    return f"{name} is {' and '.join(parts) or 'as the rule has it'}"


def _where(names: Sequence[str], rows: Sequence[Row]) -> str:
    """Rows by name: "from B4 on" where they are all up to the last."""
    every = [row.name for row in rows]
    if len(names) > 1 and every[-len(names) :] == list(names):
        return f"from {names[0].upper()} on"
    return f"in {', '.join(name.upper() for name in names)}"

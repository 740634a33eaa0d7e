"""The published EfficientNet-B1..B7 compared with compound scaling, dimension by dimension.

The paper (arXiv:1905.11946, section 3.3) fixes 1.2 / 1.1 / 1.15 and scales with phi. Its code has a
table of factors with one decimal, and resolutions, that differ from that. For each published number
this computes the phi that it implies (log d / log alpha), and the interval of phi in which the
rounded computed network has the same blocks, channels or resolution. A dimension differs where its
factor differs by more than its last printed digit allows, or its resolution by more than one px.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from phinas.experiment.artifacts.artifact import Interval
from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.scaling_search.family.phi import MAX_PHI, find_boundary, scale_to_phi
from phinas.scaling_search.family.regularization import PUBLISHED_PHI, scale_regularization
from phinas.space.presets import EFFICIENTNET, preset
from phinas.space.presets.published_network import PublishedEfficientNet
from phinas.space.spec import ArchSpec

_FACTOR_TOLERANCE = 0.05 + 1e-9  # factors are printed with one decimal
_RESOLUTION_TOLERANCE = 1.0  # pixels


@dataclass(frozen=True, slots=True)
class DimensionComparison:
    """One dimension of a published network and of the computed one (B0 scaled by the coefficients).

    Attributes:
        computed: The computed factor on B0's size.
        published: The published one.
        implied_phi: The phi at which the computed factor equals the published one; None: the
            coefficients do not scale this dimension.
        phi_interval: All phi at which the computed sizes equal the published ones; None: none.
        computed_sizes: Rounded: blocks by stage; channels of stem, stages and head; or resolution.
        published_sizes: The published ones.
        direction: -1 where the published factor is below the computed one beyond rounding, 1 where
            it is above, else 0.
    """

    computed: float
    published: float
    implied_phi: float | None
    phi_interval: Interval | None
    computed_sizes: tuple[int, ...]
    published_sizes: tuple[int, ...]
    direction: int


@dataclass(frozen=True, slots=True)
class CostComparison:
    """FLOPs or parameters of both networks.

    Attributes:
        computed: Of the computed network.
        published: Of the published one.
        implied_phi: The phi above which the computed network has more than the published one.
    """

    computed: int
    published: int
    implied_phi: float


@dataclass(frozen=True, slots=True)
class NetworkComparison:
    """A published network and the one computed at `phi`. Dropout implies no phi, since the computed
    dropout is interpolated between these rows.
    """

    name: str
    phi: float
    depth: DimensionComparison
    width: DimensionComparison
    resolution: DimensionComparison
    computed_dropout: float
    published_dropout: float
    flops: CostComparison
    params: CostComparison

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def compare_published(
    coefficients: Coefficients = PAPER, *, ladder: Sequence[float] = PUBLISHED_PHI[1:]
) -> list[NetworkComparison]:
    """B1..B7, published and computed from B0.

    Args:
        coefficients: For the computed networks.
        ladder: A phi for each network.

    Raises:
        ValueError: The ladder has another length.
    """
    names = list(EFFICIENTNET)[1:]
    return [
        _compare_network(name, phi, coefficients) for name, phi in zip(names, ladder, strict=True)
    ]


def _compare_network(name: str, phi: float, coefficients: Coefficients) -> NetworkComparison:
    table, baseline, published = EFFICIENTNET[name], preset("efficientnet_b0"), preset(name)
    computed = scale_regularization(scale_to_phi(baseline, coefficients, phi), phi)
    return NetworkComparison(
        name.removeprefix("efficientnet_"),
        phi,
        **_compare_dimensions(table, phi, coefficients, networks=(baseline, computed, published)),
        computed_dropout=computed.dropout,
        published_dropout=published.dropout,
        flops=_compare_cost(
            baseline,
            computed,
            published,
            coefficients,
            cost_of=lambda spec: spec.cost().flops,
        ),
        params=_compare_cost(
            baseline,
            computed,
            published,
            coefficients,
            cost_of=lambda spec: spec.cost().params,
        ),
    )


def _compare_dimensions(
    table: PublishedEfficientNet,
    phi: float,
    coefficients: Coefficients,
    *,
    networks: tuple[ArchSpec, ArchSpec, ArchSpec],
) -> dict[str, DimensionComparison]:
    baseline, computed, published = networks
    resolution = baseline.resolution
    dimensions = (
        ("depth", coefficients.alpha, table.depth, _FACTOR_TOLERANCE, _depths),
        ("width", coefficients.beta, table.width, _FACTOR_TOLERANCE, _widths),
        (
            "resolution",
            coefficients.gamma,
            table.resolution / resolution,
            _RESOLUTION_TOLERANCE / resolution,
            _resolution,
        ),
    )
    comparisons = {}
    for name, base, factor, tolerance, sizes in dimensions:
        implied_phi = math.log(factor) / math.log(base) if base > 1 else None
        gap = factor - base**phi
        comparisons[name] = DimensionComparison(
            computed=base**phi,
            published=factor,
            implied_phi=implied_phi,
            phi_interval=None
            if implied_phi is None
            else _phi_interval(baseline, coefficients, implied_phi, sizes, target=sizes(published)),
            computed_sizes=sizes(computed),
            published_sizes=sizes(published),
            direction=0 if abs(gap) <= tolerance else int(math.copysign(1, gap)),
        )
    return comparisons


Sizes = Callable[[ArchSpec], tuple[int, ...]]


def _depths(spec: ArchSpec) -> tuple[int, ...]:
    return tuple(stage.depth for stage in spec.stages)


def _widths(spec: ArchSpec) -> tuple[int, ...]:
    return (spec.stem_width, *(stage.width for stage in spec.stages), spec.head_width)


def _resolution(spec: ArchSpec) -> tuple[int, ...]:
    return (spec.resolution,)


def _phi_interval(
    baseline: ArchSpec,
    coefficients: Coefficients,
    phi: float,
    sizes: Sizes,
    *,
    target: tuple[int, ...],
) -> Interval | None:
    """All phi around this one at which the computed network has the target sizes."""

    def is_equivalent(other_phi: float) -> bool:
        return sizes(scale_to_phi(baseline, coefficients, other_phi)) == target

    if not is_equivalent(phi):
        return None
    low = find_boundary(is_equivalent, phi, -MAX_PHI)
    return low, find_boundary(is_equivalent, phi, MAX_PHI)


def _compare_cost(
    baseline: ArchSpec,
    computed: ArchSpec,
    published: ArchSpec,
    coefficients: Coefficients,
    *,
    cost_of: Callable[[ArchSpec], int],
) -> CostComparison:
    # Around B0 cost never falls as phi rises, so the first network above the published one is found
    # by bisection.
    limit = cost_of(published)
    crossing = find_boundary(
        lambda phi: cost_of(scale_to_phi(baseline, coefficients, phi)) <= limit, -MAX_PHI, MAX_PHI
    )
    return CostComparison(cost_of(computed), limit, crossing)


def summarize_differences(
    rows: Sequence[NetworkComparison], coefficients: Coefficients = PAPER
) -> str:
    """The differences between the published and the computed networks, in one sentence."""
    factors = " / ".join(
        f"{value:g}" for value in (coefficients.alpha, coefficients.beta, coefficients.gamma)
    )
    ladder = ", ".join(f"{row.phi:g}" for row in rows)
    clauses = [_describe_dimension(name, rows) for name in ("depth", "width", "resolution")]
    ratios = [row.flops.published / row.flops.computed for row in rows]
    clauses.append(f"FLOPs are {min(ratios):.2f} to {max(ratios):.2f} times the computed ones")
    return (
        f"Compared with {factors} at phi {ladder}, the published {', '.join(clauses[:-1])}, and "
        f"{clauses[-1]}."
    )


_UNITS = {"depth": "blocks", "width": "channels", "resolution": "px"}


def _describe_dimension(name: str, rows: Sequence[NetworkComparison]) -> str:
    """The differences in one dimension, and the largest of them."""
    comparisons: list[tuple[NetworkComparison, DimensionComparison]] = [
        (row, getattr(row, name)) for row in rows
    ]
    parts = []
    for sign, verb in ((-1, "smaller"), (1, "larger")):
        departures = [
            (row, comparison) for row, comparison in comparisons if comparison.direction == sign
        ]
        if not departures:
            continue
        row_names = _describe_rows([row.name for row, _ in departures], rows)
        worst_row, worst_comparison = max(
            departures, key=lambda pair: abs(math.log(pair[1].published / pair[1].computed))
        )
        superlative = "" if len(departures) == 1 else f"most in {worst_row.name.upper()}: "
        implied_text = (
            ""
            if worst_comparison.implied_phi is None
            else f", phi {worst_comparison.implied_phi:.1f} for {worst_row.phi:g}"
        )
        rounded_departures = [
            row.name
            for row, comparison in departures
            if comparison.computed_sizes != comparison.published_sizes
        ]
        rounding_text = (
            ""
            if len(rounded_departures) in (0, len(departures))
            else f"; in whole {_UNITS[name]} {_describe_rows(rounded_departures, rows)}"
        )
        parts.append(
            f"{verb} {row_names} ({superlative}{worst_comparison.published:.3g} times B0's for "
            f"{worst_comparison.computed:.3g}{implied_text}{rounding_text})"
        )
    return f"{name} is {' and '.join(parts) or 'as computed'}"


def _describe_rows(names: Sequence[str], rows: Sequence[NetworkComparison]) -> str:
    """Rows by name: "from B4 on" where they are all up to the last."""
    names_in_order = [row.name for row in rows]
    if len(names) > 1 and names_in_order[-len(names) :] == list(names):
        return f"from {names[0].upper()} on"
    return f"in {', '.join(name.upper() for name in names)}"

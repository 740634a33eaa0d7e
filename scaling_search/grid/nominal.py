"""The paper's grid, taken literally: every (alpha, beta, gamma) of a grid with |alpha * beta^2 *
gamma^2 - 2| small.

From arXiv:1905.11946, section 3.3 and equation 3; steps, ranges and tolerance are not published.
After rounding the networks differ in FLOPs in spite of the constraint; `NominalGrid.warning` says
by how much. It is here for comparison: `measured_grid` has networks of equal measured FLOPs.
"""

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.grid_member import GridMember, describe_constraint
from phinas.scaling_search.grid.grid_shapes import make_shape_grid
from phinas.scaling_search.grid.resolutions import adapt_section, limit_resolution
from phinas.scaling_search.grid.rounding_intervals import Sizes, grid_factors
from phinas.space.network import ScalableNetwork
from phinas.space.scaling import round_resolution
from phinas.space.spec import MAX_RESOLUTION

MAX_TRIPLES = 200_000  # a few seconds
_EQUAL_COST_TOLERANCE = 0.1  # relative; the warning counts the triples within it
_ROUNDOFF = 1e-9  # |2 - 1.9| is not below 0.1, whatever its last bit

CoefficientTriple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class NominalGrid:
    """The grid of `constraint: nominal`.

    Attributes:
        members: The distinct networks, by rising alpha, beta, gamma.
        ratios: Measured FLOPs over the baseline's, of every triple.
        num_too_large: Triples that were skipped because their resolution exceeds the image size.
        flops_multiple: The target of alpha * beta^2 * gamma^2.
    """

    members: list[GridMember]
    ratios: list[float]
    num_too_large: int
    flops_multiple: float

    def warning(self) -> str:
        """One line: how far from equal the networks are."""
        num_equal_cost = sum(
            abs(ratio / self.flops_multiple - 1) <= _EQUAL_COST_TOLERANCE for ratio in self.ratios
        )
        excluded_text = (
            f" ({self.num_too_large} more exceed the highest resolution)"
            if self.num_too_large
            else ""
        )
        return (
            "scaling.constraint: nominal compares networks of different FLOPs: "
            f"{len(self.ratios)} triples{excluded_text} round to {len(self.members)} networks with "
            f"{min(self.ratios):.2f} to {max(self.ratios):.2f} times the baseline's measured FLOPs "
            f"(median {statistics.median(self.ratios):.2f}; {num_equal_cost} of the triples are "
            f"within {_EQUAL_COST_TOLERANCE:.0%} of {self.flops_multiple:g}), so the largest "
            "network may win for its size; use scaling.constraint: measured for equal FLOPs"
        )


def nominal_grid(
    baseline: ScalableNetwork, section: ScalingSection, *, max_resolution: float = math.inf
) -> NominalGrid:
    """The grid of `constraint: nominal`.

    Args:
        max_resolution: Of networks for these images, in px.

    Raises:
        InputError: Fewer than two networks satisfy the constraint, or there are too many triples.
    """
    section = adapt_section(section, baseline.resolution, max_resolution=max_resolution)
    shape_grid = make_shape_grid(baseline, section)
    resolution_limit = min(limit_resolution(section, max_resolution=max_resolution), MAX_RESOLUTION)
    members: dict[tuple[Sizes, Sizes, int], GridMember] = {}
    ratios: list[float] = []
    num_too_large = 0
    for alpha, beta, gamma in _checked_triples(section):
        depth, width, resolution = (
            shape_grid.depths[alpha],
            shape_grid.widths[beta],
            round_resolution(baseline.resolution * gamma),
        )
        if resolution > resolution_limit:
            num_too_large += 1
            continue
        key = depth.sizes, width.sizes, resolution
        if key not in members:
            members[key] = shape_grid.member(depth, width, resolution)
        ratios.append(members[key].ratio)
    if len(members) < 2:
        raise InputError(_too_few_message(section, len(members), num_too_large, resolution_limit))
    ordered = sorted(members.values(), key=lambda member: (member.alpha, member.beta, member.gamma))
    return NominalGrid(ordered, ratios, num_too_large, section.flops_multiple)


def nominal_triples(section: ScalingSection) -> Iterator[CoefficientTriple]:
    """The triples of the grid that meet the constraint, by rising alpha, beta, gamma."""
    alphas, betas, gammas = _grid_factors_by_dimension(section)
    for alpha in alphas:
        for beta in betas:
            alpha_beta_product = alpha * beta**2
            low = math.sqrt(
                max(0.0, section.flops_multiple - section.nominal_tolerance) / alpha_beta_product
            )
            high = math.sqrt(
                (section.flops_multiple + section.nominal_tolerance) / alpha_beta_product
            )
            for gamma in gammas[
                bisect_left(gammas, low - _ROUNDOFF) : bisect_right(gammas, high + _ROUNDOFF)
            ]:
                if (
                    abs(alpha_beta_product * gamma**2 - section.flops_multiple)
                    < section.nominal_tolerance - _ROUNDOFF
                ):
                    yield alpha, beta, gamma


def _grid_factors_by_dimension(section: ScalingSection) -> list[list[float]]:
    steps = section.grid_steps
    return [
        grid_factors(bounds, step)
        for bounds, step in zip(section.ranges.values(), steps, strict=True)
    ]


def _checked_triples(section: ScalingSection) -> list[CoefficientTriple]:
    alphas, betas, _ = _grid_factors_by_dimension(section)
    pairs = len(alphas) * len(betas)
    triples = (
        list(islice(nominal_triples(section), MAX_TRIPLES + 1)) if pairs <= MAX_TRIPLES else []
    )
    if pairs > MAX_TRIPLES or len(triples) > MAX_TRIPLES:
        raise InputError(
            f"scaling.grid_step: {section.grid_step} gives more than {MAX_TRIPLES:,} pairs or "
            "triples with scaling.constraint: nominal; raise scaling.grid_step, or narrow "
            "scaling.alpha, scaling.beta and scaling.gamma"
        )
    return triples


def _too_few_message(
    section: ScalingSection, count: int, num_too_large: int, resolution_limit: float
) -> str:
    """Why there are not two networks, and what to change."""
    problem = (
        "scaling.nominal_tolerance: the grid needs two networks and has "
        f"{'one' if count else 'none'} {describe_constraint(section)}"
    )
    if num_too_large:
        limit_name, remedy = (
            ("scaling.max_resolution", "raise it")
            if resolution_limit == section.max_resolution
            else ("the image size", "set data.upsample: true")
        )
        return (
            f"{problem}; {num_too_large} triples exceed {limit_name} {resolution_limit:g} px: "
            f"{remedy}"
        )
    alpha, beta, gamma = _nearest_triple(section)
    nearest = alpha * beta**2 * gamma**2
    lowest, highest = (
        alphas_end * betas_end**2 * gammas_end**2
        for alphas_end, betas_end, gammas_end in zip(
            *((values[0], values[-1]) for values in _grid_factors_by_dimension(section)),
            strict=True,
        )
    )
    extreme = ""
    if highest < section.flops_multiple:
        extreme = ", the largest of the grid"
        advice = "raise the upper bound of scaling.alpha, scaling.beta or scaling.gamma"
    elif lowest > section.flops_multiple:
        extreme = ", the smallest of the grid"
        advice = "lower the lower bound of scaling.alpha, scaling.beta or scaling.gamma"
    else:
        advice = "raise scaling.nominal_tolerance, lower scaling.grid_step, or widen the ranges"
    triple = f"the nearest triple, {alpha:g}, {beta:g}, {gamma:g}, gives {nearest:.3g}{extreme}"
    return f"{problem}; {triple}; {advice}"


def _nearest_triple(section: ScalingSection) -> CoefficientTriple:
    """The triple of the grid that is nearest to the constraint."""
    alphas, betas, gammas = _grid_factors_by_dimension(section)
    nearest = (math.inf, (1.0, 1.0, 1.0))
    for alpha in alphas:
        for beta in betas:
            index = bisect_left(gammas, math.sqrt(section.flops_multiple / alpha) / beta)
            for gamma in gammas[max(0, index - 1) : index + 1]:
                error = abs(alpha * beta**2 * gamma**2 - section.flops_multiple)
                nearest = min(nearest, (error, (alpha, beta, gamma)))
    return nearest[1]

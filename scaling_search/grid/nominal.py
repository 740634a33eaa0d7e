"""The paper's grid, taken literally: every (alpha, beta, gamma) of a grid with |alpha * beta^2 *
gamma^2 - 2| small.

From arXiv:1905.11946, section 3.3 and equation 3; steps, ranges and tolerance are not published.
Rounding undoes what the
constraint promises: the networks differ in FLOPs, and `NominalGrid.warning` says how much. It is
here to be compared with; `grid` holds the measured FLOPs equal instead.
"""

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.depth_width_grid import Shapes
from phinas.scaling_search.grid.grid_member import Member, constraint_in_words
from phinas.scaling_search.grid.rounding_intervals import Sizes, factors_of
from phinas.space.scaling import round_side
from phinas.space.spec import MAX_SIDE, ArchSpec

MOST_TRIPLES = 200_000  # a few seconds
_NEAR = 0.1  # of the multiple: what the warning counts as near
_EDGE = 1e-9  # |2 - 1.9| is not below 0.1, also where the last bit says so

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class NominalGrid:
    """members: the distinct networks, by rising alpha, beta, gamma; ratios: measured FLOPs over the
    baseline's of every triple;
    too_large: triples left out because the images don't show so many pixels; multiple: what was
    asked for."""

    members: list[Member]
    ratios: list[float]
    too_large: int
    multiple: float

    def warning(self) -> str:
        """One line: how far from equal the networks are."""
        near = sum(abs(ratio / self.multiple - 1) <= _NEAR for ratio in self.ratios)
        left_out = f" ({self.too_large} more are larger than the images)" if self.too_large else ""
        return (
            f"scaling.constraint: nominal compares networks of unequal cost: {len(self.ratios)} "
            f"triples{left_out} mean "
            f"{len(self.members)} networks of {min(self.ratios):.2f} to {max(self.ratios):.2f} "
            "times the baseline's measured "
            f"FLOPs (median {statistics.median(self.ratios):.2f}; {near} of the triples within "
            f"{_NEAR:.0%} of "
            f"{self.multiple:g}), so the largest may win for its size; constraint: measured holds "
            "the FLOPs equal"
        )


def nominal_grid(
    baseline: ArchSpec, section: ScalingSection, *, largest_side: float = math.inf
) -> NominalGrid:
    """The grid of `constraint: nominal`. largest_side: as for `make_grid`.

    Raises InputError where fewer than two networks meet the constraint, and where there are too
    many triples to look at.
    """
    shapes = Shapes(baseline, section)
    largest = min(largest_side, MAX_SIDE)
    members: dict[tuple[Sizes, Sizes, int], Member] = {}
    ratios: list[float] = []
    too_large = 0
    for alpha, beta, gamma in _bounded_triples(section):
        depth, width, side = (
            shapes.depths[alpha],
            shapes.widths[beta],
            round_side(baseline.resolution * gamma),
        )
        if side > largest:
            too_large += 1
            continue
        key = depth.sizes, width.sizes, side
        if key not in members:
            members[key] = shapes.member(depth, width, side)
        ratios.append(members[key].ratio)
    if len(members) < 2:
        raise InputError(_too_few(section, len(members), too_large, largest))
    ordered = sorted(members.values(), key=lambda member: (member.alpha, member.beta, member.gamma))
    return NominalGrid(ordered, ratios, too_large, section.multiple)


def nominal_triples(section: ScalingSection) -> Iterator[Triple]:
    """The triples of the grid that meet the constraint, by rising alpha, beta, gamma."""
    alphas, betas, gammas = _factors(section)
    for alpha in alphas:
        for beta in betas:
            rest = alpha * beta**2
            low = math.sqrt(max(0.0, section.multiple - section.nominal_tolerance) / rest)
            high = math.sqrt((section.multiple + section.nominal_tolerance) / rest)
            for gamma in gammas[
                bisect_left(gammas, low - _EDGE) : bisect_right(gammas, high + _EDGE)
            ]:
                if abs(rest * gamma**2 - section.multiple) < section.nominal_tolerance - _EDGE:
                    yield alpha, beta, gamma


def _factors(section: ScalingSection) -> list[list[float]]:
    ranges = (section.alpha, section.beta, section.gamma)
    return [factors_of(bounds, step) for bounds, step in zip(ranges, section.steps, strict=True)]


def _bounded_triples(section: ScalingSection) -> list[Triple]:
    alphas, betas, _ = _factors(section)
    pairs = len(alphas) * len(betas)
    triples = (
        list(islice(nominal_triples(section), MOST_TRIPLES + 1)) if pairs <= MOST_TRIPLES else []
    )
    if pairs > MOST_TRIPLES or len(triples) > MOST_TRIPLES:
        raise InputError(
            f"scaling.step: {section.step} makes over {MOST_TRIPLES:,} pairs or triples to look "
            "at under constraint: nominal; "
            "raise scaling.step, or narrow scaling.alpha, scaling.beta and scaling.gamma"
        )
    return triples


def _too_few(section: ScalingSection, count: int, too_large: int, largest: float) -> str:
    """Why there are not two networks, and what to change."""
    held = (
        f"scaling: the grid needs two and holds {'one network' if count else 'no network'} "
        f"{constraint_in_words(section)}; "
    )
    if too_large:
        return (
            held
            + f"{too_large} triples mean more than the images' {largest:g} pixels of a side: set "
            "data.upsample: true"
        )
    alphas, betas, gammas = _factors(section)
    nearest = (math.inf, (1.0, 1.0, 1.0))
    for alpha in alphas:
        for beta in betas:
            place = bisect_left(gammas, math.sqrt(section.multiple / alpha) / beta)
            for gamma in gammas[max(0, place - 1) : place + 1]:
                nearest = min(
                    nearest,
                    (abs(alpha * beta**2 * gamma**2 - section.multiple), (alpha, beta, gamma)),
                )
    alpha, beta, gamma = nearest[1]
    least, most = (alphas[end] * betas[end] ** 2 * gammas[end] ** 2 for end in (0, -1))
    told = (
        f"the nearest, alpha {alpha:g}, beta {beta:g}, gamma {gamma:g}, makes "
        f"{alpha * beta**2 * gamma**2:.3g}"
    )
    if most < section.multiple:
        return (
            f"{held}{told}, the most there is; raise the upper bound of scaling.alpha, "
            "scaling.beta or scaling.gamma"
        )
    if least > section.multiple:
        return (
            f"{held}{told}, the least there is; lower the lower bound of scaling.alpha, "
            "scaling.beta or scaling.gamma"
        )
    return f"{held}{told}; raise scaling.nominal_tolerance, lower scaling.step, or widen the ranges"

"""The different depths and widths of a grid over alpha and beta, and what each pair of them costs
at any resolution.
"""

from dataclasses import replace

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.grid_member import Member
from phinas.scaling_search.grid.rounding_intervals import (
    Plan,
    Sizes,
    depth_plans,
    factors_of,
    side_plan,
    width_plans,
)
from phinas.space.cost import cost
from phinas.space.cost_by_resolution import CostBySide, Weights, cost_by_side, flops_at
from phinas.space.scaling import all_widths, run_depths, shaped
from phinas.space.spec import ArchSpec

MOST = 50_000  # pairs of depths and widths of a grid: a few seconds


class Shapes:
    """depths, widths: the plan of each alpha, of each beta; equal plans are one object. base_flops:
    the baseline's.

    Raises InputError where there are over MOST pairs of different plans.
    """

    def __init__(self, baseline: ArchSpec, section: ScalingSection) -> None:
        self._short = baseline.simplified()
        self._unchanged = tuple(run_depths(self._short)), tuple(all_widths(self._short))
        self.base_flops = cost(baseline).flops
        alphas, betas = (
            factors_of(section.alpha, section.steps[0]),
            factors_of(section.beta, section.steps[1]),
        )
        self.depths = depth_plans(self._short, alphas, section.rounding)
        self.widths = width_plans(self._short, betas, section.divisor)
        self._stages: dict[Sizes, list[int]] = {}
        self._costs: dict[Sizes, CostBySide] = {}
        self._sides: dict[int, Plan] = {}
        many = len(self.different_depths) * len(self.different_widths)
        if many > MOST:
            raise InputError(
                f"scaling.step: {section.steps[0]:g} for alpha and {section.steps[1]:g} for beta "
                f"make {many:,} shapes of "
                f"network, over {MOST:,}; raise scaling.step or scaling.divisor, or narrow "
                "scaling.alpha and scaling.beta"
            )

    @property
    def different_depths(self) -> list[Plan]:
        return list(dict.fromkeys(self.depths.values()))

    @property
    def different_widths(self) -> list[Plan]:
        return list(dict.fromkeys(self.widths.values()))

    def weights(self, depth: Plan, width: Plan) -> Weights:
        """What the network of those depths and widths costs, for `flops_at`."""
        if depth.sizes not in self._stages:
            deeper = shaped(self._short, depth.sizes, self._unchanged[1])
            self._stages[depth.sizes] = [stage.depth for stage in deeper.stages]
        if width.sizes not in self._costs:
            self._costs[width.sizes] = cost_by_side(
                shaped(self._short, self._unchanged[0], width.sizes)
            )
        return self._costs[width.sizes].weights(self._stages[depth.sizes])

    def member(self, depth: Plan, width: Plan, side: int) -> Member:
        """The network, told in the shortest way, with the box of factors that mean it."""
        if side not in self._sides:
            self._sides[side] = side_plan(self._short.resolution, side)
        flops = flops_at(self.weights(depth, width), side)
        return Member(
            replace(shaped(self._short, depth.sizes, width.sizes), resolution=side),
            flops,
            flops / self.base_flops,
            alpha=depth.factors,
            beta=width.factors,
            gamma=self._sides[side].factors,
        )

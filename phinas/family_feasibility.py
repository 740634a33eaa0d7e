"""Whether the family of a run can be built, before its baseline and coefficients are known.

The budgets and values of phi of a family are reached by some baselines and coefficients only. Which
ones a run finds is only known after its search. So some networks of the search space are tried
before it, with coefficients that scale one dimension and with those of the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from phinas.adapt_to_data import (
    ImageProperties,
    baseline_for_data,
    family_max_resolution,
    space_for_data,
)
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.scaling import ScalingSection
from phinas.grid_feasibility import sample_networks
from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.scaling_search.family.budget_ladder import check_reachable
from phinas.scaling_search.family.phi import scale_to_phi
from phinas.scaling_search.race.user_coefficients import load_user_coefficients
from phinas.space.network import ScalableNetwork
from phinas.space.spec import SpecError


@dataclass(frozen=True)
class FamilyFeasibility:
    """For how many networks and coefficients the family can be built.

    Attributes:
        baseline: A baseline for which it can be built.
        coefficients: Coefficients with which it can be built of that baseline.
        tried: The number of pairs of a network and coefficients that were tried.
        failed: For how many of them the family cannot be built.
        reason: Why it cannot be built for one of them; "" where it can for all.
        needs_timing: Whether budgets of latency have to be met, which only a measurement shows.
    """

    baseline: ScalableNetwork
    coefficients: Coefficients
    tried: int
    failed: int
    reason: str
    needs_timing: bool

    @property
    def notes(self) -> list[str]:
        """What may stop the run after its search, in sentences."""
        notes = []
        if self.failed:
            notes.append(
                f"warning: in {self.failed} of {self.tried} examples of a baseline and its "
                "coefficients the family cannot be built. If the run finds such ones, it stops "
                f"after the scaling search. {self.reason}"
            )
        if self.needs_timing:
            notes.append(
                "note: scaling.latency_ms: whether its budgets can be met is only known when the "
                "networks of the family are timed, after the scaling search"
            )
        return notes


def possible_baselines(config: Config, data: ImageProperties | None) -> Sequence[ScalableNetwork]:
    """The user's baseline, or else networks of the search space, as a run would adapt them."""
    if config.scaling.baseline is not None:
        return [baseline_for_data(config, data)]
    return sample_networks(space_for_data(config, data), config)


def check_family_feasibility(
    networks: Sequence[ScalableNetwork], config: Config, data: ImageProperties | None
) -> FamilyFeasibility:
    """Try to build the family of some networks.

    Args:
        networks: Networks that may become the baseline.
        config: The configuration, which has the coefficients or leaves them to be found.
        data: The images, or None.

    Raises:
        InputError: The family cannot be built for any of the networks.
    """
    section = config.scaling
    candidates = (
        _example_coefficients(section)
        if section.coefficients is None
        else [load_user_coefficients(section)]
    )
    feasible, reasons = None, []
    pairs = [
        (network, _limit_resolution(example, network, config, data))
        for network in networks
        for example in candidates
    ]
    for network, example in pairs:
        try:
            _check_family(network, example, section)
        except InputError as error:
            reasons.append(str(error))
        else:
            feasible = feasible or (network, example)
    if feasible is None:
        others = f" (as in all {len(pairs)} examples tried)" if len(pairs) > 1 else ""
        raise InputError(f"{reasons[0]}{others}")
    return FamilyFeasibility(
        *feasible, len(pairs), len(reasons), reasons[0] if reasons else "", bool(section.latency_ms)
    )


def _limit_resolution(
    coefficients: Coefficients,
    baseline: ScalableNetwork,
    config: Config,
    data: ImageProperties | None,
) -> Coefficients:
    limit = family_max_resolution(config, data, baseline.resolution)
    return replace(coefficients, max_resolution=limit)


def _example_coefficients(section: ScalingSection) -> list[Coefficients]:
    """The coefficients of the paper, and those that scale one dimension only."""
    factor = section.flops_multiple
    examples = [
        PAPER,
        Coefficients(factor, 1.0, 1.0),
        Coefficients(1.0, factor**0.5, 1.0),
        Coefficients(1.0, 1.0, factor**0.5),
    ]
    return [
        replace(example, divisor=section.divisor, rounding=section.depth_rounding)
        for example in examples
    ]


def _check_family(
    network: ScalableNetwork, coefficients: Coefficients, section: ScalingSection
) -> None:
    """Raises InputError for a budget or phi that these coefficients do not reach."""
    for limit in section.flops:
        check_reachable(network, coefficients, "flops", limit)
    for limit in section.params:
        check_reachable(network, coefficients, "params", limit)
    if section.flops or section.params or section.latency_ms:
        return
    for phi in (section.phi[0], section.phi[-1]):
        try:
            scale_to_phi(network, coefficients, phi)
        except SpecError as error:
            raise InputError(
                f"scaling.phi: no network can be built for {phi:g}, because {error}; use values "
                "nearer to 0"
            ) from None

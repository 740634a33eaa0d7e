"""The family B0..Bn: the baseline and its compound scalings, as specs with exact cost, by rising
phi.

The ladder is of phi, fractional and below 0 as well, or of budgets (`budget_ladder`,
`latency_budgets`). B0 is the baseline; larger members are B1, B2, ..., smaller ones B-1, B-2, ...
downwards from it.
One rule for every baseline: `phi.scale_to_phi` for depth, width and resolution, `regularization`
for dropout and stochastic depth.

What the rule gives and what was published are two things: B1-B7 as published are not alpha^phi of
B0 (they follow phi of about 0.5, 1, 2, 3.5, 5, 6, 7, which is the default ladder, with depth cut
from B4 on). `published_comparison` compares them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phinas.experiment.run_dir import write_atomic
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import BudgetFit
from phinas.scaling_search.family.phi import scale_to_phi
from phinas.scaling_search.family.regularization import scale_regularization
from phinas.space.cost import Cost, network_cost
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml, read_yaml


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """name: b0, b1, ..., below the baseline b-1, b-2, ...; ratio: FLOPs over the baseline's;
    budget: the one that it was made for, if any."""

    name: str
    phi: float
    spec: ArchSpec
    cost: Cost
    ratio: float
    budget: BudgetFit | None = None

    def to_dict(self) -> dict[str, Any]:
        """What `scaling/family/<name>.yaml` holds."""
        data = {
            "name": self.name,
            "phi": self.phi,
            "spec": self.spec.to_dict(),
            "spec_id": self.spec.spec_id,
            "flops": self.cost.flops,
            "params": self.cost.params,
            "activations": self.cost.activations,
            "ratio": self.ratio,
        }
        return data | {"budget": self.budget.to_dict()} if self.budget else data


def make_family(
    baseline: ArchSpec, coefficients: Coefficients, ladder: Sequence[float]
) -> list[FamilyMember]:
    """B0, the baseline itself, and one member for each other phi of the ladder, by rising phi."""
    return _make_members(
        baseline, [(phi, scale_to_phi(baseline, coefficients, phi), None) for phi in ladder]
    )


def make_budget_family(baseline: ArchSpec, fits: Sequence[BudgetFit]) -> list[FamilyMember]:
    """B0 and one member for each budget that was fitted; one that the baseline itself meets is
    B0's.
    """
    return _make_members(baseline, [(fit.phi, fit.spec, fit) for fit in fits])


def read_family(directory: Path, baseline: ArchSpec) -> list[FamilyMember]:
    """What `write_family` wrote, by rising phi. baseline: B0, whose FLOPs the ratios are of."""
    rows = [read_yaml(path) for path in directory.glob("b*.yaml")]
    baseline_cost = network_cost(baseline)
    members = []
    for row in sorted(rows, key=lambda row: row["phi"]):
        spec = ArchSpec.from_dict(row["spec"])
        member_cost = network_cost(spec)
        ratio = member_cost.flops / baseline_cost.flops
        fit = None
        if "budget" in row:
            fit = BudgetFit.from_dict(row["budget"], phi=row["phi"], spec=spec)
        members.append(FamilyMember(row["name"], row["phi"], spec, member_cost, ratio, fit))
    return members


def _make_members(
    baseline: ArchSpec, entries: Sequence[tuple[float, ArchSpec, BudgetFit | None]]
) -> list[FamilyMember]:
    baseline_cost = network_cost(baseline)

    def member(number: int, entry: tuple[float, ArchSpec, BudgetFit | None]) -> FamilyMember:
        phi, scaled, fit = entry
        spec = scale_regularization(scaled, phi)
        member_cost = network_cost(spec)
        ratio = member_cost.flops / baseline_cost.flops
        return FamilyMember(f"b{number}", phi, spec, member_cost, ratio, fit)

    at_zero = [fit for phi, _, fit in entries if phi == 0]
    below = sorted((entry for entry in entries if entry[0] < 0), key=lambda entry: -entry[0])
    above = sorted((entry for entry in entries if entry[0] > 0), key=lambda entry: entry[0])
    return [
        *reversed([member(-number, entry) for number, entry in enumerate(below, start=1)]),
        FamilyMember("b0", 0.0, baseline, baseline_cost, 1.0, at_zero[0] if at_zero else None),
        *(member(number, entry) for number, entry in enumerate(above, start=1)),
    ]


def write_family(family: Sequence[FamilyMember], directory: Path) -> list[Path]:
    """One spec file a member; those of an earlier, longer family are removed."""
    names = {f"{member.name}.yaml" for member in family}
    for stale in directory.glob("b*.yaml"):
        if stale.name not in names:
            stale.unlink()
    paths = []
    for member in family:
        path = directory / f"{member.name}.yaml"
        write_atomic(path, dump_yaml(member.to_dict()))
        paths.append(path)
    return paths

"""The family B0..Bn: the baseline and its compound scalings, as specs with exact cost, by rising
phi.

The ladder is of phi, fractional and below 0 as well, or of budgets (`budgets`, `latency_budgets`).
B0 is the baseline; larger members are B1, B2, ..., smaller ones B-1, B-2, ... downwards from it.
One rule for every baseline: `phi.network_at` for depth, width and resolution, `regularisation` for
dropout and stochastic depth.

What the rule gives and what was published are two things: B1-B7 as published are not alpha^phi of
B0 (they follow phi of about 0.5, 1, 2, 3.5, 5, 6, 7, which is the default ladder, with depth cut
from B4 on). `published` holds them against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phinas.experiment.run_dir import write_atomic
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import Fit
from phinas.scaling_search.family.phi import network_at
from phinas.scaling_search.family.regularization import regularised
from phinas.space.cost import Cost, cost
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
    budget: Fit | None = None

    def to_dict(self) -> dict[str, Any]:
        """What `scaling/family/<name>.yaml` holds."""
        facts = {
            "name": self.name,
            "phi": self.phi,
            "spec": self.spec.to_dict(),
            "spec_id": self.spec.spec_id,
            "flops": self.cost.flops,
            "params": self.cost.params,
            "activations": self.cost.activations,
            "ratio": self.ratio,
        }
        return facts | {"budget": self.budget.to_dict()} if self.budget else facts


def make_family(
    baseline: ArchSpec, coefficients: Coefficients, ladder: Sequence[float]
) -> list[FamilyMember]:
    """B0, the baseline itself, and one member for each other phi of the ladder, by rising phi."""
    return _members(
        baseline, [(phi, network_at(baseline, coefficients, phi), None) for phi in ladder]
    )


def family_of_budgets(baseline: ArchSpec, fits: Sequence[Fit]) -> list[FamilyMember]:
    """B0 and one member for each budget that was fitted; one that the baseline itself meets is
    B0's.
    """
    return _members(baseline, [(fit.phi, fit.spec, fit) for fit in fits])


def read_family(directory: Path, baseline: ArchSpec) -> list[FamilyMember]:
    """What `write_family` wrote, by rising phi. baseline: B0, whose FLOPs the ratios are of."""
    rows = [read_yaml(path) for path in directory.glob("b*.yaml")]
    base = cost(baseline)
    members = []
    for row in sorted(rows, key=lambda row: row["phi"]):
        spec = ArchSpec.from_dict(row["spec"])
        price = cost(spec)
        fit = Fit.from_dict(row["budget"], phi=row["phi"], spec=spec) if "budget" in row else None
        members.append(
            FamilyMember(row["name"], row["phi"], spec, price, price.flops / base.flops, fit)
        )
    return members


def _members(
    baseline: ArchSpec, rungs: Sequence[tuple[float, ArchSpec, Fit | None]]
) -> list[FamilyMember]:
    base = cost(baseline)

    def member(number: int, rung: tuple[float, ArchSpec, Fit | None]) -> FamilyMember:
        phi, scaled, fit = rung
        spec = regularised(scaled, phi)
        price = cost(spec)
        return FamilyMember(f"b{number}", phi, spec, price, price.flops / base.flops, fit)

    at_zero = [fit for phi, _, fit in rungs if phi == 0]
    below = sorted((rung for rung in rungs if rung[0] < 0), key=lambda rung: -rung[0])
    above = sorted((rung for rung in rungs if rung[0] > 0), key=lambda rung: rung[0])
    return [
        *reversed([member(-number, rung) for number, rung in enumerate(below, start=1)]),
        FamilyMember("b0", 0.0, baseline, base, 1.0, at_zero[0] if at_zero else None),
        *(member(number, rung) for number, rung in enumerate(above, start=1)),
    ]


def write_family(family: Sequence[FamilyMember], directory: Path) -> list[Path]:
    """One spec file a member; those of an earlier, longer family are removed."""
    wanted = {f"{member.name}.yaml" for member in family}
    for stale in directory.glob("b*.yaml"):
        if stale.name not in wanted:
            stale.unlink()
    paths = []
    for member in family:
        path = directory / f"{member.name}.yaml"
        write_atomic(path, dump_yaml(member.to_dict()))
        paths.append(path)
    return paths

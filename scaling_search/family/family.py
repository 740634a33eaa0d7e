"""The family B0..Bn: the baseline and its compound scalings with exact cost, by rising phi.

The ladder is of phi, also fractional or negative, or of budgets (`budget_ladder`,
`latency_budgets`). B0 is the baseline. Larger members are B1, B2, ..., smaller ones B-1, B-2, ...
Every baseline is scaled alike: `phi.scale_to_phi` for depth, width and resolution,
`regularization` for dropout and stochastic depth.

Published EfficientNet-B1..B7 are not alpha^phi of B0: they follow a phi of about 0.5, 1, 2, 3.5, 5,
6, 7, which is the default ladder, with less depth from B4 on. `published_comparison` compares both.
"""

from collections.abc import Sequence
from pathlib import Path

from phinas.experiment.artifacts.family_file import BudgetRecord, FamilyMember
from phinas.experiment.errors import InputError
from phinas.experiment.manifest import find_missing_members, read_manifest
from phinas.experiment.run_dir import RunDir
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import BudgetFit
from phinas.scaling_search.family.phi import scale_to_phi
from phinas.scaling_search.family.regularization import scale_regularization
from phinas.space.network import ScalableNetwork


def make_family(
    baseline: ScalableNetwork, coefficients: Coefficients, ladder: Sequence[float]
) -> list[FamilyMember]:
    """B0, the baseline itself, and one member for each other phi of the ladder, by rising phi."""
    return _make_members(
        baseline, [(phi, scale_to_phi(baseline, coefficients, phi), None) for phi in ladder]
    )


def make_budget_family(
    baseline: ScalableNetwork, fits: Sequence[BudgetFit[ScalableNetwork]]
) -> list[FamilyMember]:
    """B0 and one member for each fitted budget. A budget that the baseline meets is B0's."""
    return _make_members(baseline, [(fit.phi, fit.spec, fit) for fit in fits])


def read_family(directory: Path) -> list[FamilyMember]:
    """The members that `write_family` wrote, by rising phi.

    Raises:
        InputError: A file is damaged, of another version, or has the name of another member.
    """
    members = [read_member(path) for path in directory.glob("b*.yaml")]
    return sorted(members, key=lambda member: member.phi)


def read_member(path: Path) -> FamilyMember:
    """One member that `write_family` wrote.

    Raises:
        InputError: The file is damaged, of another version, or has the name of another member.
    """
    member = FamilyMember.read(path)
    if member.name != path.stem:
        raise InputError(
            f"{path}: name: {member.name!r} is not the name of the file; rename it to "
            f"{member.name}.yaml or remove it"
        )
    return member


def require_complete_family(run: RunDir) -> None:
    """Check that the files of all members exist.

    Raises:
        InputError: The file of a member was deleted or renamed.
    """
    files = [f"{name}.yaml" for name in find_missing_members(run, read_manifest(run))]
    if files:
        verbs = ("is", "it was", "it") if len(files) == 1 else ("are", "they were", "them")
        raise InputError(
            f"{run.family}: {', '.join(files)} {verbs[0]} missing, because {verbs[1]} deleted or "
            f"renamed; restore {verbs[2]}, or write the family again with `phinas scale {run.path}`"
        )


def _make_members(
    baseline: ScalableNetwork,
    entries: Sequence[tuple[float, ScalableNetwork, BudgetFit[ScalableNetwork] | None]],
) -> list[FamilyMember]:
    baseline_flops = baseline.cost().flops

    def member(
        number: int, entry: tuple[float, ScalableNetwork, BudgetFit[ScalableNetwork] | None]
    ) -> FamilyMember:
        phi, spec, fit = entry
        if number != 0:
            spec = scale_regularization(spec, phi)
        cost = spec.cost()
        return FamilyMember(
            name=f"b{number}",
            phi=phi,
            spec=spec,
            network_id=spec.network_id,
            flops=cost.flops,
            params=cost.params,
            activations=cost.activations,
            ratio=cost.flops / baseline_flops,
            budget=_make_budget_record(fit),
        )

    at_zero = [fit for phi, _, fit in entries if phi == 0]
    below = sorted((entry for entry in entries if entry[0] < 0), key=lambda entry: -entry[0])
    above = sorted((entry for entry in entries if entry[0] > 0), key=lambda entry: entry[0])
    return [
        *reversed([member(-number, entry) for number, entry in enumerate(below, start=1)]),
        member(0, (0.0, baseline, at_zero[0] if at_zero else None)),
        *(member(number, entry) for number, entry in enumerate(above, start=1)),
    ]


def _make_budget_record(fit: BudgetFit[ScalableNetwork] | None) -> BudgetRecord | None:
    if fit is None:
        return None
    low, high = fit.phi_interval
    return BudgetRecord(
        cost_metric=fit.cost_metric,
        limit=fit.limit,
        value=fit.value,
        phi_interval=(round(low, 6), round(high, 6)),
    )


def write_family(family: Sequence[FamilyMember], directory: Path) -> list[Path]:
    """Write one file for each member; files of an earlier, longer family are removed.

    Returns:
        The paths of the files.
    """
    names = {f"{member.name}.yaml" for member in family}
    for stale in directory.glob("b*.yaml"):
        if stale.name not in names:
            stale.unlink()
    paths = []
    for member in family:
        path = directory / f"{member.name}.yaml"
        member.write(path)
        paths.append(path)
    return paths

"""The family B0..Bn: the baseline and its compound scalings, as specs with exact cost.

What the rule gives and what was published are two things: B1-B7 as published are not alpha^phi of B0 (they follow phi of about
0.5, 1, 2, 3.5, 5, 6, 7, which is the ladder here, with depth cut from B4 on). The published rows are `space.presets`.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiment.rundir import write_atomic
from scaling_search.coefficients import Coefficients
from space.cost import Cost, cost
from space.spec import ArchSpec
from space.yaml_text import dump_yaml

# Dropout of B0..B7 in the published code, at the phi that each follows: what it adds to B0's 0.2.
_PUBLISHED_PHI = (0.0, 0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0)
_PUBLISHED_EXTRA = (0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3)


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """name: b0, b1, ...; ratio: FLOPs over the baseline's."""

    name: str
    phi: float
    spec: ArchSpec
    cost: Cost
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """What `scaling/family/<name>.yaml` holds."""
        return {
            "name": self.name,
            "phi": self.phi,
            "spec": self.spec.to_dict(),
            "spec_id": self.spec.spec_id,
            "flops": self.cost.flops,
            "params": self.cost.params,
            "activations": self.cost.activations,
            "ratio": self.ratio,
        }


def make_family(baseline: ArchSpec, coefficients: Coefficients, ladder: Sequence[float]) -> list[FamilyMember]:
    """B0, the baseline itself, and one member for each phi of the ladder; dropout rises with phi as in the published family."""
    base = cost(baseline)
    family = [FamilyMember("b0", 0.0, baseline, base, 1.0)]
    for number, phi in enumerate(ladder, start=1):
        scaled = coefficients.apply(baseline, phi)
        spec = replace(scaled, dropout=min(0.9, round(baseline.dropout + _extra_dropout(phi), 4)))
        price = cost(spec)
        family.append(FamilyMember(f"b{number}", phi, spec, price, price.flops / base.flops))
    return family


def _extra_dropout(phi: float) -> float:
    """Linear between the published points, level beyond the last."""
    if phi >= _PUBLISHED_PHI[-1]:
        return _PUBLISHED_EXTRA[-1]
    right = bisect_right(_PUBLISHED_PHI, phi)
    low, high = _PUBLISHED_PHI[right - 1], _PUBLISHED_PHI[right]
    share = (phi - low) / (high - low)
    return _PUBLISHED_EXTRA[right - 1] * (1 - share) + _PUBLISHED_EXTRA[right] * share


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

"""Whether a family can be built, before the baseline and the coefficients are known."""

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import config_from_dict
from phinas.family_feasibility import check_family_feasibility, possible_baselines
from phinas.scaling_search.coefficients import PAPER


def check(**scaling):
    sections = {"scaling": {"baseline": "efficientnet_b0"} | scaling}
    config = config_from_dict(sections, source="test")
    return check_family_feasibility(possible_baselines(config, None), config, None)


def test_default_family_can_be_built():
    feasibility = check()
    assert (feasibility.failed, feasibility.notes) == (0, [])
    assert feasibility.tried == 4


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        (
            {"flops": [10]},
            r"scaling\.flops: no phi meets 10 flops: the smallest network .*examples",
        ),
        ({"params": [1e13]}, r"scaling\.params: no phi meets .*: the largest network "),
    ],
)
def test_budget_that_no_example_meets_is_refused(scaling, message):
    with pytest.raises(InputError, match=message):
        check(**scaling)


def test_budget_that_some_coefficients_miss_is_a_warning():
    # By depth alone, EfficientNet-B0 keeps a block of each stage.
    feasibility = check(flops=["50M", "800M"])
    assert 0 < feasibility.failed < feasibility.tried
    (note,) = feasibility.notes
    assert note.startswith(f"warning: in {feasibility.failed} of 4 examples of a baseline ")
    assert "no phi meets 50M flops" in note


def test_known_coefficients_are_the_only_ones_tried():
    feasibility = check(coefficients=[1.2, 1.1, 1.15], flops=["50M", "800M"])
    assert (feasibility.tried, feasibility.failed) == (1, 0)
    assert feasibility.coefficients == PAPER


def test_phi_whose_network_cannot_be_built_is_refused():
    with pytest.raises(InputError, match=r"scaling\.phi: no network can be built for 20, because"):
        check(coefficients=[1.0, 1.0, 3.0], phi=[0, 20])


def test_latency_budgets_are_known_only_after_the_timing():
    (note,) = check(latency_ms=[5.0, 9.0]).notes
    assert note.startswith("note: scaling.latency_ms: whether its budgets can be met is only known")


def test_networks_of_the_search_space_stand_for_the_baseline_of_a_search():
    config = config_from_dict(
        {"data": {"source": "digits"}, "search": {"space": "tiny", "resolution": 8}}, source="test"
    )
    networks = possible_baselines(config, None)
    assert len({network.network_id for network in networks}) == len(networks) > 1


def test_run_refuses_an_impossible_budget_before_its_search(tmp_path, phinas_in_process):
    result = phinas_in_process(
        "run", "--data", "digits", "--upsample", "--space", "tiny", "--family-flops", "10",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.returncode == 2
    assert "phinas: --family-flops: no phi meets 10 flops" in result.stderr
    assert "stage 2" not in result.stderr
    assert list(tmp_path.iterdir()) == []

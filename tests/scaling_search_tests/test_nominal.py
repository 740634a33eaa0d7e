"""The paper's grid taken literally, around EfficientNet-B0: golden numbers and brute force."""

import statistics
from pathlib import Path

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.grid.grid_member import describe_constraint
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.nominal import nominal_grid, nominal_triples
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import read_yaml

B0 = preset("efficientnet_b0")
SMALL = load_space("small_images").base
GOLDEN = read_yaml(Path(__file__).parents[1] / "golden" / "naive_grid.yaml")
SECTION = ScalingSection(constraint="nominal")


def test_around_b0_the_nominal_grid_has_networks_of_different_flops():
    grid = nominal_grid(B0, SECTION)
    assert {
        "triples": len(grid.ratios),
        "networks": len(grid.members),
        "least": round(min(grid.ratios), 2),
        "median": round(statistics.median(grid.ratios), 2),
        "greatest": round(max(grid.ratios), 2),
        "within_a_tenth": sum(abs(ratio / 2 - 1) <= 0.1 for ratio in grid.ratios),
    } == GOLDEN["nominal_grid"]


def test_the_warning_shows_the_spread():
    assert nominal_grid(B0, SECTION).warning() == (
        "scaling.constraint: nominal compares networks of different FLOPs: 108 triples round to "
        "65 networks with 1.93 to 3.33 times the baseline's measured FLOPs (median 2.56; 11 of the "
        "triples are within 10% of 2), so the largest network may win for its size; use "
        "scaling.constraint: measured for equal FLOPs"
    )


@pytest.mark.parametrize(
    "baseline", [B0, SMALL, preset("resnet_50")], ids=["b0", "small", "resnet_50"]
)
@pytest.mark.parametrize("rounding", ["ceil", "balanced"])
def test_the_nominal_grid_has_all_triples_within_the_tolerance_merged(baseline, rounding):
    section = ScalingSection(
        constraint="nominal",
        flops_multiple=1.7,
        nominal_tolerance=0.07,
        grid_step=[0.1, 0.05, 0.02],
        rounding=rounding,
        gamma=[1.0, 1.3],
    )
    alphas, betas, gammas = ([1 + row * step for row in range(51)] for step in section.grid_steps)
    triples = [
        (round(alpha, 6), round(beta, 6), round(gamma, 6))
        for alpha in alphas
        for beta in betas
        for gamma in gammas
        if alpha < 2.001
        and beta < 1.501
        and gamma < 1.301
        and abs(alpha * beta**2 * gamma**2 - 1.7) < 0.07
    ]
    assert list(nominal_triples(section)) == triples
    networks = {
        triple: Coefficients(*triple, rounding=rounding).apply(baseline, 1.0).canonicalize()
        for triple in triples
    }
    members = make_grid(baseline, section)
    assert {member.spec for member in members} == set(networks.values())
    assert len(members) == len({member.spec.network_id for member in members}) <= len(triples)
    member_by_spec = {member.spec: member for member in members}
    for triple, network in networks.items():
        member = member_by_spec[network]
        assert member.flops == network.cost().flops
        assert member.ratio == member.flops / baseline.cost().flops
        assert all(
            low <= f <= high
            for f, (low, high) in zip(
                triple, (member.alpha, member.beta, member.gamma), strict=True
            )
        )


def test_a_product_at_the_tolerance_is_outside_whatever_its_last_bit():
    section = ScalingSection(
        constraint="nominal", alpha=[1.0, 2.0], beta=[1.0, 1.0], gamma=[1.0, 1.0], grid_step=0.1
    )
    # 1.9 is 0.1 below 2, and in binary a last bit further
    assert list(nominal_triples(section)) == [(2.0, 1.0, 1.0)]


def test_networks_above_the_image_size_are_skipped_and_counted():
    unlimited, limited = (
        nominal_grid(SMALL, SECTION),
        nominal_grid(SMALL, SECTION, max_resolution=36),
    )
    assert (
        max(member.spec.resolution for member in limited.members)
        <= 36
        < max(m.spec.resolution for m in unlimited.members)
    )
    assert len(limited.ratios) + limited.num_too_large == len(unlimited.ratios) == 108
    assert f"({limited.num_too_large} more exceed the highest resolution)" in limited.warning()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"flops_multiple": 9.0},
            r"triple, 1\.9, 1\.45, 1\.5, gives 8\.99; raise scaling\.nominal_tolerance, lower",
        ),
        (
            {"flops_multiple": 20.0},
            r"gives 10\.1, the largest of the grid; raise the upper bound of",
        ),
        (
            {"flops_multiple": 1.01, "alpha": [1.5, 2.0]},
            r"gives 1\.5, the smallest of the grid; lower the lower bound of",
        ),
    ],
)
def test_an_empty_grid_names_the_nearest_triple_and_what_to_change(changes, message):
    section = ScalingSection(constraint="nominal", nominal_tolerance=0.001, **changes)
    with pytest.raises(
        InputError,
        match=r"^scaling.nominal_tolerance: the grid needs two networks and has none with alpha .* "
        r"gamma\^2 within 0\.001 of",
    ):
        make_grid(B0, section)
    with pytest.raises(InputError, match=message):
        make_grid(B0, section)


def test_a_nominal_grid_of_one_network_is_refused():
    section = ScalingSection(constraint="nominal", beta=[1.0, 1.0], gamma=[1.0, 1.0])
    with pytest.raises(InputError, match=r"needs two networks and has one with"):
        make_grid(SMALL, section)


def test_a_grid_that_needs_larger_images_is_refused_with_that_reason():
    section = ScalingSection(constraint="nominal", alpha=[1.0, 1.0], beta=[1.0, 1.0])
    with pytest.raises(
        InputError,
        match=r"triples exceed the image size 33 px: set data\.upsample: true$",
    ):
        make_grid(SMALL, section, max_resolution=33)


@pytest.mark.parametrize("step", [0.001, [0.002, 0.002, 0.001]])
def test_too_many_triples_are_refused_at_once(step):
    with pytest.raises(
        InputError,
        match=r"^scaling\.grid_step: .* gives more than 200,000 pairs or triples .*; raise "
        r"scaling\.grid_step",
    ):
        make_grid(B0, ScalingSection(constraint="nominal", grid_step=step))


def test_the_constraint_is_described():
    assert describe_constraint(SECTION) == "with alpha * beta^2 * gamma^2 within 0.1 of 2"
    assert describe_constraint(ScalingSection()) == "within 3.0% of 4 times the baseline's FLOPs"


@pytest.mark.parametrize("rounding", ["ceil", "round"])
def test_the_published_coefficients_do_not_double_the_flops(rounding):
    scaled = Coefficients(1.2, 1.1, 1.15, rounding=rounding).apply(B0, 1.0)
    assert round(scaled.cost().flops / B0.cost().flops, 2) == GOLDEN["published_triple"][rounding]
    assert round(Coefficients(1.2, 1.1, 1.15).nominal, 2) == 1.92

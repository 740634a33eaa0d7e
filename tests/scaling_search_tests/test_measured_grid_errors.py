"""Empty and too large grids: the error, and that its advice helps."""

import math
import re
import time

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.resolutions import check_resolution_range
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space

B0 = preset("efficientnet_b0")
SMALL = load_space("small_images").base


def error_message(section, *, baseline=SMALL, max_resolution=math.inf):
    with pytest.raises(InputError) as caught:
        make_grid(baseline, section, max_resolution=max_resolution)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_multiple_above_the_ranges_is_refused_with_the_largest_possible_one():
    section = ScalingSection(
        grid_phi=1, alpha=[1.0, 1.1], beta=[1.0, 1.05], gamma=[1.0, 1.2], flops_multiple=9.0
    )
    message = error_message(section)
    assert message.startswith(
        "scaling.tolerance: the grid needs two networks and has none within 3.0% of 9 times the "
        "baseline's FLOPs; "
    )
    max_ratio = float(re.search(r"the ranges end at ([\d.]+);", message).group(1))
    assert (
        "raise the upper bound of scaling.alpha, scaling.beta or scaling.gamma, or lower "
        "scaling.flops_multiple to" in message
    )
    multiple = float(re.search(r"lower scaling.flops_multiple to ([\d.]+)$", message).group(1))
    assert multiple <= max_ratio + 0.01
    assert make_grid(
        SMALL, section.model_copy(update={"flops_multiple": multiple, "tolerance": 0.2})
    )


def test_where_the_image_size_limits_gamma_upsampling_is_suggested():
    section = ScalingSection(
        grid_phi=1, alpha=[1.0, 1.1], beta=[1.0, 1.05], flops_multiple=2.6, tolerance=0.1
    )
    message = error_message(section, max_resolution=36)
    assert (
        "(the image size 36 px limits gamma: set data.upsample: true), or lower "
        "scaling.flops_multiple to" in message
    )
    assert make_grid(SMALL, section)  # as with upsampling


def test_where_the_image_size_leaves_too_few_networks_upsampling_is_suggested():
    section = ScalingSection(grid_phi=1, grid_step=0.25, tolerance=0.001)
    assert error_message(section, max_resolution=34).endswith(
        "(the image size 34 px limits gamma: set data.upsample: true)"
    )
    assert error_message(section).endswith("or widen the ranges")


def test_a_multiple_below_the_ranges_is_refused_with_the_smallest_possible_one():
    section = ScalingSection(grid_phi=1, alpha=[1.5, 2.0], beta=[1.3, 1.5], flops_multiple=1.2)
    message = error_message(section)
    assert (
        "lower the lower bound of scaling.alpha, scaling.beta or scaling.gamma, or raise "
        "scaling.flops_multiple to" in message
    )
    multiple = float(message.rpartition(" ")[2])
    assert f"and the ranges begin at {multiple - 0.005:.2f}"[:-1] in message
    assert make_grid(
        SMALL, section.model_copy(update={"flops_multiple": multiple, "tolerance": 0.2})
    )


def test_an_empty_grid_names_the_nearest_network_and_a_tolerance_for_two():
    section = ScalingSection(grid_phi=1, grid_step=0.25, tolerance=0.0001)
    message = error_message(section)
    ratio, tolerance = re.search(
        r"the nearest has ([\d.]+) times .* raise scaling\.tolerance to ([\d.]+) for two",
        message,
    ).groups()
    larger = make_grid(SMALL, section.model_copy(update={"tolerance": float(tolerance)}))
    assert len(larger) >= 2
    nearest = min(larger, key=lambda member: abs(member.ratio - 2))
    assert f"{nearest.ratio:.3g}" == ratio
    shown_values = re.search(r"alpha ([\d.]+), beta ([\d.]+), (\d+) px", message).groups()
    coefficients = nearest.to_coefficients(section)
    assert shown_values == (
        f"{coefficients.alpha:.3g}",
        f"{coefficients.beta:.3g}",
        str(nearest.spec.resolution),
    )


def test_a_grid_of_one_network_is_refused():
    message = error_message(
        ScalingSection(grid_phi=1, alpha=[1.0, 1.0], beta=[1.0, 1.0], tolerance=0.1)
    )
    assert message.startswith(
        "scaling.tolerance: the grid needs two networks and has one within 10.0%"
    )
    assert message.endswith(
        "there is only one depth and one width; widen scaling.alpha or scaling.beta, or lower "
        "scaling.grid_step"
    )


def test_a_step_too_fine_for_its_ranges_is_refused_at_once():
    start_time = time.process_time()
    message = error_message(
        ScalingSection(
            grid_phi=1, grid_step=0.001, alpha=[1.0, 10.0], beta=[1.0, 10.0], gamma=[1.0, 10.0]
        ),
        baseline=preset("resnet_50"),
    )
    assert time.process_time() - start_time < 5
    assert re.match(
        r"scaling\.grid_step: 0\.001 for alpha and 0\.001 for beta give [\d,]+ pairs of depths and "
        r"widths, more than 50,000;",
        message,
    )


def test_the_finest_step_over_the_default_ranges_takes_bounded_time():
    start_time = time.process_time()
    assert len(make_grid(B0, ScalingSection(grid_phi=1, grid_step=0.001))) > 100
    assert time.process_time() - start_time < 5


def test_a_range_above_one_is_refused_for_a_baseline_at_the_image_size():
    with pytest.raises(
        InputError,
        match=r"^scaling\.gamma: cannot exceed 1, .* \(32 px\) is not below the image size "
        r"\(32 px\)",
    ):
        make_grid(SMALL, ScalingSection(grid_phi=1, gamma=[1.0, 1.5]), max_resolution=32)
    fixed = ScalingSection(grid_phi=1, gamma=[1.0, 1.0], tolerance=0.2)
    assert {member.spec.resolution for member in make_grid(SMALL, fixed, max_resolution=32)} == {32}


def test_no_member_exceeds_the_image_size():
    members = make_grid(SMALL, ScalingSection(grid_phi=1, tolerance=0.1), max_resolution=36)
    assert max(member.spec.resolution for member in members) <= 36


@pytest.mark.parametrize(
    ("gamma", "largest"), [([1.3, 1.5], 40), ([1.01, 1.02], math.inf), ([1.0, 1.0], 31)]
)
def test_a_range_of_gamma_without_a_resolution_is_refused(gamma, largest):
    with pytest.raises(InputError, match=r"^scaling\.gamma: no resolution is from"):
        check_resolution_range(32, ScalingSection(grid_phi=1, gamma=gamma), max_resolution=largest)


def test_suggestions_are_coefficients_at_phi_1():
    section = ScalingSection(alpha=[1.5, 2.0], beta=[1.3, 1.5], flops_multiple=1.2, grid_phi=2)
    message = error_message(section)
    assert "within 3.0% of 1.44 times the baseline's FLOPs" in message
    assert "has 6 times (alpha 1.51, beta 1.3, 32 px)" in message
    [multiple] = re.findall(r"raise scaling\.flops_multiple to ([0-9.]+)$", message)
    raised = section.model_copy(update={"flops_multiple": float(multiple), "tolerance": 0.1})
    assert len(make_grid(SMALL, raised)) >= 2

"""Tests of the size at which the images of a run are stored."""

import pytest

from phinas.adapt_to_data import largest_resolution
from phinas.experiment.schema.config import config_from_dict


def config(**sections):
    return config_from_dict({"data": {"source": "digits"}, **sections}, source="test")


def test_all_resolutions_of_the_search_space_are_included(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("base: mobilenet_v2\nglobal: {resolution: [32, 48]}\n")
    sections = {"search": {"space": str(path)}, "validation": {"max_flops_multiple": 1.0}}
    sections["scaling"] = {"coefficients": [1.2, 1.1, 1.15]}
    assert 48 <= largest_resolution(config(**sections)) <= 1.1 * 48 + 1


def test_resolution_of_the_search_is_scaled():
    half = largest_resolution(config(search={"resolution": 16}))
    assert largest_resolution(config(search={"resolution": 32})) == pytest.approx(2 * half, abs=2)


def test_grid_may_reach_the_largest_gamma():
    sections = {
        "scaling": {"baseline": "efficientnet_b0", "gamma": [1.0, 3.0]},
        "validation": {"max_flops_multiple": 1.0},
    }
    assert largest_resolution(config(**sections)) == 3 * 224


def test_trained_members_and_controls_are_included():
    sections = {
        "scaling": {"baseline": "efficientnet_b0"},
        "validation": {"max_flops_multiple": 4.0},
    }
    # four times the FLOPs by resolution alone, which is the control `resolution`
    assert largest_resolution(config(**sections)) >= 2 * 224


def test_resolution_has_an_upper_limit():
    sections = {
        "scaling": {"baseline": "efficientnet_b0"},
        "validation": {"max_flops_multiple": 1e12},
    }
    assert largest_resolution(config(**sections)) == 1 << 14

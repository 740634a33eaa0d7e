"""Tests of network names in the notations of timm and of the Hugging Face hub."""

import json

import pytest

TIMM_NAME = "timm:efficientnet_b0.ra_in1k"


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0.ra_in1k",
        "timm/efficientnet_b0.ra_in1k",
        "hf-hub:timm/efficientnet_b0.ra_in1k",
    ],
)
def test_a_name_as_timm_and_the_hub_write_it_is_the_network_of_timm(name, run_phinas):
    result, expected = (run_phinas("describe", text, "--json") for text in (name, TIMM_NAME))
    assert result.exit_code == 0, result.stderr
    networks = [json.loads(text.stdout) for text in (result, expected)]
    assert networks[0]["network_id"] == networks[1]["network_id"]


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "mobilenetv2_100"])
def test_the_library_is_suggested_for_a_name_without_it(name, run_phinas):
    result = run_phinas("describe", name)
    assert result.exit_code == 2
    assert f"did you mean 'timm:{name}'?" in result.stderr


@pytest.mark.parametrize(
    "name", ["efficientnet_b0.yaml", "timm/unknown.in1k", "hf-hub:someone/net"]
)
def test_other_names_with_a_dot_or_slash_are_no_networks_of_timm(name, run_phinas):
    result = run_phinas("describe", name)
    assert result.exit_code == 2
    assert f"{name!r} is neither a file nor a preset" in result.stderr


def test_an_unknown_network_of_timm_on_the_hub_is_refused(run_phinas):
    result = run_phinas("describe", "hf-hub:timm/efficientnet_b00.in1k")
    assert result.exit_code == 2
    assert "did you mean 'timm:efficientnet_b0'?" in result.stderr


def test_timm_name_with_a_weights_tag_is_accepted(run_phinas):
    result = run_phinas("describe", TIMM_NAME)
    assert result.exit_code == 0, result.stderr
    assert "224 x 224" in result.stdout

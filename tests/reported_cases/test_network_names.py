"""Tests of network names in the notations of timm and of the Hugging Face hub."""

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
@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="refused; the error suggests efficientnet_b1"
)
def test_hub_name_is_accepted_or_the_correct_name_is_suggested(name, run_phinas):
    result = run_phinas("describe", name)
    assert result.exit_code == 0 or TIMM_NAME in result.stderr


def test_timm_name_with_a_weights_tag_is_accepted(run_phinas):
    result = run_phinas("describe", TIMM_NAME)
    assert result.exit_code == 0, result.stderr
    assert "224 x 224" in result.stdout

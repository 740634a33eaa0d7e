"""Names of networks as timm and the Hugging Face hub write them."""

import pytest

WANTED = "timm:efficientnet_b0.ra_in1k"


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0.ra_in1k",
        "timm/efficientnet_b0.ra_in1k",
        "hf-hub:timm/efficientnet_b0.ra_in1k",
    ],
)
@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="refused; the hint names efficientnet_b1"
)
def test_hub_name_is_understood_or_the_right_name_is_suggested(name, run_phinas):
    result = run_phinas("describe", name)
    assert result.exit_code == 0 or WANTED in result.stderr


def test_timm_name_with_a_weights_tag_is_understood(run_phinas):
    result = run_phinas("describe", WANTED)
    assert result.exit_code == 0, result.stderr
    assert "224 x 224" in result.stdout

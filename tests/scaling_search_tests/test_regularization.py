"""Dropout and stochastic depth by phi, of baselines with and without them."""

import pytest

from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.family.regularization import PUBLISHED_PHI, scale_regularization
from phinas.space.presets import EFFICIENTNET, preset

PUBLISHED = Coefficients(1.2, 1.1, 1.15)
B0 = preset("efficientnet_b0")


def test_b0_to_b7_have_the_published_dropout_and_stochastic_depth():
    for phi, name in zip(PUBLISHED_PHI, EFFICIENTNET, strict=True):
        spec = scale_regularization(B0, phi)
        assert (spec.dropout, spec.drop_path) == (preset(name).dropout, preset(name).drop_path)


@pytest.mark.parametrize(
    ("phi", "fraction"),
    [(-0.5, 1.0), (-0.75, 0.75), (-1, 0.5), (-2, 0.5), (-2.75, 0.25), (-3.5, 0.0), (-9, 0.0)],
)
def test_below_the_baseline_dropout_and_stochastic_depth_decrease(phi, fraction):
    spec = scale_regularization(B0, phi)
    assert (spec.dropout, spec.drop_path) == pytest.approx((0.2 * fraction, 0.2 * fraction))


@pytest.mark.parametrize("name", ["resnet_50", "mobilenet_v2", "mobilenet_v1"])
def test_a_baseline_without_stochastic_depth_keeps_none_and_one_without_dropout_gets_none(name):
    baseline = preset(name)
    for member in make_family(baseline, PUBLISHED, [-2, 1, 7]):
        assert member.spec.drop_path == 0
        assert member.spec.dropout <= 2.5 * baseline.dropout


def test_efficientnet_v2_s_scaled_to_the_flops_of_v2_m_has_the_dropout_of_v2_m():
    (_, member) = make_family(preset("efficientnet_v2_s"), PUBLISHED, [1.65])
    assert member.spec.dropout == pytest.approx(preset("efficientnet_v2_m").dropout)

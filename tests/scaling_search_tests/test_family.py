"""Families by compound scaling, and their files."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.errors import InputError
from phinas.experiment.manifest import create_run, new_manifest, record_family
from phinas.experiment.run_dir import RunDir
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import (
    make_family,
    read_family,
    require_complete_family,
    write_family,
)
from phinas.space.loading import load_spec
from phinas.space.presets import EFFICIENTNET, preset
from phinas.space.search_spaces.loading import load_space

B0 = preset("efficientnet_b0")
PUBLISHED = Coefficients(1.2, 1.1, 1.15)
LADDER = (0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0)
FACTORS = st.floats(1, 1.6)
LADDERS = st.lists(st.floats(0.01, 8), min_size=1, max_size=6, unique=True).map(sorted)


@settings(deadline=None)
@given(
    FACTORS,
    FACTORS,
    FACTORS,
    st.sampled_from(["ceil", "round", "balanced"]),
    LADDERS,
    st.sampled_from(["b0", "tiny", "small_images"]),
)
def test_a_family_never_shrinks_a_stage(alpha, beta, gamma, rounding, ladder, baseline):
    base = B0 if baseline == "b0" else load_space(baseline).base
    family = make_family(base, Coefficients(alpha, beta, gamma, rounding=rounding), ladder)
    for smaller, larger in pairwise(family):
        assert larger.spec.resolution >= smaller.spec.resolution
        assert larger.spec.head_width >= smaller.spec.head_width
        assert larger.spec.dropout >= smaller.spec.dropout
        for old, new in zip(smaller.spec.stages, larger.spec.stages, strict=True):
            assert (new.width >= old.width, new.depth >= old.depth) == (True, True)
        assert larger.flops >= smaller.flops
        assert larger.ratio == larger.flops / family[0].flops


def test_b0_is_the_baseline_and_the_others_follow_the_ladder():
    family = make_family(B0, PUBLISHED, LADDER)
    assert family[0].spec == B0
    assert (family[0].phi, family[0].ratio) == (0.0, 1.0)
    assert [member.name for member in family] == [f"b{number}" for number in range(8)]
    assert [member.phi for member in family] == [0.0, *LADDER]
    for member in family:
        cost = member.spec.cost()
        assert (member.flops, member.params, member.activations) == (
            cost.flops,
            cost.params,
            cost.activations,
        )


def test_published_coefficients_give_the_published_resolutions_but_another_family():
    family = make_family(B0, PUBLISHED, LADDER)
    resolutions = [row.resolution for row in EFFICIENTNET.values()]
    assert all(
        abs(member.spec.resolution / side - 1) < 0.05
        for member, side in zip(family, resolutions, strict=True)
    )
    assert family[7].spec != preset("efficientnet_b7")


def test_dropout_rises_with_phi_through_the_published_points():
    family = make_family(B0, PUBLISHED, LADDER)
    assert [member.spec.dropout for member in family] == [
        row.dropout for row in EFFICIENTNET.values()
    ]


@pytest.mark.parametrize(
    ("phi", "dropout"),
    [(0.25, 0.2), (0.75, 0.25), (1.5, 0.3), (2.75, 0.35), (6.5, 0.5), (20.0, 0.5)],
)
def test_dropout_is_linear_between_the_published_points_and_constant_beyond(phi, dropout):
    assert make_family(B0, Coefficients(1.0, 1.0, 1.01), [phi])[1].spec.dropout == pytest.approx(
        dropout
    )


def test_dropout_stays_below_the_maximum_of_a_spec():
    assert make_family(replace(B0, dropout=0.85), PUBLISHED, [7.0])[1].spec.dropout == 0.9


def test_a_dimension_of_coefficient_one_is_not_scaled():
    (_, member) = make_family(B0, Coefficients(1.0, 1.0, 1.2), [3.0])
    assert [stage.depth for stage in member.spec.stages] == [stage.depth for stage in B0.stages]
    assert [stage.width for stage in member.spec.stages] == [stage.width for stage in B0.stages]
    assert member.spec.resolution == round(224 * 1.2**3)


def test_a_file_of_a_member_is_a_spec_file_with_its_exact_cost(tmp_path):
    family = make_family(B0, PUBLISHED, LADDER)
    paths = write_family(family, tmp_path)
    assert [path.name for path in paths] == [f"b{number}.yaml" for number in range(8)]
    for path, member in zip(paths, family, strict=True):
        assert load_spec(str(path)) == member.spec
        assert FamilyMember.read(path) == member
        cost = member.spec.cost()
        assert (member.flops, member.params, member.activations) == (
            cost.flops,
            cost.params,
            cost.activations,
        )
        assert member.network_id == member.spec.network_id


def test_a_shorter_family_removes_the_files_of_a_longer_one_and_no_weights(tmp_path):
    write_family(make_family(B0, PUBLISHED, LADDER), tmp_path)
    for name in ("b0.safetensors", "b7.safetensors", "notes.yaml"):
        (tmp_path / name).write_text("kept")
    write_family(make_family(B0, PUBLISHED, [1.0]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "b0.safetensors",
        "b0.yaml",
        "b1.yaml",
        "b7.safetensors",
        "notes.yaml",
    ]


def test_a_deleted_or_renamed_member_is_named_and_not_left_out(tmp_path):
    run = RunDir(tmp_path / "run")
    create_run(run, "x", new_manifest(seed=0))
    record_family(run, write_family(make_family(B0, PUBLISHED, [1.0, 2.0]), run.family))
    require_complete_family(run)
    (run.family / "b1.yaml").rename(run.family / "mine.yaml")
    with pytest.raises(InputError, match=r"family: b1\.yaml is missing.*phinas scale"):
        require_complete_family(run)
    (run.family / "b2.yaml").unlink()
    with pytest.raises(InputError, match=r"family: b1\.yaml, b2\.yaml are missing"):
        require_complete_family(run)


def test_a_copy_of_a_member_under_another_name_is_refused(tmp_path):
    write_family(make_family(B0, PUBLISHED, [1.0]), tmp_path)
    (tmp_path / "b1.yaml").rename(tmp_path / "b9.yaml")
    with pytest.raises(InputError, match=r"b9\.yaml: name: 'b1' is not .*rename it to b1\.yaml"):
        read_family(tmp_path)

"""What limits a family, and members without a predicted score, on the page and in its files."""

import math

import pytest

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.schema.config import config_from_dict
from phinas.reports.csv_export import make_family_dataframe
from phinas.reports.figure_export import report_style
from phinas.reports.figures import family as family_figure
from phinas.reports.run_reader import read_run_data
from phinas.reports.sentences.conclusions import make_conclusion_paragraphs
from phinas.reports.sentences.family_limits import (
    describe_depth_jumps,
    describe_family_limits,
    join_members,
)
from phinas.reports.tables.family import make_family_table
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.space.presets import preset

B0 = preset("efficientnet_b0").adapt(resolution=32)
LADDER = [-1.0, 0.5, 1.0, 2.0, 3.5]


def make_record(alpha=1.2, beta=1.1, gamma=1.15, **fields):
    values = {"divisor": 8, "rounding": "ceil", "source": "1.2, 1.1, 1.15", "race": None} | fields
    return CoefficientsFile(alpha=alpha, beta=beta, gamma=gamma, **values)


def family_of(record, ladder=LADDER):
    return make_family(B0, Coefficients.from_file(record), ladder)


def describe(record, ladder=LADDER, **sections):
    sections["scaling"] = {"baseline": "efficientnet_b0"} | sections.get("scaling", {})
    config = config_from_dict(sections, source="test")
    return describe_family_limits(family_of(record, ladder), record, config)


def test_members_with_the_highest_resolution_are_named_with_its_reason():
    record, data = make_record(max_resolution=36), {"source": "photos"}
    assert describe(record, data=data) == [
        "B2 to B4 have 36 px, the images' own size; the FLOPs that a higher resolution would add "
        "come from depth and width."
    ]
    (by_option,) = describe(record, scaling={"max_resolution": 36})
    assert by_option.startswith(
        "B2 to B4 have 36 px, the highest resolution that scaling.max_resolution allows; "
    )
    (upsampled,) = describe(record, data=data | {"upsample": True})
    assert "36 px, since images that are enlarged further have no more detail; " in upsampled
    (single,) = describe(record, [1.0], data=data)
    assert single.startswith("B1 has 36 px")
    assert describe(make_record(max_resolution=400), data=data) == []
    assert describe(make_record(), data=data) == []


def test_a_lower_alpha_is_described_with_the_coefficients_of_the_race():
    record = make_record(1.4, 1.05, 1.04, before_depth_limit=(1.9, 1.02, 1.01))
    assert describe(record) == [
        "The alpha, beta, gamma of the scaling search, 1.90, 1.02, 1.01, would more than double "
        "the blocks of a stage from one member to the next, so the family is scaled by 1.40, "
        "1.05, 1.04."
    ]


def test_members_that_more_than_double_a_stage_are_named():
    record = make_record(2.0, 1.0, 1.0)
    assert describe_depth_jumps(family_of(record), record).startswith(
        "B4 has more than twice the blocks of the member before in a stage; lower alpha "
    )
    assert describe_depth_jumps(family_of(make_record()), make_record()) == ""
    without_baseline = [member for member in family_of(record) if member.name != "b0"]
    assert describe_depth_jumps(without_baseline, record) == ""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b1"], "B1"),
        (["b2", "b3"], "B2 and B3"),
        (["b2", "b3", "b4"], "B2 to B4"),
        (["b1", "b2", "b4"], "B1, B2 and B4"),
        (["b-1", "b0", "b1"], "B-1 to B1"),
    ],
)
def test_consecutive_members_are_named_by_the_first_and_the_last(names, expected):
    assert join_members(names, family_of(make_record())) == expected


@pytest.fixture
def far_run(build):
    """A validated run with a prediction for B3, and none for B4 and B5."""
    scaling = {"tolerance": 0.2, "divisor": 4, "phi": [1.0, 2.0, 3.5, 9.0, 12.0]}
    builder = build(scaling=scaling).search(3).select_baseline()
    builder = builder.give_coefficients(1.2, 1.1, 1.15)
    return builder.validate(step=0.02, min_score=0.8, images=10_000, controls={})


def test_members_without_a_prediction_have_no_number_anywhere(far_run):
    run_data = read_run_data(far_run.run)
    assert [row.label for row in run_data.predicted_members] == ["B3"]
    assert [row.label for row in run_data.unpredicted_members] == ["B4", "B5"]
    table = make_family_table(run_data)
    assert [row[2].text for row in table.rows[-2:]] == ["not predicted"] * 2
    assert table.rows[-1][4].text  # its FLOPs
    frame = make_family_dataframe(run_data).set_index("name")
    columns = ["score", "predicted", "predicted_low", "predicted_high", "extrapolation"]
    assert frame.loc["b4", columns].isna().all()
    assert frame.flops["b5"] > frame.flops["b4"] > 0
    text = " ".join(" ".join(paragraph) for paragraph in make_conclusion_paragraphs(run_data))
    assert (
        "No score is predicted for B4 and B5: more than 8 times the FLOPs of the largest trained "
        "network is too far for the curve." in text
    )


def test_the_curve_and_the_axis_end_at_the_last_member_with_a_score(far_run):
    run_data = read_run_data(far_run.run)
    with report_style():
        figure = family_figure.draw(run_data, compact=False)
    axes = figure.figure.axes[0]
    last_flops = run_data.predicted_members[-1].flops
    (curve,) = [line for line in axes.lines if line.get_gid() == "curve-beyond"]
    assert max(curve.get_xdata()) == pytest.approx(last_flops)
    assert last_flops < axes.get_xlim()[1] < run_data.unpredicted_members[0].flops
    assert "untrained" not in {group.get_gid() for group in axes.collections}
    assert "B4 and B5 are not drawn, since no score is predicted for them." in figure.caption


def test_the_factors_of_the_table_are_those_of_the_highest_resolution(far_run):
    path = far_run.run.coefficients
    resolution = far_run.spec.resolution
    record = CoefficientsFile.read(path).model_copy(update={"max_resolution": resolution})
    record.write(path)
    frame = make_family_dataframe(read_run_data(far_run.run)).set_index("name")
    assert (frame.resolution_factor == 1).all()
    assert frame.depth_factor["b2"] > 1.2**2
    assert math.isclose(frame.depth_factor["b2"] * frame.width_factor["b2"] ** 2, record.nominal**2)

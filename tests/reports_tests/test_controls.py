"""Curve, predictions and controls: what is predicted never looks measured, and what can't be told
is said to be so.
"""

import itertools
import math

import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from phinas.experiment.run_dir import write_atomic
from phinas.reports.coefficient_verdict import find_closest_to_paper
from phinas.reports.conclusions import list_conclusions
from phinas.reports.controls import MARKERS, get_control_kind
from phinas.reports.csv_export import CSV_TABLES, make_controls_dataframe, make_family_dataframe
from phinas.reports.figure_export import PNG_DPI, report_style
from phinas.reports.figures import controls, family, grid
from phinas.reports.formatting import format_percent, format_points, join_names
from phinas.reports.page import render_page
from phinas.reports.palette import BACKGROUND_COLOR
from phinas.reports.run_data import read_run_data
from phinas.reports.tables.controls import make_controls_table
from phinas.reports.tables.family import make_family_table
from phinas.reports.tables.scaling import make_coefficients_table, make_grid_table
from phinas.space.yaml_io import dump_yaml, read_yaml

SMALL = {"tolerance": 0.2, "divisor": 4, "max_grid_members": 4, "phi": [1.0, 2.0, 3.0]}
CONTROLS = {
    "depth": 0.031,
    "width": 0.012,
    "resolution": -0.021,
    "paper": 0.004,
    "efficientnet_b1": 0.024,
    "runs/photos": -0.006,
}
MANY_CONTROLS = CONTROLS | {f"runs/other{number}": 0.003 * number - 0.01 for number in range(6)}
FAILED_CONTROLS = dict.fromkeys(CONTROLS, "its training failed: the loss became NaN")
MINUS = "\N{MINUS SIGN}"


def validated_run(build, *, scaling=None, validation=None, coefficients=None, **results):
    """A run with a validated family."""
    builder = (
        build(scaling=SMALL | (scaling or {}), validation=validation or {})
        .search(3)
        .select_baseline()
    )
    builder = builder.give_coefficients(*coefficients) if coefficients else builder.scale(gap=0.03)
    return builder.validate(**{"step": 0.02, "min_accuracy": 0.8, "images": 10_000} | results)


def draw(figure, builder, *, compact=False):
    with report_style():
        return figure.draw(read_run_data(builder.run), compact=compact)


def marker_positions(report_figure, gid):
    """The positions of a group of marks."""
    artists = [
        group for group in report_figure.figure.axes[0].collections if group.get_gid() == gid
    ]
    return [tuple(map(float, position)) for group in artists for position in group.get_offsets()]


def lines(report_figure, gid=None):
    return [
        line for line in report_figure.figure.axes[0].lines if gid is None or line.get_gid() == gid
    ]


def conclusions_text(builder):
    return " ".join(list_conclusions(read_run_data(builder.run)))


def page(builder):
    return " ".join(render_page(read_run_data(builder.run), {}).split())


def update_validation(builder, **values):
    write_atomic(builder.run.validation, dump_yaml(read_yaml(builder.run.validation) | values))
    return builder


EDGE_CASES = {
    "usual": {"controls": CONTROLS},
    "no controls": {"controls": {}},
    "all controls failed": {"controls": FAILED_CONTROLS},
    "one trained": {"controls": FAILED_CONTROLS, "validation": {"max_flops_multiple": 1.0}},
    "far beyond": {"controls": CONTROLS, "scaling": {"phi": [1.0, 2.0, 9.0, 12.0]}},
    "twelve controls": {"controls": MANY_CONTROLS},
    "below the baseline": {"controls": CONTROLS, "scaling": {"phi": [-2.0, -1.0, 1.0, 2.0, 4.0]}},
    "whole ladder": {"controls": CONTROLS, "scaling": {"phi": [0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0]}},
    "few images": {"controls": CONTROLS, "images": 60},
    "given": {
        "controls": {"depth": 0.02, "paper": "it is the network of B2"},
        "coefficients": (1.2, 1.1, 1.15),
    },
}


# Those that stay quick have every kind of mark and text, and the fewest and the most of them.
QUICK_CASES = ("usual", "twelve controls", "few images", "given")


@pytest.mark.parametrize(
    "case",
    [
        name if name in QUICK_CASES else pytest.param(name, marks=pytest.mark.slow)
        for name in EDGE_CASES
    ],
)
def test_whatever_was_found_the_report_is_written_and_no_text_covers_another(build, case):
    builder = validated_run(build, **EDGE_CASES[case])
    assert "</html>" in page(builder)
    assert all(len(table(read_run_data(builder.run)).columns) for table in CSV_TABLES.values())
    for figure, compact in itertools.product((family, controls), (False, True)):
        report_figure = draw(figure, builder, compact=compact)
        if report_figure is None:
            continue
        report_figure.figure.set_dpi(PNG_DPI)
        renderer = report_figure.figure.canvas.get_renderer()
        texts = [
            text
            for text in report_figure.figure.axes[0].findobj(Text)
            if text.get_text() and text.get_visible()
        ]
        extents = [text.get_window_extent(renderer) for text in texts]
        figure_box = report_figure.figure.bbox.padded(3)
        assert all(
            figure_box.x0 <= box.x0
            and box.x1 <= figure_box.x1
            and figure_box.y0 <= box.y0
            and box.y1 <= figure_box.y1
            for box in extents
        )
        pairs = itertools.combinations(zip(texts, extents, strict=True), 2)
        overlaps_found = [
            (first.get_text(), second.get_text())
            for (first, a), (second, b) in pairs
            if a.padded(-1).overlaps(b.padded(-1))
        ]
        assert not overlaps_found, (figure.__name__, compact)


def test_a_prediction_is_a_hollow_mark_with_a_dashed_bar_at_the_predicted_accuracy(build):
    builder = validated_run(build)
    report_figure, row = draw(family, builder), read_run_data(builder.run).members[-1]
    prediction = row["prediction"]
    assert marker_positions(report_figure, "predicted") == [(row["flops"], prediction["accuracy"])]
    group = next(
        group
        for group in report_figure.figure.axes[0].collections
        if group.get_gid() == "predicted"
    )
    assert to_hex(group.get_facecolor()[0]) == BACKGROUND_COLOR
    bars = [line for line in lines(report_figure) if list(line.get_xdata()) == [row["flops"]] * 2]
    assert [list(bar.get_ydata()) for bar in bars] == [prediction["interval"]]
    assert bars[0].is_dashed()
    assert marker_positions(report_figure, "untrained") == []
    assert "predicted" in {text.get_text() for text in report_figure.figure.axes[0].texts}
    assert (
        f"not trained: {format_percent(prediction['accuracy'])} is predicted"
        in report_figure.tooltips["predicted"][0]
    )


def test_the_curve_is_solid_to_the_largest_trained_network_and_dashed_beyond_it(build):
    builder = validated_run(build)
    run_data = read_run_data(builder.run)
    report_figure, band, last = (
        draw(family, builder),
        run_data.curve["band"],
        run_data.validated_members[-1]["flops"],
    )
    solid_line, dashed_line = (lines(report_figure, gid)[0] for gid in ("curve", "curve-beyond"))
    assert not solid_line.is_dashed()
    assert dashed_line.is_dashed()
    assert [*solid_line.get_xdata(), *dashed_line.get_xdata()[1:]] == [
        point["flops"] for point in band
    ]
    assert sum(x > last for x in solid_line.get_xdata()) == 1  # where it meets the dashed one
    band_artist = next(
        group for group in report_figure.figure.axes[0].collections if group.get_gid() == "band"
    )
    extent = band_artist.get_paths()[0].get_extents()
    assert math.isclose(extent.y0, min(point["interval"][0] for point in band))
    assert math.isclose(extent.y1, max(point["interval"][1] for point in band))


def test_without_a_curve_members_that_were_not_trained_stand_on_the_axis_and_the_page_says_why(
    build,
):
    builder = validated_run(build, validation={"max_flops_multiple": 3.0})
    run_data, report_figure = read_run_data(builder.run), draw(family, builder)
    assert len(run_data.validated_members) == 2
    assert marker_positions(report_figure, "predicted") == [] == lines(report_figure, "curve")
    bottom = report_figure.figure.axes[0].get_ylim()[0]
    assert marker_positions(report_figure, "untrained") == [
        (row["flops"], bottom) for row in run_data.members_without_accuracy
    ]
    assert "whose FLOPs are known and whose accuracy is not" in report_figure.caption
    assert "No accuracy is predicted: a curve with a floor has three unknowns" in page(builder)
    assert "prediction" not in conclusions_text(builder)


def test_a_run_of_before_there_were_curves_and_controls_is_reported_as_it_was(build):
    builder = validated_run(build)
    rows = [
        {name: value for name, value in row.items() if name != "prediction"}
        for row in read_yaml(builder.run.validation)["members"]
    ]
    write_atomic(builder.run.validation, dump_yaml({"members": rows}))
    report_figure = draw(family, builder)
    assert len(marker_positions(report_figure, "trained")) == 3
    assert len(marker_positions(report_figure, "untrained")) == 1
    assert draw(controls, builder) is None
    assert "ompound scaling" not in conclusions_text(builder)
    assert "</html>" in page(builder)


def test_a_curve_or_control_of_another_family_is_not_shown_for_this_one(build):
    builder = validated_run(build, controls=CONTROLS)
    builder.run.validation.write_text(
        builder.run.validation.read_text().replace(builder.family[1].spec.spec_id, "0123456789ab")
    )
    run_data = read_run_data(builder.run)
    assert run_data.curve is None is run_data.compound_verdict
    assert run_data.controls == []


def test_family_caption_says_how_far_the_curve_extrapolates_and_which_noise_its_intervals_hold(
    build,
):
    builder = validated_run(build, controls=CONTROLS, scaling={"phi": [1.0, 2.0, 9.0, 12.0]})
    caption, rows = draw(family, builder).caption, read_run_data(builder.run).predicted_members
    assert "Hollow: B3 and B4 were not trained" in caption
    assert (
        f"up to {rows[-1]['prediction']['extrapolation']:.1f} times the FLOPs of the largest "
        "trained network" in caption
    )
    assert "only as good as the assumed law" in caption
    assert "the luck of training is not in it" in caption
    assert "triangle up: depth alone; square: width alone" in caption
    near_caption = draw(
        family,
        validated_run(
            lambda **sections: build("near", **sections), scaling={"phi": [1.0, 2.0, 2.9]}
        ),
    ).caption
    assert "only as good as" not in near_caption


def test_each_kind_of_control_has_a_marker_of_its_own_where_its_network_is(build):
    builder = validated_run(build, controls=CONTROLS)
    rows, report_figure = read_run_data(builder.run).trained_controls, draw(family, builder)
    assert {get_control_kind(row) for row in rows} == set(MARKERS)
    assert len({marker for marker, _ in MARKERS.values()}) == len(MARKERS)
    for index, row in enumerate(rows):
        assert marker_positions(report_figure, f"control-{index}") == [
            (row["flops"], row["accuracy"])
        ]
        assert report_figure.tooltips[f"control-{index}"][0].startswith(row["label"])


def test_controls_are_drawn_as_differences_to_their_member_the_best_first(build):
    builder = validated_run(build, controls=CONTROLS)
    rows, report_figure = read_run_data(builder.run).trained_controls, draw(controls, builder)
    assert [row["name"] for row in rows] == sorted(CONTROLS, key=CONTROLS.get)
    for index, row in enumerate(rows):
        assert marker_positions(report_figure, f"control-{index}") == [
            (-row["accuracy_gap"], index)
        ]
        line_ends = [
            list(line.get_xdata())
            for line in lines(report_figure)
            if list(line.get_ydata()) == [index, index]
        ]
        assert line_ends == [[-row["accuracy_gap_interval"][1], -row["accuracy_gap_interval"][0]]]
    texts = [text.get_text() for text in report_figure.figure.axes[0].texts]
    assert (
        texts.count("compound is better"),
        texts.count("the control is better"),
        texts.count("can't be told"),
    ) == (2, 1, 3)
    assert "as good as B2" in texts
    assert (
        "better beyond doubt than 2 (gray) and worse than 1 (orange); of "
        "3 (blue) it can't be told" in report_figure.caption
    )


def test_dots_of_a_control_are_paired_differences_around_its_mean_and_absent_where_a_seed_failed(
    build,
):
    builder = validated_run(build, controls={"depth": 0.02}, seeds=3)
    dots = [
        group
        for group in draw(controls, builder).figure.axes[0].collections
        if group.get_gid() is None
    ]
    x_values = [float(position[0]) for group in dots for position in group.get_offsets()]
    assert len(x_values) == 3
    assert math.isclose(sum(x_values) / 3, -0.02)
    validation = read_yaml(builder.run.validation)
    row = validation["controls"][0]
    row |= {"accuracies": row["accuracies"][1:], "failure_reason": "the loss became NaN"}
    update_validation(builder, **validation)
    dots = [
        group
        for group in draw(controls, builder).figure.axes[0].collections
        if group.get_gid() is None
    ]
    assert not [position for group in dots for position in group.get_offsets()]


def test_after_one_training_each_a_control_is_drawn_without_an_interval_and_nothing_is_claimed(
    build,
):
    builder = validated_run(build, controls={"depth": 0.02, "paper": 0.01}, seeds=1)
    validation = read_yaml(builder.run.validation)
    for row in validation["controls"]:
        row |= {"accuracy_gap_interval": None, "verdict": None}
    update_validation(builder, **validation)
    assert marker_positions(draw(controls, builder), "control-1") == [(-0.02, 1)]
    assert draw(family, builder) is not None
    assert (
        make_controls_table(read_run_data(builder.run))
        .rows[0][2]
        .text.startswith("not compared: one training each")
    )
    assert "the paper's 1.2, 1.1, 1.15 (+1" not in conclusions_text(builder)


@pytest.mark.parametrize("controls_by_name", [{}, FAILED_CONTROLS])
def test_without_a_trained_control_there_is_no_figure_and_the_reasons_are_in_the_table(
    build, controls_by_name
):
    builder = validated_run(build, controls=controls_by_name)
    assert draw(controls, builder) is None
    text = page(builder)
    assert text.count("not compared: its training failed: the loss became NaN") == len(
        controls_by_name
    )
    assert ("Held against other ways to scale" in text) == bool(controls_by_name)
    assert (
        "Whether compound scaling wins here can't be told" in conclusions_text(builder)
    ) == bool(controls_by_name)


def test_a_predicted_accuracy_is_said_to_be_one_and_sorts_by_its_number(build):
    builder = validated_run(build)
    table, rows = make_family_table(read_run_data(builder.run)), read_run_data(builder.run).members
    accuracy, interval = table.rows[-1][2], table.rows[-1][3]
    prediction = rows[-1]["prediction"]
    assert accuracy.text == f"predicted {format_percent(prediction['accuracy'])}"
    assert float(accuracy.sort_key) == prediction["accuracy"]
    assert float(interval.sort_key) == prediction["interval"][0]
    assert [row[2].text for row in table.rows[:-1]] == [
        format_percent(row["accuracy"]) for row in rows[:-1]
    ]


def test_the_table_of_controls_says_flops_over_the_members_and_how_far_behind(build):
    run_data = read_run_data(
        validated_run(build, controls=CONTROLS | {"width": "it is the same network as B2"}).run
    )
    table = make_controls_table(run_data)
    assert all(len(row) == len(table.columns) for row in table.rows)
    best_row, worst_row, last_row = table.rows[0], table.rows[-2], table.rows[-1]
    row, member = run_data.trained_controls[-1], run_data.validated_members[-1]
    assert worst_row[0].text == "depth alone"
    assert (worst_row[1].text, worst_row[2].text) == ("+3.1 (+1.6 to +4.6)", "compound is better")
    assert float(worst_row[5].sort_key) == row["flops"] / member["flops"]
    assert worst_row[6].text == "B2"
    assert [cell.text for cell in best_row][1:3] == [
        f"{MINUS}2.1 ({MINUS}3.6 to {MINUS}0.6)",
        "the control is better",
    ]
    assert last_row[2].text == "not compared: it is the same network as B2"
    assert float(last_row[1].sort_key) < min(float(row[1].sort_key) for row in table.rows[:-1])


def test_the_csv_of_the_family_keeps_what_is_predicted_apart_from_what_is_measured(build):
    run_data = read_run_data(validated_run(build, controls=CONTROLS).run)
    table, prediction = make_family_dataframe(run_data), run_data.members[-1]["prediction"]
    last = table.iloc[-1]
    assert math.isnan(last.accuracy)
    assert (last.predicted, last.extrapolation) == (
        prediction["accuracy"],
        prediction["extrapolation"],
    )
    assert [last.predicted_low, last.predicted_high] == prediction["interval"]
    assert table.predicted.notna().sum() == 1


def test_the_csv_of_controls_has_a_row_for_each_trained_or_not(build):
    run_data = read_run_data(
        validated_run(build, controls=CONTROLS | {"width": "it is the same network as B2"}).run
    )
    table = make_controls_dataframe(run_data).set_index("name")
    assert list(table.index) == list(CONTROLS)
    for row in run_data.trained_controls:
        csv_row = table.loc[row["name"]]
        assert (csv_row.accuracy_gap, csv_row.verdict, csv_row.flops) == (
            row["accuracy_gap"],
            row["verdict"],
            row["flops"],
        )
        assert [csv_row.accuracy_gap_low, csv_row.accuracy_gap_high] == row["accuracy_gap_interval"]
    assert table.skip_reason["width"] == "it is the same network as B2"
    assert math.isnan(table.accuracy_gap["width"])
    assert {"label", "family_member", "accuracy_seed_1", "flops_adjustment"} <= set(table.columns)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0.03, "Compound scaling wins here over one dimension alone. It is better than each"),
        (-0.03, "Compound scaling does not win here. Depth alone is better, beyond doubt."),
        (
            0.0,
            "Whether compound scaling wins here can't be told. The differences are within the "
            "noise.",
        ),
    ],
)
def test_the_verdict_says_plainly_whether_compound_scaling_wins(build, depth, expected):
    assert expected in conclusions_text(
        validated_run(build, controls={"depth": depth, "width": 0.03, "resolution": 0.03})
    )


@pytest.mark.parametrize(
    ("accuracy_gap", "expected"),
    [
        (
            0.03,
            "the coefficients found here beat the paper's 1.2, 1.1, 1.15 (+3.0 points at about "
            "B2's FLOPs, 95%: +1.5 to +4.5), so this domain gains from its own.",
        ),
        (
            -0.03,
            f"the coefficients found here are worse than the paper's 1.2, 1.1, 1.15 ({MINUS}3.0 "
            "points",
        ),
        (0.0, "Whether the coefficients found here beat the paper's 1.2, 1.1, 1.15 (0.0 points"),
    ],
)
def test_the_verdict_says_whether_a_domain_needs_coefficients_of_its_own(
    build, accuracy_gap, expected
):
    text = conclusions_text(validated_run(build, controls={"paper": accuracy_gap}))
    assert expected in text
    assert ("so this domain does not need its own" in text) == (accuracy_gap < 0)
    assert ("can't be told." in text.partition("found here")[2].partition("B2's")[2]) == (
        accuracy_gap == 0
    )


def test_coefficients_of_many_other_runs_that_cant_be_told_apart_take_one_sentence(build):
    text = conclusions_text(
        validated_run(
            build, controls={"paper": 0.001} | {f"runs/{name}": 0.002 for name in "abcdef"}
        )
    )
    assert text.count("Whether the coefficients found here beat") == 1
    assert "the paper's 1.2, 1.1, 1.15 (+0.1 points" in text
    assert "or 5 more can't be told." in text


def test_controls_that_rounding_made_one_network_of_are_said_to_be_one(build):
    builder = validated_run(build, controls={"depth": 0.01, "width": 0.01, "paper": 0.01})
    expected = (
        "Rounded to whole blocks, channels and pixels, depth alone and the paper's 1.2, 1.1, 1.15 "
        "are one network here."
    )
    assert expected not in conclusions_text(builder)
    depth, width, paper = read_run_data(builder.run).validation["controls"]
    update_validation(builder, controls=[depth, width, paper | {"spec_id": depth["spec_id"]}])
    assert conclusions_text(builder).count(expected) == 1


def test_the_verdict_says_what_is_a_prediction_and_how_far_it_reaches(build):
    builder = validated_run(build)
    prediction = read_run_data(builder.run).members[-1]["prediction"]
    assert "B3 was not trained: what is told of its accuracy is a prediction" in conclusions_text(
        builder
    )
    assert (
        f"{format_percent(prediction['accuracy'])}, 95%: "
        f"{format_percent(prediction['interval'][0])}" in conclusions_text(builder)
    )
    assert (
        f"at {prediction['extrapolation']:.1f} times the FLOPs of the "
        "largest trained network" in conclusions_text(builder)
    )


def test_the_race_alone_tells_how_the_network_nearest_to_the_papers_coefficients_did(build):
    builder = validated_run(build)
    coefficients = read_yaml(builder.run.coefficients)
    closest_member = find_closest_to_paper(coefficients)

    def text_after(**changes):
        for row in coefficients["members"]:
            row |= {"winner": row["winner"] and row is closest_member}
        closest_member.update(changes)
        write_atomic(builder.run.coefficients, dump_yaml(coefficients))
        return conclusions_text(builder)

    members = coefficients["members"]
    logs = [(1.2, "alpha"), (1.1, "beta"), (1.15, "gamma")]

    def distance(row):
        return sum(max(0, math.log(row[n][0] / v), math.log(v / row[n][1])) ** 2 for v, n in logs)

    assert distance(closest_member) == min(distance(row) for row in members)
    assert " is worse than the best: 1.2 points behind (95%: +0.3 to +2.1)." in text_after(
        winner=False,
        tied=False,
        status="excluded",
        accuracy_gap=0.012,
        accuracy_gap_interval=[0.003, 0.021],
    )
    assert (
        f" can't be told from the best: 1.2 points behind (95%: {MINUS}0.3 to +2.1)."
        in text_after(tied=True, status="tied", accuracy_gap_interval=[-0.003, 0.021])
    )
    assert "The raced network nearest to the paper's 1.2, 1.1, 1.15 (\u03b1 " in text_after(
        winner=True
    )
    assert " is the best itself." in text_after(winner=True)


def test_given_coefficients_are_said_to_be_given_everywhere_and_nothing_raced(build):
    builder = validated_run(
        build,
        coefficients=(1.2, 1.1, 1.15),
        controls={"paper": "it is the same network as B2", "runs/a": 0.03},
    )
    run_data = read_run_data(builder.run)
    assert (
        "alpha\u00a0=\u00a01.20, beta\u00a0=\u00a01.10, gamma\u00a0=\u00a01.15: given, not "
        "searched" in conclusions_text(builder)
    )
    assert "the given coefficients beat the coefficients of runs/a" in conclusions_text(builder)
    assert "so this domain" not in conclusions_text(builder)
    assert "nearest to the paper's" not in conclusions_text(builder)
    assert make_grid_table(run_data) is None is draw(grid, builder)
    table = make_coefficients_table(run_data)
    assert [row[1].text for row in table.rows] == ["1.200", "1.100", "1.150"]
    assert {row[2].text for row in table.rows} == {"given, not searched"}
    assert "= 1.92; no networks raced for them." in table.note
    assert page(builder).count("given, not searched") == 5
    assert len(CSV_TABLES["grid"](run_data)) == 0


def test_members_below_the_baseline_are_on_the_curve_too(build):
    builder = validated_run(build, controls=CONTROLS, scaling={"phi": [-2.0, -1.0, 1.0, 2.0, 4.0]})
    run_data, report_figure = read_run_data(builder.run), draw(family, builder)
    assert [row["name"] for row in run_data.validated_members] == ["b-2", "b-1", "b0", "b1", "b2"]
    assert len(marker_positions(report_figure, "trained")) == 5
    assert lines(report_figure, "curve")[0].get_xdata()[0] == run_data.validated_members[0]["flops"]


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (0.0123, "+1.2"),
        (-0.0123, f"{MINUS}1.2"),
        (-0.0001, "0.0"),
        (0.0, "0.0"),
        (-0.1, f"{MINUS}10.0"),
    ],
)
def test_points_have_a_sign_and_nothing_is_not_negative(difference, expected):
    assert format_points(difference) == expected


def test_names_are_joined_as_people_do():
    assert [join_names(list(names)) for names in ("a", "ab", "abc")] == [
        "a",
        "a and b",
        "a, b and c",
    ]

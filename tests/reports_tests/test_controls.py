"""Curve, predictions and controls: predictions do not look measured, and ties are called ties."""

import itertools
import math

import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.validation_file import SkipReason
from phinas.reports.controls import MARKERS, make_control_label
from phinas.reports.csv_export import CSV_TABLES, make_controls_dataframe, make_family_dataframe
from phinas.reports.figure_export import PNG_DPI, report_style
from phinas.reports.figures import controls, family, grid
from phinas.reports.formatting import format_percent, format_points, join_names
from phinas.reports.page import render_page
from phinas.reports.palette import BACKGROUND_COLOR
from phinas.reports.run_reader import read_run_data
from phinas.reports.sentences.coefficients import find_closest_to_paper
from phinas.reports.sentences.conclusions import make_conclusion_paragraphs
from phinas.reports.tables.controls import make_controls_table
from phinas.reports.tables.family import make_family_table
from phinas.reports.tables.scaling import make_coefficients_table, make_grid_table

SMALL = {
    "grid_phi": 1.0,
    "tolerance": 0.2,
    "divisor": 4,
    "max_grid_members": 4,
    "phi": [1.0, 2.0, 3.0],
}
CONTROLS = {
    "depth": 0.031,
    "width": 0.012,
    "resolution": -0.021,
    "paper": 0.004,
    "efficientnet_b1": 0.024,
    "mine.yaml": 0.018,
    "runs/photos": -0.006,
}
MANY_CONTROLS = CONTROLS | {f"runs/other{number}": 0.003 * number - 0.01 for number in range(6)}
SAME_NETWORK = SkipReason(case="same_network", member="b2")
FAILED_CONTROLS = dict.fromkeys(CONTROLS, "the loss became NaN")
MINUS = "\N{MINUS SIGN}"


def validated_run(build, *, scaling=None, validation=None, coefficients=None, **results):
    """A run with a validated family."""
    builder = (
        build(scaling=SMALL | (scaling or {}), validation=validation or {})
        .search(3)
        .select_baseline()
    )
    builder = builder.give_coefficients(*coefficients) if coefficients else builder.scale(gap=0.03)
    return builder.validate(**{"step": 0.02, "min_score": 0.8, "images": 10_000} | results)


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
    paragraphs = make_conclusion_paragraphs(read_run_data(builder.run))
    return " ".join(sentence for paragraph in paragraphs for sentence in paragraph)


def page(builder):
    return " ".join(render_page(read_run_data(builder.run), {}).split())


def update_control(builder, index, **changes):
    """Change one control in the file of the validation."""
    rows = list(builder.validation.controls)
    rows[index] = rows[index].model_copy(update=changes)
    return builder.update_validation(controls=tuple(rows))


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
    "user-supplied": {
        "controls": {"depth": 0.02, "paper": SAME_NETWORK},
        "coefficients": (1.2, 1.1, 1.15),
    },
}


# The quick cases have every kind of mark and text, and the fewest and the most of them.
QUICK_CASES = ("usual", "twelve controls", "few images", "user-supplied")


@pytest.mark.parametrize(
    "case",
    [
        name if name in QUICK_CASES else pytest.param(name, marks=pytest.mark.slow)
        for name in EDGE_CASES
    ],
)
def test_the_report_is_written_for_any_results_and_no_text_overlaps_another(build, case):
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


def test_a_prediction_is_a_hollow_mark_with_a_dashed_bar_at_the_predicted_score(build):
    builder = validated_run(build)
    report_figure = draw(family, builder)
    (row,) = read_run_data(builder.run).predicted_members
    assert marker_positions(report_figure, "predicted") == [(row.flops, row.score)]
    group = next(
        group
        for group in report_figure.figure.axes[0].collections
        if group.get_gid() == "predicted"
    )
    assert to_hex(group.get_facecolor()[0]) == BACKGROUND_COLOR
    bars = [line for line in lines(report_figure) if list(line.get_xdata()) == [row.flops] * 2]
    assert [tuple(bar.get_ydata()) for bar in bars] == [row.interval]
    assert bars[0].is_dashed()
    assert marker_positions(report_figure, "untrained") == []
    assert "predicted" in {text.get_text() for text in report_figure.figure.axes[0].texts}
    assert (
        f"not trained: {format_percent(row.score)} is predicted"
        in report_figure.tooltips["predicted"][0]
    )


def test_the_curve_is_solid_to_the_largest_trained_network_and_dashed_beyond_it(build):
    builder = validated_run(build)
    run_data = read_run_data(builder.run)
    report_figure, band, last = (
        draw(family, builder),
        run_data.validation.curve.band,
        run_data.tested_members[-1].flops,
    )
    solid_line, dashed_line = (lines(report_figure, gid)[0] for gid in ("curve", "curve-beyond"))
    assert not solid_line.is_dashed()
    assert dashed_line.is_dashed()
    assert [*solid_line.get_xdata(), *dashed_line.get_xdata()[1:]] == [
        point.flops for point in band
    ]
    assert sum(x > last for x in solid_line.get_xdata()) == 1  # the first dashed point
    band_artist = next(
        group for group in report_figure.figure.axes[0].collections if group.get_gid() == "band"
    )
    extent = band_artist.get_paths()[0].get_extents()
    assert math.isclose(extent.y0, min(point.low for point in band))
    assert math.isclose(extent.y1, max(point.high for point in band))


def test_without_a_curve_untrained_members_are_on_the_axis_and_the_page_has_the_reason(
    build,
):
    builder = validated_run(build, validation={"max_flops_multiple": 3.0})
    run_data, report_figure = read_run_data(builder.run), draw(family, builder)
    assert len(run_data.tested_members) == 2
    assert marker_positions(report_figure, "predicted") == [] == lines(report_figure, "curve")
    bottom = report_figure.figure.axes[0].get_ylim()[0]
    assert marker_positions(report_figure, "untrained") == [
        (row.flops, bottom) for row in run_data.members_without_score
    ]
    assert "without a measured or predicted score" in report_figure.caption
    assert "No score is predicted: the curve of score over FLOPs has three parameters" in page(
        builder
    )
    assert "prediction" not in conclusions_text(builder)


def test_a_curve_or_control_of_another_family_is_not_shown_for_this_one(build):
    builder = validated_run(build, controls=CONTROLS)
    builder.run.validation.write_text(
        builder.run.validation.read_text().replace(
            builder.family[1].spec.network_id, "0123456789ab"
        )
    )
    run_data = read_run_data(builder.run)
    assert run_data.validation is None
    assert run_data.controls == ()
    assert not run_data.predicted_members


def test_family_caption_has_the_extrapolation_and_the_noise_of_the_intervals(
    build,
):
    builder = validated_run(build, controls=CONTROLS, scaling={"phi": [1.0, 2.0, 3.5, 4.0]})
    caption, rows = draw(family, builder).caption, read_run_data(builder.run).predicted_members
    assert "Hollow markers: B3 and B4 were not trained" in caption
    assert (
        f"up to {rows[-1].extrapolation:.1f} times the FLOPs of the largest "
        "trained network" in caption
    )
    assert "only as reliable as the assumed curve" in caption
    assert "but not training noise" in caption
    assert "triangle up: depth-only scaling; square: width-only scaling" in caption
    near_caption = draw(
        family,
        validated_run(
            lambda **sections: build("near", **sections), scaling={"phi": [1.0, 2.0, 2.2]}
        ),
    ).caption
    assert "only as reliable as" not in near_caption


def test_each_kind_of_control_has_its_own_marker_at_its_network(build):
    builder = validated_run(build, controls=CONTROLS)
    rows, report_figure = read_run_data(builder.run).tested_controls, draw(family, builder)
    assert {row.record.kind for row in rows} == set(MARKERS)
    assert len({marker for marker, *_ in MARKERS.values()}) == len(MARKERS)
    for index, row in enumerate(rows):
        assert marker_positions(report_figure, f"control-{index}") == [
            (row.flops, row.result.score)
        ]
        assert report_figure.tooltips[f"control-{index}"][0].startswith(
            make_control_label(row.record)
        )


def test_controls_are_drawn_as_differences_from_their_member_the_best_first(build):
    builder = validated_run(build, controls=CONTROLS)
    rows, report_figure = read_run_data(builder.run).tested_controls, draw(controls, builder)
    assert [row.record.name for row in rows] == sorted(CONTROLS, key=CONTROLS.get)
    for index, row in enumerate(rows):
        assert marker_positions(report_figure, f"control-{index}") == [
            (row.comparison.difference, index)
        ]
        line_ends = [
            list(line.get_xdata())
            for line in lines(report_figure)
            if list(line.get_ydata()) == [index, index]
        ]
        assert line_ends == [list(row.comparison.interval)]
    texts = [text.get_text() for text in report_figure.figure.axes[0].texts]
    assert (
        texts.count("compound is better"),
        texts.count("the control is better"),
        texts.count("not significant"),
    ) == (3, 1, 3)
    assert "equal to B2" in texts
    assert (
        "Gray: compound scaling is significantly better (3). Orange: compound scaling is "
        "significantly worse (1). Blue: the difference is not significant (3)."
        in report_figure.caption
    )


def test_the_difference_has_one_sign_in_the_figure_the_table_the_csv_and_the_sentences(build):
    builder = validated_run(build, controls={"paper": 0.03})
    run_data, report_figure = read_run_data(builder.run), draw(controls, builder)
    assert marker_positions(report_figure, "control-0") == [(0.03, 0)]
    assert report_figure.tooltips["control-0"][0].endswith("B2 minus this control: +3.0 points")
    assert "A positive value means that compound scaling is better." in report_figure.caption
    assert make_controls_table(run_data).rows[0][1].text == "+3.0 (+1.5 to +4.5)"
    assert make_controls_dataframe(run_data).difference[0] == 0.03
    assert "(+3.0 points at about B2's FLOPs" in conclusions_text(builder)


def test_networks_of_the_grid_are_drawn_as_points_behind_the_best_as_in_the_table(build):
    builder = validated_run(build)
    report_figure, table = draw(grid, builder), make_grid_table(read_run_data(builder.run))
    positions = [marker_positions(report_figure, f"member-{row}")[0][0] for row in range(4)]
    assert positions == [float(row[-3].sort_key) for row in table.rows]
    assert table.columns[-3][0] == "estimated points behind the best (95% CI)"
    assert "differ from the differences of the scores in the table" in table.note
    assert positions[0] == 0 < positions[1] <= positions[2]


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
    assert math.isclose(sum(x_values) / 3, 0.02)
    result = builder.validation.controls[0].result
    failed = {"scores": result.scores[1:], "failure_reason": "the loss became NaN"}
    update_control(builder, 0, result=result.model_copy(update=failed))
    dots = [
        group
        for group in draw(controls, builder).figure.axes[0].collections
        if group.get_gid() is None
    ]
    assert not [position for group in dots for position in group.get_offsets()]


def test_after_one_training_each_a_control_has_no_interval_and_no_verdict(
    build,
):
    builder = validated_run(build, controls={"depth": 0.02, "paper": 0.01}, seeds=1)
    for index, row in enumerate(builder.validation.controls):
        unknown = row.comparison.model_copy(update={"interval": None, "verdict": None})
        update_control(builder, index, comparison=unknown)
    assert marker_positions(draw(controls, builder), "control-1") == [(0.02, 1)]
    assert draw(family, builder) is not None
    assert (
        make_controls_table(read_run_data(builder.run))
        .rows[0][2]
        .text.startswith("no verdict: too few seeds for an interval")
    )
    assert "EfficientNet's coefficients 1.2, 1.1, 1.15 (+1" not in conclusions_text(builder)


@pytest.mark.parametrize("controls_by_name", [{}, FAILED_CONTROLS])
def test_without_a_trained_control_there_is_no_figure_and_the_reasons_are_in_the_table(
    build, controls_by_name
):
    builder = validated_run(build, controls=controls_by_name)
    assert draw(controls, builder) is None
    text = page(builder)
    assert text.count(">not compared: the loss became NaN<") == len(controls_by_name)
    assert ("Comparison with other scaling methods" in text) == bool(controls_by_name)
    assert (
        "It is undecided whether compound scaling is better" in conclusions_text(builder)
    ) == bool(controls_by_name)


def test_a_predicted_score_is_marked_and_sorts_by_its_number(build):
    builder = validated_run(build)
    run_data = read_run_data(builder.run)
    table, (predicted,) = make_family_table(run_data), run_data.predicted_members
    score, interval = table.rows[-1][2], table.rows[-1][3]
    assert score.text == f"predicted {format_percent(predicted.score)}"
    assert float(score.sort_key) == predicted.score
    assert float(interval.sort_key) == predicted.interval[0]
    assert [row[2].text for row in table.rows[:-1]] == [
        format_percent(row.result.score) for row in run_data.tested_members
    ]


def test_the_table_of_controls_has_relative_flops_and_the_difference(build):
    run_data = read_run_data(validated_run(build, controls=CONTROLS | {"width": SAME_NETWORK}).run)
    table = make_controls_table(run_data)
    assert all(len(row) == len(table.columns) for row in table.rows)
    best_row, worst_row, last_row = table.rows[0], table.rows[-2], table.rows[-1]
    row, member = run_data.tested_controls[-1], run_data.tested_members[-1]
    assert worst_row[0].text == "depth-only scaling"
    assert (worst_row[1].text, worst_row[2].text) == ("+3.1 (+1.6 to +4.6)", "compound is better")
    assert float(worst_row[5].sort_key) == row.flops / member.flops
    assert worst_row[6].text == "B2"
    assert [cell.text for cell in best_row][1:3] == [
        f"{MINUS}2.1 ({MINUS}3.6 to {MINUS}0.6)",
        "the control is better",
    ]
    assert last_row[2].text == "not compared: it is the same network as B2"
    assert float(last_row[1].sort_key) < min(float(row[1].sort_key) for row in table.rows[:-1])


def test_the_csv_of_the_family_has_separate_columns_for_predictions(build):
    run_data = read_run_data(validated_run(build, controls=CONTROLS).run)
    table, (prediction,) = make_family_dataframe(run_data), run_data.predicted_members
    last = table.iloc[-1]
    assert math.isnan(last.score)
    assert (last.predicted, last.extrapolation) == (prediction.score, prediction.extrapolation)
    assert (last.predicted_low, last.predicted_high) == prediction.interval
    assert table.predicted.notna().sum() == 1


def test_the_csv_of_controls_has_a_row_for_each_trained_or_not(build):
    run_data = read_run_data(validated_run(build, controls=CONTROLS | {"width": SAME_NETWORK}).run)
    table = make_controls_dataframe(run_data).set_index("name")
    assert list(table.index) == list(CONTROLS)
    for row in run_data.tested_controls:
        csv_row = table.loc[row.record.name]
        assert (csv_row.difference, csv_row.verdict, csv_row.flops) == (
            row.comparison.difference,
            row.comparison.verdict,
            row.flops,
        )
        assert (csv_row.difference_low, csv_row.difference_high) == row.comparison.interval
    assert table.skip_reason["width"] == "it is the same network as B2"
    assert math.isnan(table.difference["width"])
    assert {"label", "family_member", "score_seed_1", "flops_adjustment"} <= set(table.columns)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (
            0.03,
            "Compound scaling (B2) is significantly better than depth-only, width-only and "
            "resolution-only scaling on this data (95%).",
        ),
        (
            -0.03,
            "Compound scaling is not better on this data: depth-only scaling is significantly "
            "better than B2 (95%).",
        ),
        (
            0.0,
            "It is undecided whether compound scaling is better than single-dimension scaling on "
            "this data. B2 is significantly better than width-only and resolution-only scaling "
            "(95%). B2 is not significantly different from depth-only scaling.",
        ),
    ],
)
def test_the_conclusions_have_the_verdict_on_compound_scaling(build, depth, expected):
    assert expected in conclusions_text(
        validated_run(build, controls={"depth": depth, "width": 0.03, "resolution": 0.03})
    )


@pytest.mark.parametrize(
    ("score_gap", "expected"),
    [
        (
            0.03,
            "the coefficients found here are significantly better than EfficientNet's "
            "coefficients 1.2, 1.1, 1.15 (+3.0 points at about B2's FLOPs, 95% CI +1.5 to +4.5), "
            "so this data benefits from its own coefficients.",
        ),
        (
            -0.03,
            "the coefficients found here are significantly worse than EfficientNet's "
            f"coefficients 1.2, 1.1, 1.15 ({MINUS}3.0 points",
        ),
        (
            0.0,
            "the coefficients found here are not significantly different from EfficientNet's "
            "coefficients 1.2, 1.1, 1.15 (0.0 points",
        ),
    ],
)
def test_the_conclusions_say_whether_the_data_need_their_own_coefficients(
    build, score_gap, expected
):
    text = conclusions_text(validated_run(build, controls={"paper": score_gap}))
    assert expected in text
    assert ("so this data does not need its own" in text) == (score_gap < 0)


def test_ties_with_the_coefficients_of_many_other_runs_take_one_sentence(build):
    text = conclusions_text(
        validated_run(
            build, controls={"paper": 0.001} | {f"runs/{name}": 0.002 for name in "abcdef"}
        )
    )
    assert text.count("the coefficients found here are not significantly different from") == 1
    assert "EfficientNet's coefficients 1.2, 1.1, 1.15 (+0.1 points" in text
    assert "or 5 more." in text


def test_controls_that_round_to_one_network_are_named_together(build):
    builder = validated_run(build, controls={"depth": 0.01, "width": 0.01, "paper": 0.01})
    expected = (
        "Rounded to whole blocks, channels and pixels, depth-only scaling and EfficientNet's "
        "coefficients 1.2, 1.1, 1.15 are the same network here."
    )
    assert expected not in conclusions_text(builder)
    update_control(builder, 2, network=builder.validation.controls[0].network)
    assert conclusions_text(builder).count(expected) == 1


def test_the_conclusions_mark_predictions_with_their_extrapolation(build):
    builder = validated_run(build)
    (prediction,) = read_run_data(builder.run).predicted_members
    assert "B3 was not trained, so its score is a prediction" in conclusions_text(builder)
    assert (
        f"{format_percent(prediction.score)}, 95% CI "
        f"{format_percent(prediction.interval[0])}" in conclusions_text(builder)
    )
    assert (
        f"at {prediction.extrapolation:.1f} times the FLOPs of the "
        "largest trained network" in conclusions_text(builder)
    )


def test_the_conclusions_have_the_network_nearest_to_efficientnets_coefficients(build):
    builder = validated_run(build)
    record = CoefficientsFile.read(builder.run.coefficients)
    closest = find_closest_to_paper(record.race)
    other = next(row for row in record.race.members if row is not closest)

    def text_after(**changes):
        winner = closest if changes.get("winner") else other
        members = tuple(
            row.model_copy(update={"winner": row is winner} | (changes if row is closest else {}))
            for row in record.race.members
        )
        race = record.race.model_copy(update={"members": members})
        record.model_copy(update={"race": race}).write(builder.run.coefficients)
        return conclusions_text(builder)

    logs = [(1.2, "alpha"), (1.1, "beta"), (1.15, "gamma")]

    def distance(row):
        intervals = row.intervals
        return sum(
            max(0, math.log(intervals[n][0] / v), math.log(v / intervals[n][1])) ** 2
            for v, n in logs
        )

    assert distance(closest) == min(distance(row) for row in record.race.members)
    worse = {"winner": False, "tied": False, "status": "excluded", "score_gap": 0.012}
    assert " is worse than the best (95%): 1.2 points behind (95% CI +0.3 to +2.1)." in text_after(
        **worse, score_gap_interval=(0.003, 0.021)
    )
    tied = worse | {"tied": True, "status": "tied", "score_gap_interval": (-0.003, 0.021)}
    assert (
        " may be as good as the best one or better: 1.2 points behind "
        f"(95% CI {MINUS}0.3 to +2.1)." in text_after(**tied)
    )
    text = text_after(**tied | {"winner": True})
    nearest = (
        "the one nearest to EfficientNet's coefficients 1.2, 1.1, 1.15 after rounding (\u03b1 "
    )
    assert nearest in text
    assert " is the best." in text


@pytest.mark.parametrize(
    ("controls_by_name", "expected"),
    [
        (
            {"depth": 0.0, "width": 0.0, "resolution": 0.0},
            "No significant difference between compound scaling (B2) and single-dimension scaling "
            "on this data.",
        ),
        (
            {"depth": 0.03, "width": SAME_NETWORK},
            "B2 is significantly better than depth-only scaling (95%). Resolution-only scaling was "
            "not compared; add it to validation.controls. Width-only scaling was not compared: it "
            "is the same network as B2.",
        ),
        (
            {"paper": 0.0},
            "Depth-only, width-only and resolution-only scaling were not compared; add them to "
            "validation.controls.",
        ),
    ],
)
def test_an_undecided_verdict_has_its_reasons(build, controls_by_name, expected):
    assert expected in conclusions_text(validated_run(build, controls=controls_by_name))


def test_without_a_scaled_member_the_conclusions_say_that_nothing_was_compared(build):
    builder = validated_run(build, controls={"depth": 0.0}, validation={"max_flops_multiple": 1.0})
    assert (
        "Compound scaling was not compared with single-dimension scaling: no member but B0 is "
        "trained; raise validation.max_flops_multiple" in conclusions_text(builder)
    )


def test_too_few_seeds_for_a_verdict_are_named_once(build):
    builder = validated_run(build, controls={"depth": 0.02, "width": 0.02}, seeds=1)
    for index, row in enumerate(builder.validation.controls):
        unknown = row.comparison.model_copy(update={"interval": None, "verdict": None})
        update_control(builder, index, comparison=unknown)
    builder.update_validation(
        compound=builder.validation.compound.model_copy(update={"wins": None})
    )
    assert (
        "Depth-only and width-only scaling were trained with too few seeds for a comparison; set "
        "validation.seeds to 2 or more." in conclusions_text(builder)
    )


def test_user_coefficients_are_called_user_supplied_everywhere(build):
    builder = validated_run(
        build,
        coefficients=(1.2, 1.1, 1.15),
        controls={"paper": SAME_NETWORK, "runs/a": 0.03},
    )
    run_data = read_run_data(builder.run)
    assert (
        "Scale depth by alpha\u00a0=\u00a01.20, width by beta\u00a0=\u00a01.10 and resolution by "
        "gamma\u00a0=\u00a01.15. The user supplied these coefficients" in conclusions_text(builder)
    )
    assert (
        "the user-supplied coefficients are significantly better than the coefficients of runs/a"
        in conclusions_text(builder)
    )
    assert "so this data" not in conclusions_text(builder)
    assert "nearest to EfficientNet's" not in conclusions_text(builder)
    assert make_grid_table(run_data) is None is draw(grid, builder)
    table = make_coefficients_table(run_data)
    assert [row[1].text for row in table.rows] == ["1.200", "1.100", "1.150"]
    assert {row[2].text for row in table.rows} == {"user-supplied"}
    assert "= 1.92; no networks were compared." in table.note
    assert "The user supplied 1.2, 1.1, 1.15." in page(builder)
    assert len(CSV_TABLES["grid"](run_data)) == 0


def test_members_below_the_baseline_are_on_the_curve_too(build):
    builder = validated_run(build, controls=CONTROLS, scaling={"phi": [-2.0, -1.0, 1.0, 2.0, 4.0]})
    run_data, report_figure = read_run_data(builder.run), draw(family, builder)
    assert [row.member.name for row in run_data.tested_members] == ["b-2", "b-1", "b0", "b1", "b2"]
    assert len(marker_positions(report_figure, "trained")) == 5
    assert lines(report_figure, "curve")[0].get_xdata()[0] == run_data.tested_members[0].flops


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
def test_points_have_a_sign_and_zero_has_none(difference, expected):
    assert format_points(difference) == expected


def test_names_are_joined_with_commas_and_and():
    assert [join_names(list(names)) for names in ("a", "ab", "abc")] == [
        "a",
        "a and b",
        "a, b and c",
    ]

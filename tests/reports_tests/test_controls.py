"""Curve, predictions and controls: what is predicted never looks measured, and what can't be told
is said to be so.
"""

import itertools
import math

import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from phinas.experiment.run_dir import write_atomic
from phinas.reports.coefficient_verdict import nearest_to_paper
from phinas.reports.controls import MARKERS, kind_of
from phinas.reports.csv_export import TABLES, controls_table, family_table
from phinas.reports.figure_export import PNG_DPI, styled
from phinas.reports.figures import controls, family, grid
from phinas.reports.formatting import joined_names, percent, points
from phinas.reports.page import render, write_report
from phinas.reports.palette import PAPER
from phinas.reports.run_data import read_records
from phinas.reports.tables.controls import show_controls
from phinas.reports.tables.family import show_family
from phinas.reports.tables.scaling import show_coefficients, show_grid
from phinas.reports.verdict import verdict
from phinas.space.yaml_io import dump_yaml, read_yaml

SMALL = {"tolerance": 0.2, "divisor": 4, "members": 4, "phi": [1.0, 2.0, 3.0]}
ALL = {
    "depth": 0.031,
    "width": 0.012,
    "resolution": -0.021,
    "paper": 0.004,
    "efficientnet_b1": 0.024,
    "runs/photos": -0.006,
}
MANY = ALL | {f"runs/other{number}": 0.003 * number - 0.01 for number in range(6)}
NONE = dict.fromkeys(ALL, "its training failed: the loss became NaN")
MINUS = "\N{MINUS SIGN}"


def grown(build, *, scaling=None, validation=None, given=None, **results):
    """A run with a validated family."""
    built = build(scaling=SMALL | (scaling or {}), validation=validation or {}).search(3).choose()
    built = built.give_coefficients(*given) if given else built.scale(gap=0.03)
    return built.validate(**{"step": 0.02, "least": 0.8, "images": 10_000} | results)


def drawn(figure, built, *, narrow=False):
    with styled():
        return figure.draw(read_records(built.run), narrow=narrow)


def marks(plate, gid):
    """The positions of a group of marks."""
    found = [group for group in plate.figure.axes[0].collections if group.get_gid() == gid]
    return [tuple(map(float, at)) for group in found for at in group.get_offsets()]


def lines(plate, gid=None):
    return [line for line in plate.figure.axes[0].lines if gid is None or line.get_gid() == gid]


def words(built):
    return " ".join(verdict(read_records(built.run)))


def page(built):
    return " ".join(render(read_records(built.run), {}).split())


def change(built, **facts):
    write_atomic(built.run.validation, dump_yaml(read_yaml(built.run.validation) | facts))
    return built


HOSTILE = {
    "usual": {"controls": ALL},
    "no controls": {"controls": {}},
    "all controls failed": {"controls": NONE},
    "one trained": {"controls": NONE, "validation": {"largest_multiple": 1.0}},
    "far beyond": {"controls": ALL, "scaling": {"phi": [1.0, 2.0, 9.0, 12.0]}},
    "twelve controls": {"controls": MANY},
    "below the baseline": {"controls": ALL, "scaling": {"phi": [-2.0, -1.0, 1.0, 2.0, 4.0]}},
    "whole ladder": {"controls": ALL, "scaling": {"phi": [0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0]}},
    "few images": {"controls": ALL, "images": 60},
    "given": {
        "controls": {"depth": 0.02, "paper": "it is the network of B2"},
        "given": (1.2, 1.1, 1.15),
    },
}


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_was_found_the_report_is_written_and_no_text_covers_another(build, case):
    built = grown(build, **HOSTILE[case])
    assert "</html>" in page(built)
    assert all(len(table(read_records(built.run)).columns) for table in TABLES.values())
    for figure, narrow in itertools.product((family, controls), (False, True)):
        plate = drawn(figure, built, narrow=narrow)
        if plate is None:
            continue
        plate.figure.set_dpi(PNG_DPI)
        renderer = plate.figure.canvas.get_renderer()
        texts = [
            text
            for text in plate.figure.axes[0].findobj(Text)
            if text.get_text() and text.get_visible()
        ]
        extents = [text.get_window_extent(renderer) for text in texts]
        room = plate.figure.bbox.padded(3)
        assert all(
            room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1
            for box in extents
        )
        pairs = itertools.combinations(zip(texts, extents, strict=True), 2)
        covering = [
            (one.get_text(), other.get_text())
            for (one, a), (other, b) in pairs
            if a.padded(-1).overlaps(b.padded(-1))
        ]
        assert not covering, (figure.__name__, narrow)


def test_a_prediction_is_a_hollow_mark_with_a_dashed_bar_at_the_predicted_accuracy(build):
    built = grown(build)
    plate, row = drawn(family, built), read_records(built.run).members[-1]
    found = row["prediction"]
    assert marks(plate, "predicted") == [(row["flops"], found["accuracy"])]
    group = next(
        group for group in plate.figure.axes[0].collections if group.get_gid() == "predicted"
    )
    assert to_hex(group.get_facecolor()[0]) == PAPER
    bars = [line for line in lines(plate) if list(line.get_xdata()) == [row["flops"]] * 2]
    assert [list(bar.get_ydata()) for bar in bars] == [found["interval"]]
    assert bars[0].is_dashed()
    assert marks(plate, "untrained") == []
    assert "predicted" in {text.get_text() for text in plate.figure.axes[0].texts}
    assert f"not trained: {percent(found['accuracy'])} is predicted" in plate.tips["predicted"][0]


def test_the_curve_is_solid_to_the_largest_trained_network_and_dashed_beyond_it(build):
    built = grown(build)
    records = read_records(built.run)
    plate, band, last = drawn(family, built), records.curve["band"], records.validated[-1]["flops"]
    solid, dashed = (lines(plate, gid)[0] for gid in ("curve", "curve-beyond"))
    assert not solid.is_dashed()
    assert dashed.is_dashed()
    assert [*solid.get_xdata(), *dashed.get_xdata()[1:]] == [point["flops"] for point in band]
    assert sum(x > last for x in solid.get_xdata()) == 1  # where it meets the dashed one
    shade = next(group for group in plate.figure.axes[0].collections if group.get_gid() == "band")
    extent = shade.get_paths()[0].get_extents()
    assert math.isclose(extent.y0, min(point["interval"][0] for point in band))
    assert math.isclose(extent.y1, max(point["interval"][1] for point in band))


def test_without_a_curve_members_that_were_not_trained_stand_on_the_axis_and_the_page_says_why(
    build,
):
    built = grown(build, validation={"largest_multiple": 3.0})
    records, plate = read_records(built.run), drawn(family, built)
    assert len(records.validated) == 2
    assert marks(plate, "predicted") == [] == lines(plate, "curve")
    bottom = plate.figure.axes[0].get_ylim()[0]
    assert marks(plate, "untrained") == [(row["flops"], bottom) for row in records.unknown]
    assert "whose FLOPs are known and whose accuracy is not" in plate.caption
    assert "No accuracy is predicted: a curve with a floor has three unknowns" in page(built)
    assert "prediction" not in words(built)


def test_a_run_of_before_there_were_curves_and_controls_is_reported_as_it_was(build):
    built = grown(build)
    rows = [
        {name: value for name, value in row.items() if name != "prediction"}
        for row in read_yaml(built.run.validation)["members"]
    ]
    write_atomic(built.run.validation, dump_yaml({"members": rows}))
    plate = drawn(family, built)
    assert len(marks(plate, "trained")) == 3
    assert len(marks(plate, "untrained")) == 1
    assert drawn(controls, built) is None
    assert "ompound scaling" not in words(built)
    assert "</html>" in page(built)


def test_a_curve_or_control_of_another_family_is_not_shown_for_this_one(build):
    built = grown(build, controls=ALL)
    built.run.validation.write_text(
        built.run.validation.read_text().replace(built.family[1].spec.spec_id, "0123456789ab")
    )
    records = read_records(built.run)
    assert records.curve is None is records.compound
    assert records.controls == []


def test_the_caption_of_the_family_says_how_far_beyond_is_predicted_and_which_noise_is_in_the_intervals(
    build,
):
    built = grown(build, controls=ALL, scaling={"phi": [1.0, 2.0, 9.0, 12.0]})
    caption, rows = drawn(family, built).caption, read_records(built.run).predicted
    assert "Hollow: B3 and B4 were not trained" in caption
    assert (
        f"up to {rows[-1]['prediction']['beyond']:.1f} times the FLOPs of the largest trained "
        "network" in caption
    )
    assert "only as good as the assumed law" in caption
    assert "the luck of training is not in it" in caption
    assert "triangle up: depth alone; square: width alone" in caption
    near = drawn(
        family,
        grown(lambda **sections: build("near", **sections), scaling={"phi": [1.0, 2.0, 2.9]}),
    ).caption
    assert "only as good as" not in near


def test_each_kind_of_control_has_a_marker_of_its_own_where_its_network_is(build):
    built = grown(build, controls=ALL)
    rows, plate = read_records(built.run).trained_controls, drawn(family, built)
    assert {kind_of(row) for row in rows} == set(MARKERS)
    assert len({marker for marker, _ in MARKERS.values()}) == len(MARKERS)
    for place, row in enumerate(rows):
        assert marks(plate, f"rival-{place}") == [(row["flops"], row["accuracy"])]
        assert plate.tips[f"rival-{place}"][0].startswith(row["rule"])


def test_controls_are_drawn_as_differences_to_their_member_the_best_first(build):
    built = grown(build, controls=ALL)
    rows, plate = read_records(built.run).trained_controls, drawn(controls, built)
    assert [row["name"] for row in rows] == sorted(ALL, key=ALL.get)
    for place, row in enumerate(rows):
        assert marks(plate, f"control-{place}") == [(-row["behind"], place)]
        ends = [
            list(line.get_xdata())
            for line in lines(plate)
            if list(line.get_ydata()) == [place, place]
        ]
        assert ends == [[-row["behind_interval"][1], -row["behind_interval"][0]]]
    told = [text.get_text() for text in plate.figure.axes[0].texts]
    assert (
        told.count("compound is better"),
        told.count("the control is better"),
        told.count("can't be told"),
    ) == (2, 1, 3)
    assert "as good as B2" in told
    assert (
        "better beyond doubt than 2 (grey) and worse than 1 (orange); of 3 (blue) it can't be told"
        in plate.caption
    )


def test_dots_of_a_control_are_paired_differences_around_its_mean_and_absent_where_a_seed_failed(
    build,
):
    built = grown(build, controls={"depth": 0.02}, seeds=3)
    dots = [
        group
        for group in drawn(controls, built).figure.axes[0].collections
        if group.get_gid() is None
    ]
    across = [float(at[0]) for group in dots for at in group.get_offsets()]
    assert len(across) == 3
    assert math.isclose(sum(across) / 3, -0.02)
    facts = read_yaml(built.run.validation)
    row = facts["controls"][0]
    row |= {"accuracies": row["accuracies"][1:], "failed": "the loss became NaN"}
    change(built, **facts)
    dots = [
        group
        for group in drawn(controls, built).figure.axes[0].collections
        if group.get_gid() is None
    ]
    assert not [at for group in dots for at in group.get_offsets()]


def test_after_one_training_each_a_control_is_drawn_without_an_interval_and_nothing_is_claimed(
    build,
):
    built = grown(build, controls={"depth": 0.02, "paper": 0.01}, seeds=1)
    facts = read_yaml(built.run.validation)
    for row in facts["controls"]:
        row |= {"behind_interval": None, "verdict": None}
    change(built, **facts)
    assert marks(drawn(controls, built), "control-1") == [(-0.02, 1)]
    assert drawn(family, built) is not None
    assert (
        show_controls(read_records(built.run))
        .rows[0][2]
        .text.startswith("not compared: one training each")
    )
    assert "the paper's 1.2, 1.1, 1.15 (+1" not in words(built)


@pytest.mark.parametrize("told", [{}, NONE])
def test_without_a_trained_control_there_is_no_figure_and_the_reasons_are_in_the_table(build, told):
    built = grown(build, controls=told)
    write_report(built.run)
    assert not (built.run.report / "controls.svg").exists()
    text = page(built)
    assert text.count("not compared: its training failed: the loss became NaN") == len(told)
    assert ("Held against other ways to scale" in text) == bool(told)
    assert ("Whether compound scaling wins here can't be told" in words(built)) == bool(told)


def test_a_predicted_accuracy_is_said_to_be_one_and_sorts_by_its_number(build):
    built = grown(build)
    shown, rows = show_family(read_records(built.run)), read_records(built.run).members
    accuracy, interval = shown.rows[-1][2], shown.rows[-1][3]
    found = rows[-1]["prediction"]
    assert accuracy.text == f"predicted {percent(found['accuracy'])}"
    assert float(accuracy.key) == found["accuracy"]
    assert float(interval.key) == found["interval"][0]
    assert [row[2].text for row in shown.rows[:-1]] == [
        percent(row["accuracy"]) for row in rows[:-1]
    ]


def test_the_table_of_controls_says_flops_over_the_members_and_how_far_behind(build):
    records = read_records(
        grown(build, controls=ALL | {"width": "it is the same network as B2"}).run
    )
    shown = show_controls(records)
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    best, worst, last = shown.rows[0], shown.rows[-2], shown.rows[-1]
    row, member = records.trained_controls[-1], records.validated[-1]
    assert worst[0].text == "depth alone"
    assert (worst[1].text, worst[2].text) == ("+3.1 (+1.6 to +4.6)", "compound is better")
    assert float(worst[5].key) == row["flops"] / member["flops"]
    assert worst[6].text == "B2"
    assert [cell.text for cell in best][1:3] == [
        f"{MINUS}2.1 ({MINUS}3.6 to {MINUS}0.6)",
        "the control is better",
    ]
    assert last[2].text == "not compared: it is the same network as B2"
    assert float(last[1].key) < min(float(row[1].key) for row in shown.rows[:-1])


def test_the_csv_of_the_family_keeps_what_is_predicted_apart_from_what_is_measured(build):
    records = read_records(grown(build, controls=ALL).run)
    table, found = family_table(records), records.members[-1]["prediction"]
    last = table.iloc[-1]
    assert math.isnan(last.accuracy)
    assert (last.predicted, last.beyond) == (found["accuracy"], found["beyond"])
    assert [last.predicted_low, last.predicted_high] == found["interval"]
    assert table.predicted.notna().sum() == 1


def test_the_csv_of_controls_has_a_row_for_each_trained_or_not(build):
    records = read_records(
        grown(build, controls=ALL | {"width": "it is the same network as B2"}).run
    )
    table = controls_table(records).set_index("name")
    assert list(table.index) == list(ALL)
    for row in records.trained_controls:
        told = table.loc[row["name"]]
        assert (told.behind, told.verdict, told.flops) == (
            row["behind"],
            row["verdict"],
            row["flops"],
        )
        assert [told.behind_low, told.behind_high] == row["behind_interval"]
    assert table.why_not["width"] == "it is the same network as B2"
    assert math.isnan(table.behind["width"])
    assert {"rule", "against", "accuracy_seed_1", "correction"} <= set(table.columns)


@pytest.mark.parametrize(
    ("depth", "told"),
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
def test_the_verdict_says_plainly_whether_compound_scaling_wins(build, depth, told):
    assert told in words(grown(build, controls={"depth": depth, "width": 0.03, "resolution": 0.03}))


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (
            0.03,
            "the coefficients found here beat the paper's 1.2, 1.1, 1.15 (+3.0 points at about "
            "B2's FLOPs, 95%: +1.5 to "
            "+4.5), so this domain gains from its own.",
        ),
        (
            -0.03,
            "the coefficients found here are worse than the paper's 1.2, 1.1, 1.15 "
            f"({MINUS}3.0 points",
        ),
        (0.0, "Whether the coefficients found here beat the paper's 1.2, 1.1, 1.15 (0.0 points"),
    ],
)
def test_the_verdict_says_whether_a_domain_needs_coefficients_of_its_own(build, behind, told):
    text = words(grown(build, controls={"paper": behind}))
    assert told in text
    assert ("so this domain does not need its own" in text) == (behind < 0)
    assert ("can't be told." in text.partition("found here")[2].partition("B2's")[2]) == (
        behind == 0
    )


def test_coefficients_of_many_other_runs_that_cant_be_told_apart_take_one_sentence(build):
    text = words(
        grown(build, controls={"paper": 0.001} | {f"runs/{name}": 0.002 for name in "abcdef"})
    )
    assert text.count("Whether the coefficients found here beat") == 1
    assert "the paper's 1.2, 1.1, 1.15 (+0.1 points" in text
    assert "or 5 more can't be told." in text


def test_controls_that_rounding_made_one_network_of_are_said_to_be_one(build):
    built = grown(build, controls={"depth": 0.01, "width": 0.01, "paper": 0.01})
    told = (
        "Rounded to whole blocks, channels and pixels, depth alone and the paper's 1.2, "
        "1.1, 1.15 are one network here."
    )
    assert told not in words(built)
    depth, width, paper = read_records(built.run).validation["controls"]
    change(built, controls=[depth, width, paper | {"spec_id": depth["spec_id"]}])
    assert words(built).count(told) == 1


def test_the_verdict_says_what_is_a_prediction_and_how_far_it_reaches(build):
    built = grown(build)
    found = read_records(built.run).members[-1]["prediction"]
    assert "B3 was not trained: what is told of its accuracy is a prediction" in words(built)
    assert f"{percent(found['accuracy'])}, 95%: {percent(found['interval'][0])}" in words(built)
    assert f"at {found['beyond']:.1f} times the FLOPs of the largest trained network" in words(
        built
    )


def test_the_race_alone_tells_how_the_network_nearest_to_the_papers_coefficients_did(build):
    built = grown(build)
    facts = read_yaml(built.run.coefficients)
    near = nearest_to_paper(facts)

    def told(**changes):
        for row in facts["members"]:
            row |= {"winner": row["winner"] and row is near}
        near.update(changes)
        write_atomic(built.run.coefficients, dump_yaml(facts))
        return words(built)

    members = facts["members"]
    logs = [(1.2, "alpha"), (1.1, "beta"), (1.15, "gamma")]

    def distance(row):
        return sum(max(0, math.log(row[n][0] / v), math.log(v / row[n][1])) ** 2 for v, n in logs)

    assert distance(near) == min(distance(row) for row in members)
    assert " is worse than the best: 1.2 points behind (95%: +0.3 to +2.1)." in told(
        winner=False, tied=False, status="excluded", behind=0.012, behind_interval=[0.003, 0.021]
    )
    assert f" can't be told from the best: 1.2 points behind (95%: {MINUS}0.3 to +2.1)." in told(
        tied=True, status="tied", behind_interval=[-0.003, 0.021]
    )
    assert "The raced network nearest to the paper's 1.2, 1.1, 1.15 (\u03b1 " in told(winner=True)
    assert " is the best itself." in told(winner=True)


def test_given_coefficients_are_said_to_be_given_everywhere_and_nothing_raced(build):
    built = grown(
        build,
        given=(1.2, 1.1, 1.15),
        controls={"paper": "it is the same network as B2", "runs/a": 0.03},
    )
    records = read_records(built.run)
    assert (
        "alpha\u00a0=\u00a01.20, beta\u00a0=\u00a01.10, gamma\u00a0=\u00a01.15: given, not searched"
        in words(built)
    )
    assert "the given coefficients beat the coefficients of runs/a" in words(built)
    assert "so this domain" not in words(built)
    assert "nearest to the paper's" not in words(built)
    assert show_grid(records) is None is drawn(grid, built)
    shown = show_coefficients(records)
    assert [row[1].text for row in shown.rows] == ["1.200", "1.100", "1.150"]
    assert {row[2].text for row in shown.rows} == {"given, not searched"}
    assert "= 1.92; no networks raced for them." in shown.note
    assert page(built).count("given, not searched") == 5
    assert len(TABLES["grid"](records)) == 0


def test_members_below_the_baseline_are_on_the_curve_too(build):
    built = grown(build, controls=ALL, scaling={"phi": [-2.0, -1.0, 1.0, 2.0, 4.0]})
    records, plate = read_records(built.run), drawn(family, built)
    assert [row["name"] for row in records.validated] == ["b-2", "b-1", "b0", "b1", "b2"]
    assert len(marks(plate, "trained")) == 5
    assert lines(plate, "curve")[0].get_xdata()[0] == records.validated[0]["flops"]


@pytest.mark.parametrize(
    ("difference", "shown"),
    [
        (0.0123, "+1.2"),
        (-0.0123, f"{MINUS}1.2"),
        (-0.0001, "0.0"),
        (0.0, "0.0"),
        (-0.1, f"{MINUS}10.0"),
    ],
)
def test_points_have_a_sign_and_nothing_is_not_negative(difference, shown):
    assert points(difference) == shown


def test_names_are_joined_as_people_do():
    assert [joined_names(list(names)) for names in ("a", "ab", "abc")] == [
        "a",
        "a and b",
        "a, b and c",
    ]

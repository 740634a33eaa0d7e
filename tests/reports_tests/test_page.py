"""The page: self-contained, escaped, deterministic, and right at every moment of a run."""

import re
import shutil
from contextlib import closing
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest

from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.manifest import record_artifacts
from phinas.experiment.run_dir import RunDir
from phinas.experiment.trial_store import open_storage
from phinas.nas.selection.reference_network import ReferenceNetwork
from phinas.reports.formatting import format_percent
from phinas.reports.page import render_page, write_report
from phinas.reports.run_data import read_run_data

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """The text of a page, its references, and whether its tags nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.references, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "data") and value
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["script"] and self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def write_page(builder):
    text = write_report(builder.run).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    return page


def render_text(builder):
    """The text of the page without its figures, which take most of the time."""
    return Page(render_page(read_run_data(builder.run), {})).text


def test_the_page_of_a_whole_run_needs_nothing_but_itself(full_run):
    text = full_run.run.report_page.read_text(encoding="utf-8")
    page = Page(text)
    assert {"link", "img", "iframe", "object"}.isdisjoint(page.tags)
    assert not re.search(r"<script[^>]+src", text)
    assert not re.search(r"url\((?!#)|@import", text)
    links = [reference for reference in page.references if not reference.startswith("#")]
    assert links
    assert all((full_run.run.report / reference).is_file() for reference in links)


def test_ids_in_the_page_are_unique_and_every_reference_inside_it_resolves(full_run):
    text = full_run.run.report_page.read_text(encoding="utf-8")
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    references = re.findall(r"url\(#([^)]+)\)", text) + [
        r[1:] for r in Page(text).references if r.startswith("#")
    ]
    assert references
    assert set(references) <= set(ids)


def test_colors_of_inline_figures_are_variables_so_that_the_page_can_be_dark(full_run):
    text = full_run.run.report_page.read_text(encoding="utf-8")
    figures = text[text.index("<figure") :]
    assert "fill: var(--primary)" in figures
    assert not re.search(r"(fill|stroke): #[0-9a-f]{6}", figures)


def test_the_figures_lie_beside_the_page_as_svg_and_png(full_run):
    for name in ("front", "progress", "network", "grid", "family", "controls"):
        root = ElementTree.parse(full_run.run.report / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert (full_run.run.report / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not list(full_run.run.report.glob("*.tmp"))


def test_pointing_at_a_trial_tells_its_number_network_flops_and_accuracy(full_run):
    text = full_run.run.report_page.read_text(encoding="utf-8")
    table = pd.read_csv(full_run.run.report / "trials.csv")
    for row in table[table.state == "complete"].itertuples():
        assert (
            f"<title>trial {row.trial}, {row.spec_id}: {format_percent(row.accuracy)} at " in text
        )


def test_the_page_holds_the_numbers_of_the_tables(full_run):
    text = Page(full_run.run.report_page.read_text(encoding="utf-8")).text
    family = pd.read_csv(full_run.run.report / "family.csv")
    for row in family.itertuples():
        assert f"{row.flops:,}" in text
        assert f"{row.params:,}" in text
        assert not row.validated or format_percent(row.accuracy) in text
    for row in pd.read_csv(full_run.run.report / "grid.csv").itertuples():
        assert row.spec_id in text
        assert f"{row.ratio:.2f}" in text
    for row in pd.read_csv(full_run.run.report / "finalists.csv").itertuples():
        assert f"{row.reward:.4f}" in text


def test_the_same_run_gives_the_same_bytes_wherever_it_lies(full_run, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(full_run.run.path, copy)
    shutil.rmtree(copy / "report")
    write_report(RunDir(copy))
    for path in full_run.run.report.iterdir():
        assert (copy / "report" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_run_that_has_just_been_started_says_which_verbs_make_the_rest(build):
    text = write_page(build()).text
    assert "Nothing has been measured yet." in text
    for verb in ("phinas resume DIR", "phinas scale DIR"):
        assert verb in text


def test_orphans_are_no_trials_and_are_counted_as_interruptions(full_run):
    text = Page(full_run.run.report_page.read_text(encoding="utf-8")).text
    assert "2 trainings were cut off" in text
    assert "1 training is under way" in text
    assert len(pd.read_csv(full_run.run.report / "trials.csv")) == 13


def test_a_failed_trial_stands_in_the_page_with_its_reason(full_run):
    page = Page(full_run.run.report_page.read_text(encoding="utf-8"))
    assert "1 training failed" in page.text
    assert "the loss became NaN" in page.text


def test_a_search_of_nothing_but_failures_is_reported(build):
    builder = build().search(3, failed=(0, 1, 2))
    text = write_page(builder).text
    assert "Nothing has been measured yet." in text
    assert "search 3 3 the loss became NaN 0, 1, 2" in text
    assert not (builder.run.report / "front.svg").exists()


def test_where_the_search_looks_up_nothing_is_said_to_be_trained_in_it(build):
    """Though there are images, on which what it finds is scaled."""
    reference = ReferenceNetwork("efficientnet_b0", None, "it is too dear")
    builder = (
        build(search={"evaluator": "mine:accuracy"})
        .search(6, failed=(1,))
        .select_baseline(reference=reference)
    )
    text = render_text(builder)
    assert "efficientnet_b0 was not measured beside it" in text
    assert "The scaling saw training and validation images only" in text
    for phrase in (
        "short training",
        "each trained",
        "each training",
        "trained again",
        "in the search,",
        "the noise of training",
        "validation accuracy",
        "time in training",
        "2 trainings each",
    ):
        assert phrase not in text, phrase


def test_measurements_without_noise_are_told_as_such(build):
    text = render_text(
        build(search={"evaluator": "mine:accuracy"})
        .search(6)
        .select_baseline(noise=0.0, finalists=2)
    )
    assert "It beats the other finalist, and measured again each came to the same." in text
    assert "Measured again, each came to the same." in text
    assert "closer than 0.0000" not in text


def test_failures_are_grouped_by_study_and_reason_the_most_frequent_first(build):
    builder = build().search(5, failed=(1, 3, 4))
    with closing(open_storage(builder.run.study, url=None, new=False)) as storage:
        for study, reason in (
            ("search", "its process died (signal 9)"),
            ("finalists", "the loss became NaN"),
        ):
            trial_store = storage.open_study(study)
            trial_store.fail(trial_store.begin({}, {}), reason, attempts=3)
    text = render_text(builder)
    assert "5 trainings failed" in text
    first, second, third = (
        text.index(row)
        for row in (
            "search 3 3 the loss became NaN 1, 3, 4",
            "search 1 3 its process died",
            "finalists 1 3 the loss became NaN 0",
        )
    )
    assert first < second < third


def test_pruned_trials_are_counted_with_the_time_they_saved_and_are_no_failures(build):
    builder = build(search={"pruner": "median", "recipe": {"epochs": 6}}).search(
        10, failed=(0,), pruned=(6, 7, 9)
    )
    text = write_page(builder).text
    # 4 of 6 epochs saved each, at 2.5 s an epoch
    expected = (
        "The pruner (median) stopped 3 of 9 trials on their way: 12 of 54 epochs were not "
        "trained, about 30 seconds."
    )
    assert expected in text
    assert "1 training failed" in text
    assert "3 trials stopped on their way by the pruner are not shown." in text
    assert "of 9 trainings" in text  # of the time in training
    run_data = read_run_data(builder.run)
    assert len(run_data.trials) == 6
    assert {row.number for row in run_data.pruned_trials}.isdisjoint(
        trial.number for trial in run_data.pareto_front
    )


def test_a_pruner_that_stopped_nothing_says_so(build):
    assert "The pruner (halving) stopped no trial." in render_text(
        build(search={"pruner": "halving"}).search(2)
    )
    assert "The pruner" not in render_text(build("other").search(2))


def test_one_trial_and_one_finalist_make_a_report(build):
    text = write_page(build().search(1).select_baseline(finalists=1, seeds=1)).text
    assert "Of 1 network measured" in text
    assert "it was the only finalist" in text
    assert "can't be told" not in text


def test_a_given_baseline_is_reported_without_a_search(build):
    scaling = {"baseline": "efficientnet_b0", "tolerance": 0.1, "max_grid_members": 4}
    builder = build(scaling=scaling).give_baseline().scale()
    text = write_page(builder).text
    assert "The baseline was given, so there was no search." in text
    assert "385,814,752" in text
    assert "phinas validate DIR" in text
    assert not (builder.run.report / "front.svg").exists()
    assert (builder.run.report / "grid.svg").exists()


def test_a_space_that_is_exhausted_is_said_to_be(build):
    assert "The space is exhausted" in render_text(
        build().search(2).select_baseline(space_exhausted=True)
    )


def test_markup_from_a_run_is_shown_and_never_obeyed(build):
    markup = '<script>alert("1")</script>'
    builder = build(name=markup, data={"source": f"/tmp/{markup}"})
    builder.search(1, failed=(0,)).give_baseline(explanation=f"given: {markup}")
    builder.add_data(fingerprint=markup, skipped_images=[markup])
    (builder.run.path / "scaling").mkdir()
    (builder.run.path / "scaling" / "<b>.yaml").write_text("x")
    record_artifacts(builder.run, [builder.run.path / "scaling" / "<b>.yaml"])
    page = write_page(builder)
    assert page.tags.count("script") == 1
    assert "b" not in page.tags
    assert page.text.count(markup) >= 8


def test_a_path_that_looks_like_mathematics_is_text(build):
    builder = build(name="$x_1$ {{ 7 * 7 }} costs 5$")
    assert "$x_1$ {{ 7 * 7 }} costs 5$" in render_text(builder)


def test_duplicates_across_splits_are_warned_of(build):
    builder = build()
    builder.add_data(duplicates=3)
    assert "3 images of the validation or test images are in another split too" in render_text(
        builder
    )


@pytest.mark.parametrize(
    ("workers", "expected"), [(1, "One training at a time"), (2, "With several workers")]
)
def test_the_page_says_whether_the_order_of_completion_mattered(build, workers, expected):
    assert expected in render_text(build(run={"workers": workers}))


def test_a_report_is_written_over_an_older_one(build):
    builder = build().search(2)
    write_report(builder.run)
    (builder.run.report / "family.svg").write_text("of an older run")
    (builder.run.report / "index.html").write_text("torn")
    write_report(builder.run)
    assert builder.run.report_page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert not (builder.run.report / "family.svg").exists()


def test_a_damaged_record_is_an_error_and_leaves_the_old_page(build):
    builder = build()
    write_report(builder.run)
    page_before = builder.run.report_page.read_bytes()
    builder.run.study.write_bytes(builder.run.study.read_bytes()[:5000])
    with pytest.raises(StorageError):
        write_report(builder.run)
    assert builder.run.report_page.read_bytes() == page_before


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run directory"):
        write_report(RunDir(tmp_path))

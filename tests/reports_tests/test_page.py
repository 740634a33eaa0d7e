"""The page: self-contained, escaped, deterministic, and right at every moment of a run."""

import re
import shutil
from contextlib import closing
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest

from phinas.api.validate import validate
from phinas.experiment.artifacts.baseline_file import ExcludedReference
from phinas.experiment.artifacts.manifest import DuplicateCounts
from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.manifest import record_artifacts, update_manifest
from phinas.experiment.run_dir import RunDir
from phinas.experiment.storage.study_storage import open_storage
from phinas.nas.trial import TrialAttributes
from phinas.reports.formatting import format_percent
from phinas.reports.page import render_page, write_report
from phinas.reports.run_reader import read_run_data
from phinas.space.presets import preset

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


def test_the_page_of_a_full_run_is_self_contained(full_run):
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


def test_the_figures_are_next_to_the_page_as_svg_and_png(full_run):
    for name in ("front", "progress", "network", "grid", "family", "controls"):
        root = ElementTree.parse(full_run.run.report / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert (full_run.run.report / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not list(full_run.run.report.glob("*.tmp"))


def test_the_tooltip_of_a_trial_has_its_number_network_flops_and_score(full_run):
    text = full_run.run.report_page.read_text(encoding="utf-8")
    table = pd.read_csv(full_run.run.report / "trials.csv")
    for row in table[table.state == "complete"].itertuples():
        assert (
            f"<title>trial {row.trial}, {row.network_id}: {format_percent(row.score)} at " in text
        )


def test_the_page_holds_the_numbers_of_the_tables(full_run):
    text = Page(full_run.run.report_page.read_text(encoding="utf-8")).text
    family = pd.read_csv(full_run.run.report / "family.csv")
    for row in family.itertuples():
        assert f"{row.flops:,}" in text
        assert f"{row.params:,}" in text
        assert not row.validated or format_percent(row.score) in text
    for row in pd.read_csv(full_run.run.report / "grid.csv").itertuples():
        assert row.network_id in text
        assert f"{row.ratio:.2f}" in text
    for row in pd.read_csv(full_run.run.report / "finalists.csv").itertuples():
        assert f"{row.reward:.4f}" in text


def test_the_same_run_gives_the_same_bytes_in_any_directory(full_run, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(full_run.run.path, copy)
    shutil.rmtree(copy / "report")
    write_report(RunDir(copy))
    for path in full_run.run.report.iterdir():
        assert (copy / "report" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_run_that_has_just_started_names_the_commands_for_the_rest(build):
    text = write_page(build()).text
    assert "Nothing has been measured yet." in text
    for verb in ("phinas resume DIR", "phinas scale DIR"):
        assert verb in text


def test_replaced_trials_are_only_counted_as_interruptions(full_run):
    text = Page(full_run.run.report_page.read_text(encoding="utf-8")).text
    assert "2 trainings were started again" in text
    assert "1 training is running" in text
    assert len(pd.read_csv(full_run.run.report / "trials.csv")) == 13


def title_of(builder):
    text = render_page(read_run_data(builder.run), {})
    return re.search("<h1>(.*)</h1>", text)[1]


def test_a_run_without_a_name_has_a_title_of_what_was_done_and_the_data(build):
    assert title_of(build(name=None)) == "Architecture search and scaling on digits"
    folder = build("folder", name=None, data={"source": "/data/photos/"})
    assert title_of(folder) == "Architecture search and scaling on photos"
    scaled = build("scaled", name=None, scaling={"baseline": "efficientnet_b0"})
    assert title_of(scaled) == "Scaling of efficientnet_b0 on digits"
    no_images = build("none", name=None, data=None, search={"evaluator": "mine:accuracy"})
    update_manifest(no_images.run, goal=["search"])
    assert title_of(no_images) == "Architecture search with mine:accuracy"


def test_the_note_on_the_test_split_says_whether_it_was_used(build):
    scaling = {"tolerance": 0.2, "divisor": 4, "max_grid_members": 3, "phi": [1.0]}
    builder = build(scaling=scaling).search(4)
    assert "The test split has not been used yet." in render_text(builder)
    builder.select_baseline().scale().validate()
    assert "The test split was used only for the family." in render_text(builder)
    builder.validate(controls={"depth": 0.01})
    assert "used only for the family and its controls." in render_text(builder)


@pytest.mark.parametrize("new_name", [None, "mine.yaml"], ids=["deleted", "renamed"])
def test_a_member_whose_file_was_deleted_or_renamed_is_named_and_nothing_else_is_left_out(
    build, new_name
):
    scaling = {"tolerance": 0.2, "divisor": 4, "max_grid_members": 3, "phi": [1.0, 2.0]}
    builder = build(scaling=scaling).search(4).select_baseline().scale().validate()
    assert "missing from this page" not in render_text(builder)
    path = builder.run.family / "b1.yaml"
    if new_name:
        path.rename(path.with_name(new_name))
    else:
        path.unlink()
    assert "B1 is missing from this page, because the file was deleted" in render_text(builder)
    run_data = read_run_data(builder.run)
    assert [row.label for row in run_data.tested_members] == ["B0", "B2"]
    assert run_data.validation is not None
    with pytest.raises(InputError, match=r"b1\.yaml is missing"):
        validate(builder.run.path, quiet=True)
    assert not builder.run.data.exists()


def test_a_failed_trial_is_on_the_page_with_its_reason(full_run):
    page = Page(full_run.run.report_page.read_text(encoding="utf-8"))
    assert "1 training failed" in page.text
    assert "the loss became NaN" in page.text


def test_a_search_of_nothing_but_failures_is_reported(build):
    builder = build().search(3, failed=(0, 1, 2))
    text = write_page(builder).text
    assert "Nothing has been measured yet." in text
    assert "search 3 3 the loss became NaN 0, 1, 2" in text
    assert not (builder.run.report / "front.svg").exists()


def test_a_search_with_a_function_evaluator_mentions_no_training_of_its_own(build):
    """There are images, though, on which the family is trained."""
    reference = ExcludedReference(
        name="efficientnet_b0",
        case="too_large",
        flops=385_814_752,
        resolution=224,
        max_cost_ratio=4.0,
    )
    builder = (
        build(search={"evaluator": "mine:accuracy"})
        .search(6, failed=(1,))
        .select_baseline(reference=reference)
    )
    text = render_text(builder)
    assert (
        "efficientnet_b0 was not measured for comparison: its 386M FLOPs at 224 px are more "
        "than 4 times" in text
    )
    assert "Scaling uses training and validation images only" in text
    for phrase in (
        "short training",
        "each trained",
        "each training",
        "trained again",
        "in the search,",
        "validation accuracy",
        "training time",
        "2 trainings each",
    ):
        assert phrase not in text, phrase


def test_repeated_measurements_without_noise_are_called_identical(build):
    text = render_text(
        build(search={"evaluator": "mine:accuracy"})
        .search(6)
        .select_baseline(noise=0.0, finalists=2)
    )
    assert "It is better than the other finalist; repeated measurements were identical." in text
    assert "Repeated measurements were identical." in text
    assert "less than 0.0000" not in text


def test_failures_are_grouped_by_study_and_reason_the_most_frequent_first(build):
    builder = build().search(5, failed=(1, 3, 4))
    with closing(open_storage(builder.run.study, url=None, new=False)) as storage:
        for study, reason in (
            ("search", "its process died (signal 9)"),
            ("finalists", "the loss became NaN"),
        ):
            trial_store = storage.open_study(study)
            attributes = TrialAttributes.of(
                preset("efficientnet_b0"), proposal=9, key=study, num_rejected=0
            )
            number = trial_store.begin({}, {}, **attributes.to_dict())
            trial_store.fail(number, reason, attempts=3)
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


def test_pruned_trials_are_counted_with_the_saved_time_and_not_as_failures(build):
    builder = build(search={"pruner": "median", "recipe": {"epochs": 6}}).search(
        10, failed=(0,), pruned=(6, 7, 9)
    )
    text = write_page(builder).text
    # 4 of 6 epochs saved each, at 2.5 s an epoch
    expected = (
        "The pruner (median) stopped 3 of 9 trials early, which saved 12 of 54 epochs, about 30 "
        "seconds."
    )
    assert expected in text
    assert "1 training failed" in text
    assert "3 trials stopped early are not shown." in text
    assert "for 9 trainings" in text  # the training time
    run_data = read_run_data(builder.run)
    assert len(run_data.trials) == 6
    assert {row.number for row in run_data.pruned_trials}.isdisjoint(
        trial.number for trial in run_data.pareto_front
    )


def test_a_pruner_that_stopped_nothing_has_a_note(build):
    assert "The pruner (halving) stopped no trial." in render_text(
        build(search={"pruner": "halving"}).search(2)
    )
    assert "The pruner" not in render_text(build("other").search(2))


def test_paused_trials_of_a_strategy_that_resumes_trainings_are_counted(build):
    text = render_text(
        build(search={"strategy": "asha", "recipe": {"epochs": 6}}).search(10, pruned=(6, 7, 9))
    )
    expected = "The strategy (asha) paused 3 of 10 trials before the last epoch and did not resume"
    assert expected in text
    assert "The pruner" not in text


def test_one_trial_and_one_finalist_make_a_report(build):
    text = write_page(build().search(1).select_baseline(finalists=1, seeds=1)).text
    assert "selected from 1 measured network." in text
    assert "It was the only finalist." in text
    assert "significant" not in text


def test_a_user_supplied_baseline_is_reported_without_a_search(build):
    scaling = {"baseline": "efficientnet_b0", "tolerance": 0.1, "max_grid_members": 4}
    builder = build(scaling=scaling).give_baseline().scale()
    text = write_page(builder).text
    assert "The user supplied the baseline, so there was no search." in text
    assert "385,814,752" in text
    assert "in the search," not in text
    assert "Scaling uses training and validation images only" in text
    assert "phinas validate DIR" in text
    assert not (builder.run.report / "front.svg").exists()
    assert (builder.run.report / "grid.svg").exists()


def test_an_exhausted_search_space_has_a_note(build):
    assert "The search space is exhausted" in render_text(
        build().search(2).select_baseline(space_exhausted=True)
    )


def test_markup_from_a_run_is_shown_as_text(build):
    markup = '<script>alert("1")</script>'
    builder = build(name=markup, data={"source": f"/tmp/{markup}"})
    builder.search(1, failed=(0,)).give_baseline(source=markup)
    builder.add_data(fingerprint=markup, skipped_images=(markup,))
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


def test_duplicates_across_splits_have_a_warning(build):
    builder = build()
    builder.add_data(duplicates=DuplicateCounts(test_in_train=3), test=60)
    assert "3 of 60 test images (5%) are also in train, so test scores are too high" in render_text(
        builder
    )


def test_images_that_were_left_out_as_copies_are_counted(build):
    builder = build()
    builder.add_data(duplicates=DuplicateCounts(dropped=12))
    text = render_text(builder)
    assert "copies left out" in text
    assert "12 training images" in text


@pytest.mark.parametrize(
    ("workers", "expected"), [(1, "Trainings run one at a time"), (2, "With several workers")]
)
def test_the_page_has_a_note_on_the_effect_of_the_order_of_completion(build, workers, expected):
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


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("baseline", "network_id:", "netwrok_id:", r"search/baseline\.yaml: .*network_id"),
        (
            "coefficients",
            "version: 1",
            "version: 9",
            r"coefficients\.yaml: format version 9 is newer",
        ),
        ("validation", "metric: accuracy", "metric: 7", r"validation\.yaml: metric: 7 is not text"),
    ],
)
def test_a_damaged_file_is_one_error_and_leaves_the_old_page(
    full_run, tmp_path, name, old, new, message
):
    shutil.copytree(full_run.run.path, tmp_path / "copy")
    run = RunDir(tmp_path / "copy")
    page_before = run.report_page.read_bytes()
    path = getattr(run, name)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        write_report(run)
    assert run.report_page.read_bytes() == page_before


def test_a_directory_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run directory"):
        write_report(RunDir(tmp_path))

"""The page: self-contained, escaped, deterministic, and right at every moment of a run."""

import re
import shutil
from contextlib import closing
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest

from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.manifest import record_artefacts
from phinas.experiment.run_dir import RunDir
from phinas.experiment.trial_store import open_store
from phinas.nas.selection.reference_network import Reference
from phinas.reports.formatting import percent
from phinas.reports.page import render, write_report
from phinas.reports.run_data import read_records

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """The text of a page, its references, and whether its tags nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.references, self.tags = [], [], [], []
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
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def written(built):
    text = write_report(built.run).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    return page


def rendered(built):
    """The text of the page without its figures, which take most of the time."""
    return Page(render(read_records(built.run), {})).text


def test_the_page_of_a_whole_run_needs_nothing_but_itself(whole):
    text = whole.run.report_page.read_text(encoding="utf-8")
    page = Page(text)
    assert {"link", "img", "iframe", "object"}.isdisjoint(page.tags)
    assert not re.search(r"<script[^>]+src", text)
    assert not re.search(r"url\((?!#)|@import", text)
    beside = [reference for reference in page.references if not reference.startswith("#")]
    assert beside
    assert all((whole.run.report / reference).is_file() for reference in beside)


def test_ids_in_the_page_are_unique_and_every_reference_inside_it_resolves(whole):
    text = whole.run.report_page.read_text(encoding="utf-8")
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    wanted = re.findall(r"url\(#([^)]+)\)", text) + [
        r[1:] for r in Page(text).references if r.startswith("#")
    ]
    assert wanted
    assert set(wanted) <= set(ids)


def test_colours_of_inline_figures_are_variables_so_that_the_page_can_be_dark(whole):
    text = whole.run.report_page.read_text(encoding="utf-8")
    figures = text[text.index("<figure") :]
    assert "fill: var(--front)" in figures
    assert not re.search(r"(fill|stroke): #[0-9a-f]{6}", figures)


def test_the_figures_lie_beside_the_page_as_svg_and_png(whole):
    for name in ("front", "progress", "network", "grid", "family", "controls"):
        root = ElementTree.parse(whole.run.report / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert (whole.run.report / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not list(whole.run.report.glob("*.tmp"))


def test_pointing_at_a_trial_tells_its_number_network_flops_and_accuracy(whole):
    text = whole.run.report_page.read_text(encoding="utf-8")
    table = pd.read_csv(whole.run.report / "trials.csv")
    for row in table[table.state == "complete"].itertuples():
        assert f"<title>trial {row.trial}, {row.spec_id}: {percent(row.accuracy)} at " in text


def test_the_page_holds_the_numbers_of_the_tables(whole):
    text = Page(whole.run.report_page.read_text(encoding="utf-8")).text
    family = pd.read_csv(whole.run.report / "family.csv")
    for row in family.itertuples():
        assert f"{row.flops:,}" in text
        assert f"{row.params:,}" in text
        assert not row.validated or percent(row.accuracy) in text
    for row in pd.read_csv(whole.run.report / "grid.csv").itertuples():
        assert row.spec_id in text
        assert f"{row.ratio:.2f}" in text
    for row in pd.read_csv(whole.run.report / "finalists.csv").itertuples():
        assert f"{row.reward:.4f}" in text


def test_the_same_run_gives_the_same_bytes_wherever_it_lies(whole, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(whole.run.path, copy)
    shutil.rmtree(copy / "report")
    write_report(RunDir(copy))
    for path in whole.run.report.iterdir():
        assert (copy / "report" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_run_that_has_just_been_started_says_which_verbs_make_the_rest(build):
    text = written(build()).text
    assert "Nothing has been measured yet." in text
    for verb in ("phinas resume DIR", "phinas scale DIR"):
        assert verb in text


def test_orphans_are_no_trials_and_are_counted_as_interruptions(whole):
    text = Page(whole.run.report_page.read_text(encoding="utf-8")).text
    assert "2 trainings were cut off" in text
    assert "1 training is under way" in text
    assert len(pd.read_csv(whole.run.report / "trials.csv")) == 13


def test_a_failed_trial_stands_in_the_page_with_its_reason(whole):
    page = Page(whole.run.report_page.read_text(encoding="utf-8"))
    assert "1 training failed" in page.text
    assert "the loss became NaN" in page.text


def test_a_search_of_nothing_but_failures_is_reported(build):
    built = build().search(3, failed=(0, 1, 2))
    text = written(built).text
    assert "Nothing has been measured yet." in text
    assert "search 3 3 the loss became NaN 0, 1, 2" in text
    assert not (built.run.report / "front.svg").exists()


def test_where_the_search_looks_up_nothing_is_said_to_be_trained_in_it(build):
    """Though there are images, on which what it finds is scaled."""
    missing = Reference("efficientnet_b0", None, "it is too dear")
    built = (
        build(search={"evaluator": "mine:accuracy"})
        .search(6, failed=(1,))
        .choose(reference=missing)
    )
    text = rendered(built)
    assert "efficientnet_b0 was not measured beside it" in text
    assert "The scaling saw training and validation images only" in text
    for untrue in (
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
        assert untrue not in text, untrue


def test_measurements_without_noise_are_told_as_such(build):
    text = rendered(
        build(search={"evaluator": "mine:accuracy"}).search(6).choose(noise=0.0, finalists=2)
    )
    assert "It beats the other finalist, and measured again each came to the same." in text
    assert "Measured again, each came to the same." in text
    assert "closer than 0.0000" not in text


def test_failures_are_grouped_by_study_and_reason_the_most_frequent_first(build):
    built = build().search(5, failed=(1, 3, 4))
    with closing(open_store(built.run.study, url=None, new=False)) as store:
        for study, reason in (
            ("search", "its process died (signal 9)"),
            ("finalists", "the loss became NaN"),
        ):
            ledger = store.ledger(study)
            ledger.fail(ledger.begin({}, {}), reason, attempts=3)
    text = rendered(built)
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
    built = build(search={"pruner": "median", "recipe": {"epochs": 6}}).search(
        10, failed=(0,), pruned=(6, 7, 9)
    )
    text = written(built).text
    # 4 of 6 epochs saved each, at 2.5 s an epoch
    saved = (
        "The pruner (median) stopped 3 of 9 trials on their way: 12 of 54 epochs were not "
        "trained, about 30 seconds."
    )
    assert saved in text
    assert "1 training failed" in text
    assert "3 trials stopped on their way by the pruner are not shown." in text
    assert "of 9 trainings" in text  # of the time in training
    records = read_records(built.run)
    assert len(records.trials) == 6
    assert {row.number for row in records.pruned}.isdisjoint(
        trial.number for trial in records.front
    )


def test_a_pruner_that_stopped_nothing_says_so(build):
    assert "The pruner (halving) stopped no trial." in rendered(
        build(search={"pruner": "halving"}).search(2)
    )
    assert "The pruner" not in rendered(build("other").search(2))


def test_one_trial_and_one_finalist_make_a_report(build):
    text = written(build().search(1).choose(finalists=1, seeds=1)).text
    assert "Of 1 network measured" in text
    assert "it was the only finalist" in text
    assert "can't be told" not in text


def test_a_given_baseline_is_reported_without_a_search(build):
    scaling = {"baseline": "efficientnet_b0", "tolerance": 0.1, "members": 4}
    built = build(scaling=scaling).give().scale()
    text = written(built).text
    assert "The baseline was given, so there was no search." in text
    assert "385,814,752" in text
    assert "phinas validate DIR" in text
    assert not (built.run.report / "front.svg").exists()
    assert (built.run.report / "grid.svg").exists()


def test_a_space_that_is_exhausted_is_said_to_be(build):
    assert "The space is exhausted" in rendered(build().search(2).choose(exhausted=True))


def test_markup_from_a_run_is_shown_and_never_obeyed(build):
    evil = '<script>alert("1")</script>'
    built = build(name=evil, data={"source": f"/tmp/{evil}"})
    built.search(1, failed=(0,)).give(why=f"given: {evil}")
    built.add_data(fingerprint=evil, skipped=[evil])
    (built.run.path / "scaling").mkdir()
    (built.run.path / "scaling" / "<b>.yaml").write_text("x")
    record_artefacts(built.run, [built.run.path / "scaling" / "<b>.yaml"])
    page = written(built)
    assert page.tags.count("script") == 1
    assert "b" not in page.tags
    assert page.text.count(evil) >= 5


def test_a_path_that_looks_like_mathematics_is_text(build):
    built = build(name="$x_1$ {{ 7 * 7 }} costs 5$")
    assert "$x_1$ {{ 7 * 7 }} costs 5$" in rendered(built)


def test_duplicates_across_splits_are_warned_of(build):
    built = build()
    built.add_data(duplicates=3)
    assert "3 images of the validation or test images are in another split too" in rendered(built)


@pytest.mark.parametrize(
    ("workers", "told"), [(1, "One training at a time"), (2, "With several workers")]
)
def test_the_page_says_whether_the_order_of_completion_mattered(build, workers, told):
    assert told in rendered(build(run={"workers": workers}))


def test_a_report_is_written_over_an_older_one(build):
    built = build().search(2)
    write_report(built.run)
    (built.run.report / "family.svg").write_text("of an older run")
    (built.run.report / "index.html").write_text("torn")
    write_report(built.run)
    assert built.run.report_page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert not (built.run.report / "family.svg").exists()


def test_a_damaged_record_is_an_error_and_leaves_the_old_page(build):
    built = build()
    write_report(built.run)
    before = built.run.report_page.read_bytes()
    built.run.study.write_bytes(built.run.study.read_bytes()[:5000])
    with pytest.raises(StorageError):
        write_report(built.run)
    assert built.run.report_page.read_bytes() == before


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run directory"):
        write_report(RunDir(tmp_path))

"""Tests of the check of learning rates in a run: configuration, plan, sentences, record, resume."""

import html
import importlib
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from phinas.experiment.artifacts.learning_rates import (
    CheckedRate,
    LearningRatesFile,
    RateCheckedNetwork,
    RateGainRecord,
)
from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import (
    FitSection,
    Recipe,
    ScalingSection,
    SearchSection,
    ValidationSection,
    config_from_dict,
    validate_section,
)
from phinas.experiment.storage.study_storage import open_storage
from phinas.nas.reward import Reward
from phinas.nas.search import SearchResult
from phinas.nas.selection.baseline import choose_finalists
from phinas.nas.trial import Trial
from phinas.options.config_building import build_config
from phinas.planning.cost_forecast import CostForecast
from phinas.planning.planned_images import PlannedImages
from phinas.reports.page import write_report
from phinas.reports.sentences.learning_rates import describe_learning_rates
from phinas.run_context import STAGES
from phinas.run_learning_rates import (
    check_finalists,
    check_grid,
    check_validation,
    describe_result,
)
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.validation.controls import make_controls, read_controls
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import dump_yaml
from phinas.stage_titles import displayed_stages
from phinas.terminal.progress import Display

CHECKED = ("search.finalist_recipe", "scaling.recipe", "validation.recipe")


def gain(rate, difference, half_width=0.01):
    interval = (difference - half_width, difference + half_width)
    return RateGainRecord(learning_rate=rate, gain=difference, interval=interval)


def make_check(*, rate=0.2, over_recipe=None, best_other=None, failed=()):
    """A check whose first network has `best_other`, and whose trainings with some rates failed."""
    networks = tuple(
        RateCheckedNetwork(
            name=name,
            network_id=f"{number:012x}",
            flops=1000,
            rates=tuple(
                CheckedRate(learning_rate=x, scores=(None, 0.5) if x in failed else (0.5, 0.5))
                for x in (0.1, 0.2, 0.4)
            ),
            best_other=best_other if best_other and number == 0 else gain(0.4, 0.001),
        )
        for number, name in enumerate(("B4", "the control depth", "the control width"))
    )
    return LearningRatesFile(
        stage="validation",
        metric="accuracy",
        recipe_key="0" * 20,
        recipe_rate=0.2,
        epochs=7,
        recipe_epochs=20,
        learning_rate=rate,
        over_recipe=over_recipe,
        noise_std=0.005,
        networks=networks,
    )


def test_a_rate_that_suits_all_is_said_with_what_the_check_can_detect():
    text = describe_result(make_check(over_recipe=gain(0.4, 0.004)))
    assert text == (
        "learning rates (validation): To check the learning rate, B4, the control depth and the "
        "control width were trained for 7 instead of 20 epochs with 0.1, 0.2 and 0.4, 2 times "
        "each. All networks are trained with the recipe's 0.2, because no other rate is "
        "significantly better on average (0.4: +0.4 points, 95% CI \N{MINUS SIGN}0.6 to +1.4, mean "
        "of 3 networks). No single network is significantly better with another rate (differences "
        "below 1.0 points are not detected)."
    )


def test_a_better_rate_is_said_and_that_the_range_ends_there():
    text = " ".join(describe_learning_rates(make_check(rate=0.4, over_recipe=gain(0.4, 0.03))))
    assert (
        "All networks are trained with 0.4, which is significantly better on average than the "
        "recipe's 0.2 (+3.0 points, 95% CI +2.0 to +4.0, mean of 3 networks). It is the highest "
        "rate that was tried, so an even higher one may be better."
    ) in text


def test_a_network_that_another_rate_suits_is_a_warning_with_the_remedy():
    check = make_check(over_recipe=gain(0.4, 0.004), best_other=gain(0.1, 0.025))
    text = describe_result(check)
    assert text.startswith("warning: learning rates (validation): ")
    assert text.endswith(
        "B4 is significantly better with 0.1 (+2.5 points, 95% CI +1.5 to +3.5), so comparisons "
        "underestimate it. To see whether the result depends on it, repeat the stage in a new run "
        "with validation.recipe.learning_rate: 0.1."
    )


def test_failed_trainings_are_said():
    replaced = make_check(rate=0.1, failed=(0.2, 0.4))
    assert "All networks are trained with 0.1, because trainings with the recipe's 0.2 failed" in (
        describe_result(replaced)
    )
    unchanged = make_check(failed=(0.1, 0.4))
    assert "the recipe's 0.2, because trainings with the other rates failed." in (
        describe_result(unchanged)
    )


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"search": {"recipe": {"check_rates": True}}}, r"search\.recipe\.check_rates: is not"),
        (
            {
                "search": {
                    "evaluator": "phinas.testing.functions:smooth",
                    "finalist_recipe": {"check_rates": True},
                }
            },
            r"search\.finalist_recipe\.check_rates: has no effect with the evaluator phinas",
        ),
        (
            {"scaling": {"evaluator": "synthetic", "recipe": {"check_rates": True}}},
            r"scaling\.recipe\.check_rates: has no effect with the evaluator synthetic",
        ),
        ({"scaling": {"recipe": {"check_rates": 3}}}, r"scaling\.recipe\.check_rates: 3 "),
    ],
)
def test_a_check_that_is_not_possible_is_refused(section, problem):
    with pytest.raises(InputError, match=problem):
        config_from_dict({"data": {"source": "digits"}} | section, source="test")


def test_a_fit_has_no_check():
    section = {"spec": "efficientnet_b0", "data": {"source": "digits"}}
    with pytest.raises(InputError, match=r"recipe\.check_rates: is for stages that compare"):
        validate_section(FitSection, section | {"recipe": {"check_rates": True}}, source="fit")


class KnownSpeed:
    def epoch_seconds(self, network, recipe, *, train_images, val_images):
        assert recipe.epochs >= 1
        return 1e-9 * network.cost().flops * (3 * train_images + val_images)

    def setup_seconds(self, images):
        return 1e-6 * images


IMAGES = PlannedImages(
    train=8000,
    validation=2000,
    test=1000,
    skipped=0,
    classes=["cat", "dog"],
    channels=3,
    image_size=32,
    native_size=32,
)


def make_config(*checked):
    keys = {"data.source": "photos", "search.space": "small_images", "search.resolution": 24}
    settings = {f"{key}.check_rates": True for key in checked}
    settings |= {f"{key}.name": "proxy" if "scaling" in key else "validate" for key in checked}
    return build_config(None, (), keys | settings, use_quick_config=False)


@pytest.mark.parametrize("key", CHECKED)
def test_a_plan_has_the_cost_of_each_check_and_a_run_shows_it_as_a_stage(key):
    forecast = CostForecast(IMAGES, STAGES, times=KnownSpeed(), max_workers=2)
    stage = {"search": "finalists"}.get(key.partition(".")[0], key.partition(".")[0])
    title = f"learning rates ({stage})"
    plain, checked = make_config(), make_config(key)
    rows = {row.stage: row for row in forecast.plan_stages(checked)}
    epochs = {"finalists": 7, "scaling": 3, "validation": 7}[stage]
    assert (rows[title].trainings, rows[title].epochs) == (18, 18 * epochs)
    assert {*rows} - {row.stage for row in forecast.plan_stages(plain)} == {title}
    assert list(rows).index(title) + 1 == list(rows).index(stage)
    assert forecast.hours(checked) - forecast.hours(plain) == pytest.approx(rows[title].hours)
    titles = displayed_stages(checked, STAGES)
    assert titles.index(title) + 1 == titles.index(stage)
    assert not any("learning rates" in shown for shown in displayed_stages(plain, STAGES))


def read_scores(run, study):
    """The scores of the complete trainings of a study, by key."""
    storage = open_storage(run.study, url=None, new=False)
    try:
        records = storage.records(study)
    finally:
        storage.close()
    return {record.key: record.measurement.score for record in records if record.is_complete}


MODULE = """
BEST_RATE, CALLS = {best_rate}, []

def score(network_id, learning_rate, seed):
    CALLS.append(network_id)
    noise = (seed * int(network_id, 16) + round(1000 * learning_rate)) % 101 / 101 - 0.5
    return {{"score": 0.5 - abs(learning_rate - BEST_RATE) + 0.002 * noise}}
"""
BASELINE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
RATED = Recipe(epochs=6, check_rates=True)


class RunWithScores:
    """A run whose scores depend on the learning rate only.

    Attributes:
        calls: The networks of all trainings.
    """

    def __init__(self, folder, best_rate):
        name = f"scores_{folder.name}"
        (folder / f"{name}.py").write_text(MODULE.format(best_rate=best_rate))
        self.calls, self._name = importlib.import_module(name).CALLS, name
        self._storage = open_storage(folder / "study.db", url=None, new=True)
        self.run, self.printed = RunDir(folder), []

    def context(self, **sections):
        config = config_from_dict({"data": {"source": "digits"}}, source="test")
        display = Display(quiet=True)
        display.print = self.printed.append
        return SimpleNamespace(
            config=config.model_copy(update=sections),
            run=self.run,
            storage=self._storage,
            display=display,
            executor=InlineExecutor(1),
            job_factory=SimpleNamespace(make_job=self._make_job),
            max_resolution=float("inf"),
        )

    def _make_job(self, network, recipe, seed):
        payload = {
            "network_id": network.network_id,
            "learning_rate": recipe.learning_rate,
            "seed": seed,
        }
        return Job(job_key(self._name, payload), f"{self._name}:score", payload)

    def record(self, study):
        """Record a finished training of a stage."""
        self._storage.open_study(study).complete(
            self._storage.open_study(study).begin({}, {}, key="a"), 0.5, Measurement(0.5)
        )

    @property
    def results(self):
        """The printed results of checks."""
        return [text for text in self.printed if "To check the learning rate" in text]

    def close(self):
        self._storage.close()


@pytest.fixture
def start_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    runs = []

    def start(best_rate=0.2):
        folder = tmp_path / f"{tmp_path.name}_{len(runs)}"
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
        runs.append(RunWithScores(folder, best_rate))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def check_validation_of(run, *, recipe=RATED, phi=(0.5, 1.0), **section):
    family = make_family(BASELINE, Coefficients(1.2, 1.1, 1.15), list(phi))
    validation = ValidationSection(recipe=recipe, **section)
    controls = make_controls(
        read_controls(["depth", "width"]),
        BASELINE,
        family,
        rounding=Coefficients(1.2, 1.1, 1.15),
        max_resolution=float("inf"),
    )
    return check_validation(run.context(validation=validation), family, controls)


def test_the_stage_trains_with_the_rate_that_the_check_selects(start_run):
    run = start_run(best_rate=0.4)
    section = check_validation_of(run)
    assert section == ValidationSection(recipe=Recipe(epochs=6, learning_rate=0.4))
    check = LearningRatesFile.read(run.run.learning_rates("validation"))
    assert [row.name for row in check.networks] == ["B2", "the control depth", "the control width"]
    assert check.learning_rate == 0.4
    assert len(run.calls) == 18
    (message,) = run.results
    assert message == describe_result(check)


def test_a_recorded_check_is_kept_and_trains_nothing(start_run):
    run = start_run(best_rate=0.4)
    section = check_validation_of(run)
    content = run.run.learning_rates("validation").read_bytes()
    run.calls.clear()
    assert check_validation_of(run) == section
    assert run.calls == []
    assert len(run.results) == 1
    assert run.run.learning_rates("validation").read_bytes() == content


def test_a_check_without_its_file_is_repeated_from_the_recorded_trainings(start_run):
    run = start_run(best_rate=0.4)
    check_validation_of(run)
    content = run.run.learning_rates("validation").read_bytes()
    run.run.learning_rates("validation").unlink()
    run.calls.clear()
    check_validation_of(run)
    assert run.calls == []
    assert run.run.learning_rates("validation").read_bytes() == content


def test_another_recipe_is_checked_again(start_run):
    run = start_run()
    assert check_validation_of(run).recipe.learning_rate == 0.2
    lower = RATED.model_copy(update={"learning_rate": 0.1})
    assert check_validation_of(run, recipe=lower).recipe.learning_rate == 0.2
    assert len(run.results) == 2


def test_other_networks_are_checked_until_the_stage_has_started(start_run):
    run = start_run()
    check_validation_of(run)
    check_validation_of(run, phi=(0.5, 2.0))
    assert len(run.results) == 2
    run.record("validation")
    check_validation_of(run, phi=(0.5, 1.0))
    assert len(run.results) == 2


def test_a_stage_without_the_check_trains_nothing_for_it(start_run):
    run = start_run(best_rate=0.4)
    assert check_validation_of(run, recipe=Recipe(epochs=6)).recipe == Recipe(epochs=6)
    assert run.calls == []
    assert not run.run.learning_rates("validation").exists()


def test_the_center_of_the_grid_its_deepest_and_its_widest_network_are_checked(start_run):
    run = start_run(best_rate=0.1)
    section = ScalingSection(recipe=RATED, tolerance=0.1, divisor=4)
    checked = check_grid(run.context(scaling=section), BASELINE, section)
    assert checked == section.model_copy(update={"recipe": Recipe(epochs=6, learning_rate=0.1)})
    file = LearningRatesFile.read(run.run.learning_rates("scaling"))
    center, deepest, widest = file.networks
    assert center.name == "the network in the center of the grid"
    members = {member.spec.network_id: member.spec for member in make_grid(BASELINE, section)}
    specs = [members[row.network_id] for row in (center, deepest, widest)]
    depths = [sum(stage.depth for stage in spec.stages) for spec in specs]
    widths = [sum(stage.width for stage in spec.stages) for spec in specs]
    assert depths[1] == max(depths) > depths[2]
    assert widths[2] == max(widths) > widths[1]


def test_finalists_and_the_reference_are_checked(start_run, tmp_path):
    space, path = load_space("tiny"), tmp_path / "deep.yaml"
    stages = tuple(replace(stage, depth=9) for stage in space.base.stages)
    path.write_text(dump_yaml(replace(space.base, stages=stages).to_dict()))
    generator = random.Random(1)
    specs = [space.decode(space.sample(generator)) for _ in range(5)]
    trials = [
        Trial(number, number, spec, spec.cost(), 0.9, Measurement(0.9), 0.9 - number / 100)
        for number, spec in enumerate(specs)
    ]
    result = SearchResult(trials, Reward("soft", 0.0, 400_000.0, "flops"), space_exhausted=False)
    section = SearchSection(finalists=3, finalist_recipe=RATED, reference=str(path))
    run = start_run(best_rate=0.4)
    checked = check_finalists(run.context(search=section), result, space, is_scalable=None)
    assert checked.finalist_recipe == Recipe(epochs=6, learning_rate=0.4)
    assert checked.recipe == section.recipe
    check = LearningRatesFile.read(run.run.learning_rates("finalists"))
    names = [row.name for row in check.networks]
    finalists = choose_finalists(result, section, space, seed=0).finalists
    assert names[:2] == [f"trial {finalists[0].trial.number}", "deep.yaml"]
    assert names[2].startswith("trial ")


SMALL_RUN = Path(__file__).parent / "small_run.yaml"
STAGES_WITH_CHECK = ("finalists", "scaling", "validation")
OPTIONS = [word for key in CHECKED for word in ("--set", f"{key}.check_rates=true")]


def kill_in_check(run, *, after):
    """Start a run in a process, and kill it when its checks have so many trainings."""
    words = ["run", SMALL_RUN, *OPTIONS, "--out", run.path]
    process = subprocess.Popen(
        [sys.executable, "-m", "phinas", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not run.exists or len(read_scores(run, "learning_rates")) < after:
        assert process.poll() is None, f"ended too early: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_run_that_is_killed_in_its_checks_ends_with_equal_results(tmp_path, phinas_in_process):
    killed, complete = RunDir(tmp_path / "killed"), RunDir(tmp_path / "complete")
    result = phinas_in_process("run", SMALL_RUN, *OPTIONS, "--out", complete.path)
    assert result.returncode == 0, result.stderr
    kill_in_check(killed, after=20)  # in that of the scaling search
    result = phinas_in_process("resume", killed.path)
    assert result.returncode == 0, result.stderr
    # two finalists, three networks of the grid, and two or three of the validation, whose sizes
    # follow from the race
    assert len(read_scores(complete, "learning_rates")) in ((2 + 3 + 2) * 6, (2 + 3 + 3) * 6)
    for study in ("learning_rates", *STAGES_WITH_CHECK):
        assert read_scores(killed, study) == read_scores(complete, study)
    page = complete.report_page.read_text(encoding="utf-8")
    assert page.count("Learning rate:") == 3
    manifest = complete.manifest.read_text(encoding="utf-8")
    for stage in STAGES_WITH_CHECK:
        path = complete.learning_rates(stage)
        assert killed.learning_rates(stage).read_bytes() == path.read_bytes()
        assert f"learning_rates/{stage}.yaml" in manifest
        sentences = " ".join(describe_learning_rates(LearningRatesFile.read(path)))
        assert html.escape(sentences, quote=True).replace("&#x27;", "&#39;") in page


def test_a_run_without_checks_trains_nothing_for_them(finished_run):
    run = RunDir(finished_run)
    assert read_scores(run, "learning_rates") == {}
    assert not (run.path / "learning_rates").exists()
    assert "Learning rate:" not in run.report_page.read_text(encoding="utf-8")


def test_the_page_has_the_check_in_the_section_of_its_stage(finished_run, tmp_path):
    run = RunDir(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    check = make_check(over_recipe=gain(0.4, 0.004), best_other=gain(0.1, 0.025))
    check.write(run.learning_rates("validation"))
    page = write_report(run).read_text(encoding="utf-8")
    (section,) = [part for part in page.split("<section>") if "Learning rate:" in part]
    assert "<h2>The family</h2>" in section
    assert "B4 is significantly better with 0.1" in section


def test_a_check_of_a_newer_version_is_not_overwritten(finished_run, tmp_path, phinas_in_process):
    run = RunDir(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    make_check().write(run.learning_rates("scaling"))
    path = run.learning_rates("scaling")
    path.write_text(path.read_text().replace("version: 1", "version: 2"))
    result = phinas_in_process("resume", run.path)
    assert result.returncode != 0
    assert "learning_rates/scaling.yaml: format version 2 is newer" in result.stderr

"""Tests of the proxy check in a run and in a plan: messages, record, report and configuration."""

import re

import pytest

from phinas.api.plan import as_text, plan
from phinas.experiment.artifacts.proxy_check import (
    CheckedNetwork,
    EstimateRecord,
    ProxyCheckFile,
    ReliabilityRecord,
)
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import MIN_RANK_CORRELATION, config_from_dict
from phinas.planning.planned_images import PlannedImages
from phinas.proxy_check_message import describe_check
from phinas.run_context import read_config

IMAGES = PlannedImages(
    train=400,
    validation=100,
    test=100,
    skipped=0,
    classes=["cat", "dog"],
    channels=3,
    image_size=32,
    native_size=48,
)
NOISY = """
import numpy as np

CALLS = []

def score(spec, budget, seed):
    CALLS.append(seed)
    return 0.5 + 0.01 * np.random.default_rng([seed, int(spec.network_id, 16)]).normal()
"""


def make_check(correlation, *, epochs=4, num_pairs=3):
    estimate = EstimateRecord(value=correlation, interval=(0.1, 0.9))
    result = ReliabilityRecord(
        spread_std=0.021,
        noise_std=0.0123,
        degrees_of_freedom=2,
        reliability=estimate,
        true_rank_correlation=estimate,
        repeated_rank_correlation=estimate,
    )
    networks = tuple(
        CheckedNetwork(
            proposal=index,
            network_id=f"{index:012x}",
            score=0.5,
            is_repeated=index < 3,
            repeated_score=0.51 if index < num_pairs else None,
        )
        for index in range(8)
    )
    return ProxyCheckFile(
        metric="accuracy",
        epochs=epochs,
        recipe_epochs=4,
        networks=networks,
        result=result if num_pairs >= 2 else None,
    )


def make_config(**search):
    data = search.pop("data", {"source": "photos"})
    recipe = {"epochs": 4}
    return config_from_dict({"data": data, "search": {"recipe": recipe, **search}}, source="test")


def describe(check, config, *, resolution=32, images=IMAGES):
    return describe_check(check, config, images, train_images=400, resolution=resolution)


def test_a_reliable_ranking_is_said_with_its_figures_and_no_advice():
    text = describe(make_check(MIN_RANK_CORRELATION), make_config())
    assert text == (
        "proxy check: The scores (accuracy) of 8 networks have a standard deviation of 2.1 points, "
        "and trainings of one network with different seeds 1.2 points. So the expected rank "
        "correlation (Kendall's tau) of the scores of one training with means over many seeds is "
        "0.50 (95% CI 0.10 to 0.90, from 3 repeated trainings)."
    )
    assert "networks after 2 of 4 epochs have" in describe(make_check(0.9, epochs=2), make_config())


@pytest.mark.parametrize(
    ("search", "resolution", "advice"),
    [
        ({}, 32, "Raise search.recipe.epochs (now 4)."),
        (
            {"data": {"source": "photos", "max_train_images": 400}},
            32,
            "Raise search.recipe.epochs (now 4) or data.max_train_images (now 400).",
        ),
        (
            {"data": {"source": "photos", "max_train_images": 400}},
            24,
            "Raise search.recipe.epochs (now 4), data.max_train_images (now 400) or "
            "search.resolution (now 24 px; the images have 32 px).",
        ),
        (
            {"data": {"source": "photos", "upsample": True}},
            40,
            "Raise search.recipe.epochs (now 4) or search.resolution (now 40 px; the images have "
            "48 px).",
        ),
        (
            {"data": None, "evaluator": "package.module:score"},
            32,
            "Raise search.recipe.epochs (now 4), if the scores of package.module:score depend on "
            "it.",
        ),
        (
            {"data": None, "evaluator": "package.module:score", "noise_std": 0.01},
            32,
            "Lower search.noise_std (now 0.01), or raise search.finalists.",
        ),
    ],
)
def test_a_warning_says_what_can_still_be_raised(search, resolution, advice):
    config = make_config(**search)
    images = IMAGES if config.data is not None else None
    text = describe(make_check(0.49), config, resolution=resolution, images=images)
    assert text.startswith("warning: proxy check: The scores (accuracy) of 8 networks")
    assert text.endswith(f"so the search ranks networks largely by noise. {advice}")
    assert ("measurement" in text) == (config.data is None)


def test_unknown_noise_is_said():
    text = describe(make_check(0.1, num_pairs=1), make_config())
    assert text == (
        "proxy check: The noise of trainings is not known: 1 of 3 repeated trainings succeeded, "
        "and 2 are needed."
    )


def test_one_repeated_network_is_refused():
    with pytest.raises(InputError, match=r"search\.repeated_networks: 1 gives no estimate"):
        make_config(repeated_networks=1)
    with pytest.raises(InputError, match=r"search\.repeated_networks: 9 is greater than 8"):
        make_config(repeated_networks=9)


@pytest.fixture
def search_with_noise(tmp_path, phinas_in_process):
    """Runs a search whose scores are noise only; returns its result and directory."""
    (tmp_path / "noisy.py").write_text(NOISY)

    def run(*options, out="run"):
        settings = ("--evaluator", "noisy:score", "--set", "run.executor=inline")
        result = phinas_in_process(
            "search", *settings, "--space", "tiny", *options, "--out", out, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        return result, RunDir(tmp_path / out)

    return run


def test_a_search_warns_early_and_records_the_check(search_with_noise):
    result, run = search_with_noise("--trials", "20")
    lines = result.stderr.splitlines()
    (warning,) = (index for index, line in enumerate(lines) if "proxy check: The" in line)
    assert lines[warning].startswith("warning: ")
    assert "search: 20 of 20 trials" in "".join(lines[warning:])
    check = ProxyCheckFile.read(run.proxy_check)
    assert (len(check.networks), check.num_pairs) == (8, 3)
    page = re.sub(r"<[^>]+>", "", run.report_page.read_text(encoding="utf-8"))
    assert f"{check.result.true_rank_correlation.value:.2f} (95% CI" in page
    assert "from 3 repeated measurements). That is below 0.5" in page
    assert "search/proxy_check.yaml" in run.manifest.read_text()


def test_a_search_that_continues_is_not_checked_again(search_with_noise):
    search_with_noise("--trials", "9")
    result, run = search_with_noise("--trials", "11")
    assert "proxy check" not in result.stderr
    assert read_config(run).search.trials == 11


@pytest.mark.parametrize("options", [("--set", "search.repeated_networks=0"), ("--trials", "7")])
def test_a_search_is_not_checked(search_with_noise, options):
    result, run = search_with_noise("--trials", "9", *options)
    assert "proxy check" not in result.stderr
    assert not run.proxy_check.exists()
    assert "Proxy check" not in run.report_page.read_text(encoding="utf-8")


TINY_PLAN = {
    "run.workers": 1,
    "run.executor": "inline",
    "data.upsample": True,
    "data.max_train_images": 200,
    "data.max_validation_images": 50,
    "search.space": "tiny",
    "search.trials": 9,
    "search.reference": "none",
    "search.recipe": {"epochs": 2, "batch_size": 32, "learning_rate": 0.02},
}


@pytest.mark.slow
def test_a_plan_with_the_check_trains_networks_of_the_run_and_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = plan("digits", stages=("search",), settings=TINY_PLAN, check_proxy=True, quiet=True)
    rows = {row.stage: row.trainings for row in result.stages}
    assert rows == {"search": 9, "proxy check": 3, "finalists": 8}
    check = result.proxy_check.check
    assert (len(check.networks), check.num_pairs, check.epochs) == (8, 3, 2)
    assert result.to_dict()["proxy_check"]["check"]["result"]["degrees_of_freedom"] == 2
    assert as_text(result).splitlines()[-1] == result.proxy_check.message
    assert "proxy check: The scores (accuracy) of 8 networks" in result.proxy_check.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"scaling.baseline": "efficientnet_b0"}, "the run has no search"),
        (
            {"search.repeated_networks": 0},
            "the check is off, because search.repeated_networks is 0",
        ),
        (
            {"search.evaluator": "phinas.testing.functions:smooth"},
            "phinas does not train for evaluator phinas.testing.functions:smooth",
        ),
    ],
)
def test_a_plan_of_a_run_that_cannot_be_checked_is_refused(settings, problem):
    with pytest.raises(InputError, match=rf"^check_proxy: {re.escape(problem)}.*; leave it out$"):
        plan("digits", settings=TINY_PLAN | settings, check_proxy=True, quiet=True)

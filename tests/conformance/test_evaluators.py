"""Every evaluator passes the conformance suite. An error of a user's function fails the trial with
a recorded reason, and the search continues.
"""

import importlib
import re
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.paused_state import PAUSED_STATE
from phinas.experiment.schema.config import (
    Config,
    DataSection,
    Recipe,
    RunSection,
    ScalingSection,
    SearchSection,
)
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.evaluators import EVALUATORS, accel_nasbench_surrogate, make_evaluator
from phinas.nas.evaluators.accel_nasbench import AccelNasbenchEvaluator
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.evaluators.proxy import ProxyEvaluator
from phinas.nas.search import search
from phinas.nas.trial import TrialAttributes
from phinas.scaling_evaluator import require_evaluator
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.testing import EVALUATOR_CHECKS
from phinas.testing.searches import (
    Interrupted,
    InterruptedExecutor,
    in_memory_store,
    list_proposals,
    run_search,
)
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import TrainingJobFactory

SPACE = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8)
RECIPE = Recipe(epochs=1, batch_size=64)
RECORDS = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "data"
    / "accel-nasbench"
    / "anb_dataset_jsons.tar.gz"
)

# Networks with an odd id get the result of `tested`, whose body each test sets.
MODULE = """
from phinas.experiment.measurement import Measurement

def tested(spec, budget, seed):
    {body}

def evaluate(spec, budget, seed):
    return tested(spec, budget, seed) if int(spec.network_id, 16) % 2 else 0.5

def reporting(spec, budget, seed, report):
    for epoch in range(1, budget + 1):
        if not report(epoch, 0.1 * epoch): break
    return 0.1 * epoch

NUMBER = 3

class Wrapped:
    def __init__(self, *arguments): pass

    def __call__(self, spec, budget, seed): return 0.75

OBJECT = Wrapped()

def two(spec, budget): return 0.5

def by_name(*, spec, budget, seed): return 0.5
"""


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """A function that writes MODULE with the given body and returns the name of the module."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make_module(body):
        name = f"evaluator_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(MODULE.format(body=body))
        return name

    return make_module


@pytest.fixture(scope="module")
def job_factory(tmp_path_factory):
    section = DataSection(source="digits", max_train_images=200, max_validation_images=100)
    data = prepare(section, seed=0, directory=tmp_path_factory.mktemp("data"))
    return TrainingJobFactory.from_config(
        data,
        section,
        run=RunSection(device="cpu", trial_timeout_minutes=1.0),
        threads=1,
        checkpoints=tmp_path_factory.mktemp("checkpoints"),
    )


@pytest.fixture(scope="module")
def quick_fit(tmp_path_factory):
    """Fits the surrogate of Accel-NASBench to 600 records, in less than ten seconds and without the
    user's cache. test_accel_nasbench.py tests the fit to all records.
    """
    fit = accel_nasbench_surrogate.fit_surrogate
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(
            accel_nasbench_surrogate,
            "fit_surrogate",
            lambda features, scores: fit(features[:600], scores[:600]),
        )
        accel_nasbench_surrogate.load_surrogate.cache_clear()
        yield
    accel_nasbench_surrogate.load_surrogate.cache_clear()


# tests/nas_tests/test_curves.py tests the evaluator `curves`, which scores only some networks.
@pytest.fixture(
    params=[*sorted(EVALUATORS.keys() - {"curves"}), "reporting", "pausing", "resumable"]
)
def evaluator(request, job_factory, write_module):
    names = {
        "proxy": "proxy",
        "accel-nasbench": f"accel-nasbench:{RECORDS}",
        "function": f"{write_module('return 0.25')}:evaluate",
        "reporting": "phinas.testing.functions:reporting",
        "pausing": "phinas.testing.functions:smooth",
        "resumable": "phinas.testing.functions:resumable",
    }
    if request.param == "accel-nasbench" and not RECORDS.is_file():
        pytest.skip(f"the records of Accel-NASBench are not at {RECORDS}")
    if request.param == "accel-nasbench":
        request.getfixturevalue("quick_fit")
    return make(names.get(request.param, request.param), job_factory)


def make(name, job_factory, **options):
    section = SearchSection(evaluator=name, **options)
    return make_evaluator(section, job_factory, limit_seconds=60.0)


def run(function, *, trials=12):
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    section = SearchSection(strategy="random", trials=trials, reward_exponent=0.0)
    with closing(InlineExecutor(1)) as executor:
        try:
            search(
                SPACE,
                section,
                seed=0,
                trial_store=trial_store,
                executor=executor,
                evaluator=FunctionEvaluator(function, 60.0),
                on_progress=lambda done, total, text: None,
            )
        except NoResultError as error:
            return trial_store.records(), str(error)
    return trial_store.records(), None


@pytest.mark.parametrize("check", EVALUATOR_CHECKS)
def test_an_evaluator_conforms(evaluator, check):
    space = load_space("accel_nasbench") if isinstance(evaluator, AccelNasbenchEvaluator) else SPACE
    EVALUATOR_CHECKS[check](evaluator, space)


def test_the_configured_time_limit_is_the_limit_of_the_job(evaluator):
    space = load_space("accel_nasbench") if isinstance(evaluator, AccelNasbenchEvaluator) else SPACE
    assert evaluator.make_job(space.base, RECIPE, 7).limit_seconds == 60.0


def test_the_parameters_of_a_function_decide_whether_it_reports_and_pauses(job_factory):
    kinds = {
        "proxy": (True, True),
        "phinas.testing.functions:smooth": (False, True),
        "phinas.testing.functions:reporting": (True, False),
        "phinas.testing.functions:resumable": (True, True),
    }
    for name, supported in kinds.items():
        evaluator = make(name, job_factory)
        assert (evaluator.reports_progress, evaluator.supports_pausing) == supported


def test_an_evaluator_that_cannot_pause_refuses_to():
    evaluator = make("phinas.testing.functions:reporting", None)
    with pytest.raises(ValueError, match="does not support pausing"):
        evaluator.make_job(SPACE.base, RECIPE, 7, stop_epoch=1)


def test_a_proxy_training_that_pauses_without_an_owner_of_its_state_leaves_no_file(job_factory):
    evaluator, recipe = make("proxy", job_factory), Recipe(epochs=3, batch_size=64)
    with closing(InlineExecutor(1)) as executor:
        executor.submit(evaluator.make_job(SPACE.base, recipe, 11, stop_epoch=1))
        value = executor.next_result().value
    assert (value["stop_reason"], PAUSED_STATE in value) == ("paused", False)
    assert list(job_factory.checkpoints.iterdir()) == []


def test_a_function_with_a_parameter_report_reports_its_progress(write_module):
    name = write_module("return 0.5")
    assert not FunctionEvaluator(f"{name}:evaluate", 60.0).reports_progress
    assert FunctionEvaluator(f"{name}:reporting", 60.0).reports_progress


@pytest.mark.parametrize(
    ("body", "score"),
    [
        ("return 0.25", 0.25),
        ("return 1", 1.0),
        ("return 0", 0.0),
        ("import numpy; return numpy.float64(0.25)", 0.25),
        ("import numpy; return numpy.float32(0.25)", 0.25),
        ("return Measurement(0.75, images=10, curve=(0.5, 0.75))", 0.75),
        ("print('output'); return budget / 100", 0.1),
        ("return seed / 2**33", None),
        ("return spec.depth / 100", None),
    ],
)
def test_a_function_returns_a_score_or_a_measurement(write_module, body, score):
    rows, error_message = run(f"{write_module(body)}:evaluate")
    assert error_message is None
    values = [row.value for row in rows if int(TrialAttributes.from_record(row).network_id, 16) % 2]
    assert len(rows) == 12
    assert len(values) > 2
    assert all(0 <= value <= 1 for value in values)
    assert score is None or values == [score] * len(values)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "return None",
            r".*:evaluate returned None; return a score from 0 to 1 or a Measurement",
        ),
        ("return '0.5'", r".* returned '0\.5'; return a score"),
        ("return True", ".* returned True"),
        ("return {'accuracy': 0.5}", ".* returned {'accuracy': 0.5}"),
        ("return float('nan')", "score: nan is not a finite number"),
        ("return float('inf')", "score: inf is not a finite number"),
        ("return 93.5", r"score: 93\.5 is not a fraction from 0 to 1"),
        ("return -0.1", "score: -0.1 is not a fraction"),
        ("return Measurement(0.5, loss=float('nan'))", "loss: nan is not a finite number"),
        ("raise RuntimeError('no\\n    GPU')", "RuntimeError: no GPU"),
        ("raise RuntimeError('\\udcff \\x1b[31m \\x00')", r"RuntimeError: \? \?\[31m \?$"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("import absent_library", "ModuleNotFoundError: No module named 'absent_library'"),
    ],
)
def test_an_invalid_result_is_a_failure_with_a_reason_and_the_search_continues(
    write_module, body, reason
):
    rows, error_message = run(f"{write_module(body.replace(chr(10), chr(92) + 'n'))}:evaluate")
    assert error_message is None
    assert len(rows) == 12
    for row in rows:
        is_failing = int(TrialAttributes.from_record(row).network_id, 16) % 2 == 1
        assert row.is_complete is not is_failing
        assert row.value == (None if is_failing else 0.5)
    failed = [row for row in rows if not row.is_complete]
    assert len(failed) > 2
    assert all(re.match(reason, row.reason) for row in failed)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "absent_module:evaluate",
            "cannot be imported .ModuleNotFoundError: No module named 'absent_module'",
        ),
        ("{module}:absent", "cannot be imported .AttributeError: .*'absent'"),
        ("{module}:NUMBER", "is of type int; name a function, or an object that can be called"),
        ("{module}:Wrapped", "is a class; name a function, or an object that can be called"),
        (
            "{module}:two",
            r"cannot be called with \(spec, budget, seed\); give it these three parameters",
        ),
        ("{module}:by_name", r"cannot be called with \(spec, budget, seed\)"),
        (
            "{module}:",
            "is none of proxy, accel-nasbench:PATH, curves:FILE, package.module:function",
        ),
        (":evaluate", "is not of the form package.module:function"),
        ("..relative:evaluate", "cannot be imported"),
        ("proxi", "is none of proxy, accel-nasbench:PATH, curves:FILE, package.module:function"),
        ("accel-nasbench:absent.tar.gz", "'absent.tar.gz' does not exist"),
        ("accel-nasbench", "names no archive; write accel-nasbench:PATH"),
        ("accel-nasbench:", "names no archive; write accel-nasbench:PATH"),
        ("function", "is none of proxy"),
    ],
)
def test_a_name_that_is_not_an_evaluator_is_refused(write_module, job_factory, name, message):
    with pytest.raises(InputError, match=rf"^search\.evaluator: .*{message}"):
        make(name.format(module=write_module("return 0.5")), job_factory)


@pytest.mark.parametrize(
    "text", ["def evaluate(:", "raise ValueError('no license')", "1 / 0", "exit()"]
)
def test_a_module_that_cannot_be_loaded_is_refused_with_the_reason(tmp_path, monkeypatch, text):
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"broken_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(
        InputError,
        match=r"cannot be imported \((SyntaxError|ValueError: no "
        r"license|ZeroDivisionError|SystemExit)",
    ):
        FunctionEvaluator(f"{name}:evaluate", 60.0)


def test_a_callable_object_is_an_evaluator(write_module):
    rows, error_message = run(f"{write_module('return 0.5')}:OBJECT")
    assert error_message is None
    assert {row.value for row in rows} == {0.75}


def test_the_evaluators_are_made_by_name(write_module, job_factory):
    assert isinstance(make("proxy", job_factory), ProxyEvaluator)
    assert isinstance(make(f"{write_module('return 1')}:evaluate", job_factory), FunctionEvaluator)


BY_CHOICES = """
CALLS = []

def score(spec, budget, seed, choices):
    CALLS.append(dict(choices))
    ops = [value for name, value in choices.items() if name.endswith(".op")]
    return 0.1 + 0.1 * (ops.index("skip") if "skip" in ops else len(ops))

score.optimum = 0.4

def optional(spec, budget, seed, choices=None): return 0.5 if choices else 0.25
"""
OP = [{"name": name, "block": "identity"} for name in ("none", "skip")]


@pytest.fixture
def chooser(tmp_path, monkeypatch):
    """The module of functions that score choices."""
    name = f"chooser_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(BY_CHOICES)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module(name)


def joint_space(*options):
    stages = [{"width": 8, "depth": 1}, {"width": 8, "depth": 3}]
    return space_from_dict(
        {
            "base": {"stages": stages, "resolution": 16, "classes": 10},
            "overrides": {2: {"layers": {"op": [*OP, *options], "se": [0, 0.25]}}},
        }
    )


def search_by_choices(function, space, *, strategy, **options):
    section = SearchSection(
        strategy=strategy, evaluator=function, reward="accuracy", recipe=RECIPE, **options
    )
    with closing(InlineExecutor(1)) as executor:
        return search(
            space,
            section,
            seed=0,
            trial_store=TrialStore(optuna.create_study(direction="maximize")),
            executor=executor,
            evaluator=make_evaluator(section, None, limit_seconds=60.0),
            on_progress=lambda *_: None,
        )


@pytest.mark.parametrize("strategy", ["bayesian", "random", "hill_climbing"])
def test_choices_of_one_network_are_several_candidates_if_the_evaluator_scores_choices(
    chooser, strategy
):
    space = joint_space()
    result = search_by_choices(f"{chooser.__name__}:score", space, strategy=strategy, trials=20)
    assert len({trial.spec.network_id for trial in result.trials}) == 1
    assert result.space_exhausted
    # Two names of an identity for each of three layers; its other choices have no effect.
    assert len(result.trials) == len(chooser.CALLS) == 2**3
    assert max(trial.score for trial in result.trials) == pytest.approx(0.4)


def test_the_function_gets_each_inactive_choice_at_its_first_value(chooser):
    space = joint_space({"kernel": 3}, {"kernel": 5})
    search_by_choices(f"{chooser.__name__}:score", space, strategy="random", trials=30)
    layers = [
        (call[f"stages.1.layers.{layer}.op"], call[f"stages.1.layers.{layer}.se"])
        for call in chooser.CALLS
        for layer in range(3)
    ]
    assert {se for op, se in layers if op in ("none", "skip")} == {0}
    assert {se for op, se in layers if op not in ("none", "skip")} == {0, 0.25}


@pytest.mark.parametrize("strategy", ["bayesian", "hill_climbing"])
def test_interrupted_search_by_choices_continues_with_the_same_proposals(chooser, strategy):
    space = joint_space({"kernel": 3}, {"kernel": 5})
    arguments = {
        "function": f"{chooser.__name__}:score",
        "space": space,
        "trials": 30,
        "reward": "accuracy",
        "reward_exponent": None,
    }
    uninterrupted, parts = in_memory_store(), in_memory_store()
    run_search(strategy, uninterrupted, **arguments)
    with pytest.raises(Interrupted):
        run_search(strategy, parts, executor=InterruptedExecutor(12), **arguments)
    run_search(strategy, parts, **arguments)
    assert list_proposals(parts) == list_proposals(uninterrupted)


def test_noise_differs_between_the_choices_of_one_network(chooser):
    evaluator = make(f"{chooser.__name__}:optional", None, noise_std=0.01)
    jobs = [
        evaluator.make_job(SPACE.base, RECIPE, 7, choices={"op": op}) for op in ("none", "skip")
    ]
    assert len({job.key for job in jobs}) == 2
    assert len({job.payload["seed"] for job in jobs}) == 2


def test_evaluator_that_scores_choices_conforms(chooser):
    space = joint_space({"kernel": 3, "expansion": 6})
    evaluator = make(f"{chooser.__name__}:score", None)
    for check in EVALUATOR_CHECKS.values():
        check(evaluator, space)


def test_function_is_not_called_without_the_choices_that_it_requires(chooser):
    required, optional = (
        FunctionEvaluator(f"{chooser.__name__}:{name}", 60.0) for name in ("score", "optional")
    )
    assert (required.uses_choices, required.requires_choices, required.optimum) == (True, True, 0.4)
    assert (optional.uses_choices, optional.requires_choices, optional.optimum) == (
        True,
        False,
        None,
    )
    with pytest.raises(ValueError, match="needs the choices of a network"):
        required.make_job(SPACE.base, RECIPE, 7)
    assert "choices" not in optional.make_job(SPACE.base, RECIPE, 7).payload


def test_scaled_networks_are_not_scored_by_a_function_that_requires_choices(chooser):
    config = Config(
        data=DataSection(source="digits"),
        scaling=ScalingSection(evaluator=f"{chooser.__name__}:score"),
    )
    with pytest.raises(InputError, match=r"scaling.evaluator: .* requires `choices`"):
        require_evaluator(config)

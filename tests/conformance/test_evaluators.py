"""Every evaluator describes its work as plain data; what a user's function does wrong is a reason
in the record, no more.
"""

import json
import re
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import DataSection, Recipe, RunSection, SearchSection
from phinas.experiment.trial_store import TrialStore
from phinas.nas.evaluators import (
    EVALUATORS,
    AccelNasbenchEvaluator,
    FunctionEvaluator,
    ProxyEvaluator,
    accel_nasbench,
    make_evaluator,
)
from phinas.nas.search import search
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.loading import load_space
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

# Half of the networks get what `odd` gives.
MODULE = """
from phinas.experiment.measurement import Measurement

def odd(spec, budget, seed):
    {body}

def evaluate(spec, budget, seed):
    return odd(spec, budget, seed) if int(spec.spec_id, 16) % 2 else 0.5

def reporting(spec, budget, seed, report):
    for epoch in range(1, budget + 1):
        if not report(epoch, 0.1 * epoch): break
    return 0.1 * epoch

NUMBER = 3

class Wrapped:
    def __init__(self, *given): pass

    def __call__(self, spec, budget, seed): return 0.75

OBJECT = Wrapped()

def two(spec, budget): return 0.5

def by_name(*, spec, budget, seed): return 0.5
"""


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Writes a module of that body and returns its name."""
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
        checkpoints=None,
    )


@pytest.fixture(scope="module")
def quick_fit(tmp_path_factory):
    """Accel-NASBench's surrogate fitted to few of its records, which takes no ten seconds, and kept
    nowhere. How good the fit to all is: test_accel_nasbench.py.
    """
    fit = accel_nasbench.fit_surrogate
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(
            accel_nasbench,
            "fit_surrogate",
            lambda features, accuracies: fit(features[:600], accuracies[:600]),
        )
        accel_nasbench.load_surrogate.cache_clear()
        yield
    accel_nasbench.load_surrogate.cache_clear()


@pytest.fixture(params=[*EVALUATORS, "reporting"])
def evaluator(request, job_factory, write_module):
    names = {
        "proxy": "proxy",
        "accel-nasbench": f"accel-nasbench:{RECORDS}",
        "function": f"{write_module('return 0.25')}:evaluate",
        "reporting": f"{write_module('return 0.25')}:reporting",
    }
    if request.param == "accel-nasbench" and not RECORDS.is_file():
        pytest.skip(f"the released measurements are not at {RECORDS}")
    if request.param == "accel-nasbench":
        request.getfixturevalue("quick_fit")
    return make(names[request.param], job_factory)


def make(name, job_factory):
    return make_evaluator(SearchSection(evaluator=name), job_factory, limit_seconds=60.0)


def specs_for(evaluator):
    """A network that it can measure, and one that differs in a kernel."""
    space = load_space("accel_nasbench") if isinstance(evaluator, AccelNasbenchEvaluator) else SPACE
    evaluator.require_space(space)
    return space.base, space.decode({**encode(space, space.base), "stages.0.kernel": 5})


def run_job(job):
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job)
        return executor.next_result()


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


def test_a_job_is_plain_data_and_gives_a_measurement(evaluator):
    job = evaluator.make_job(specs_for(evaluator)[0], RECIPE, 7)
    assert json.loads(json.dumps(job.payload, allow_nan=False)) == job.payload
    result = run_job(job)
    measurement = Measurement.from_dict(result.value)
    assert (measurement.seed, measurement.epochs) == (7, 0 if measurement.split == "table" else 1)
    assert measurement.split != "test"
    assert job.limit_seconds == 60.0


def test_an_evaluator_says_whether_its_jobs_report_and_those_that_do_can_be_stopped(evaluator):
    reported = []

    def on_report(epoch, accuracy):
        reported.append((epoch, accuracy))
        return False

    with closing(InlineExecutor(1)) as executor:
        executor.submit(
            evaluator.make_job(specs_for(evaluator)[0], RECIPE.model_copy(update={"epochs": 2}), 7),
            on_report,
        )
        value = executor.next_result().value
    assert bool(reported) is evaluator.reports_progress
    if evaluator.reports_progress:
        assert reported == [(1, value["accuracy"])]
        assert (value["epochs"], value["curve"]) == (1, [value["accuracy"]])


def test_a_function_reports_where_it_takes_a_report(write_module):
    name = write_module("return 0.5")
    assert not FunctionEvaluator(f"{name}:evaluate", 60.0).reports_progress
    assert FunctionEvaluator(f"{name}:reporting", 60.0).reports_progress


def test_a_key_follows_from_network_recipe_and_seed(evaluator):
    base, other = specs_for(evaluator)
    key = evaluator.make_job(base, RECIPE, 7).key
    assert evaluator.make_job(base, RECIPE, 7).key == key
    changed = [
        evaluator.make_job(other, RECIPE, 7),
        evaluator.make_job(base, Recipe(epochs=2), 7),
        evaluator.make_job(base, RECIPE, 8),
    ]
    assert len({key, *(job.key for job in changed)}) == 4


def test_the_same_job_gives_the_same_accuracy(evaluator):
    results = [
        run_job(evaluator.make_job(specs_for(evaluator)[0], RECIPE, 7)).value for _ in range(2)
    ]
    assert results[0]["accuracy"] == results[1]["accuracy"]


@pytest.mark.parametrize(
    ("body", "accuracy"),
    [
        ("return 0.25", 0.25),
        ("return 1", 1.0),
        ("return 0", 0.0),
        ("import numpy; return numpy.float64(0.25)", 0.25),
        ("import numpy; return numpy.float32(0.25)", 0.25),
        ("return Measurement(0.75, images=10, curve=(0.5, 0.75))", 0.75),
        ("print('chatter'); return budget / 100", 0.1),
        ("return seed / 2**33", None),
        ("return spec.depth / 100", None),
    ],
)
def test_a_function_returns_an_accuracy_or_a_measurement(write_module, body, accuracy):
    rows, error_message = run(f"{write_module(body)}:evaluate")
    assert error_message is None
    values = [row.value for row in rows if int(row.user_attrs["spec_id"], 16) % 2]
    assert len(rows) == 12
    assert len(values) > 2
    assert all(0 <= value <= 1 for value in values)
    assert accuracy is None or values == [accuracy] * len(values)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "return None",
            r".*:evaluate returned None; return an accuracy from 0 to 1 or a Measurement",
        ),
        ("return '0.5'", r".* returned '0\.5'; return an accuracy"),
        ("return True", ".* returned True"),
        ("return {'accuracy': 0.5}", ".* returned {'accuracy': 0.5}"),
        ("return float('nan')", "accuracy: nan is not a finite number"),
        ("return float('inf')", "accuracy: inf is not a finite number"),
        ("return 93.5", r"accuracy: 93\.5 is not a fraction from 0 to 1"),
        ("return -0.1", "accuracy: -0.1 is not a fraction"),
        ("return Measurement(0.5, loss=float('nan'))", "loss: nan is not a finite number"),
        ("raise RuntimeError('no\\n    GPU')", "RuntimeError: no GPU"),
        ("raise RuntimeError('\\udcff \\x1b[31m \\x00')", r"RuntimeError: \? \?\[31m \?$"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("import absent_library", "ModuleNotFoundError: No module named 'absent_library'"),
    ],
)
def test_what_is_no_measurement_is_a_recorded_reason_and_the_search_goes_on(
    write_module, body, reason
):
    rows, error_message = run(f"{write_module(body.replace(chr(10), chr(92) + 'n'))}:evaluate")
    assert error_message is None
    assert len(rows) == 12
    for row in rows:
        is_odd = int(row.user_attrs["spec_id"], 16) % 2
        assert row.is_complete is not bool(is_odd)
        assert row.value == (None if is_odd else 0.5)
    failed = [row for row in rows if not row.is_complete]
    assert len(failed) > 2
    assert all(re.match(reason, row.user_attrs["reason"]) for row in failed)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "absent_module:evaluate",
            "can't be imported .ModuleNotFoundError: No module named 'absent_module'",
        ),
        ("{module}:absent", "can't be imported .AttributeError: .*'absent'"),
        ("{module}:NUMBER", "is of type int; name a function, or an object that can be called"),
        ("{module}:Wrapped", "is a class; name a function, or an object that can be called"),
        (
            "{module}:two",
            r"can't be called with \(spec, budget, seed\); give it these three parameters",
        ),
        ("{module}:by_name", r"can't be called with \(spec, budget, seed\)"),
        ("{module}:", "is none of proxy, accel-nasbench:PATH, package.module:function"),
        (":evaluate", "is not of the form package.module:function"),
        ("..relative:evaluate", "can't be imported"),
        ("proxi", "is none of proxy, accel-nasbench:PATH, package.module:function"),
        ("accel-nasbench:absent.tar.gz", "'absent.tar.gz' does not exist"),
        ("accel-nasbench", "names no archive; write accel-nasbench:PATH"),
        ("accel-nasbench:", "names no archive; write accel-nasbench:PATH"),
        ("function", "is none of proxy"),
    ],
)
def test_a_name_that_is_no_evaluator_is_refused(write_module, job_factory, name, message):
    with pytest.raises(InputError, match=rf"^search\.evaluator: .*{message}"):
        make(name.format(module=write_module("return 0.5")), job_factory)


@pytest.mark.parametrize(
    "text", ["def evaluate(:", "raise ValueError('no licence')", "1 / 0", "exit()"]
)
def test_a_module_that_cannot_be_loaded_is_refused_with_the_reason(tmp_path, monkeypatch, text):
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"broken_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(
        InputError,
        match=r"can't be imported \((SyntaxError|ValueError: no "
        r"licence|ZeroDivisionError|SystemExit)",
    ):
        FunctionEvaluator(f"{name}:evaluate", 60.0)


def test_an_object_that_can_be_called_is_an_evaluator(write_module):
    rows, error_message = run(f"{write_module('return 0.5')}:OBJECT")
    assert error_message is None
    assert {row.value for row in rows} == {0.75}


def test_the_evaluators_are_made_by_name(write_module, job_factory):
    assert isinstance(make("proxy", job_factory), ProxyEvaluator)
    assert isinstance(make(f"{write_module('return 1')}:evaluate", job_factory), FunctionEvaluator)

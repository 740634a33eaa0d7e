"""`phinas.load`: the data frames of a run are the tables of the report, and its networks."""

import inspect
import re
import shutil

import pytest
import torch

import phinas
from phinas.loaded_run import LoadedRun
from phinas.nas.selection.reference_network import MeasuredReference
from phinas.reports.csv_export import CSV_TABLES
from phinas.space.presets import preset
from phinas.training.engine.weights_io import save_weights

FRAMES = list(CSV_TABLES)
REFERENCE = MeasuredReference(
    "efficientnet_b0", preset("efficientnet_b0"), [0.7, 0.71], [0.5, 0.5], 0.6, 0.6, None
)
SCALING = {"tolerance": 0.2, "divisor": 4, "max_grid_members": 3, "phi": [1.0]}


@pytest.fixture(scope="module")
def full(full_run):
    return phinas.load(full_run.run.path)


def documented_columns(name):
    docstring = inspect.cleandoc(LoadedRun.__dict__[name].__doc__)
    return re.findall(r"^    - ([\w.]+): .", docstring, flags=re.MULTILINE)


def matches(column, documented):
    """Whether it is the documented column; NAME and N stand for any name and number."""
    pattern = re.escape(documented).replace("NAME", r".+")
    return re.fullmatch(re.sub(r"_N$", r"_\\d+", pattern), column) is not None


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_the_table_of_the_report(full, full_run, name):
    written = (full_run.run.report / f"{name}.csv").read_text(encoding="utf-8")
    assert getattr(full, name).to_csv(index=False, lineterminator="\n") == written


@pytest.mark.parametrize("name", FRAMES)
def test_every_column_is_documented(full, name):
    documented = documented_columns(name)
    assert len(documented) == len(set(documented))
    for column in getattr(full, name):
        assert any(matches(column, entry) for entry in documented), column


@pytest.mark.parametrize("name", FRAMES)
def test_every_documented_column_exists(full, build, name):
    timed = build(search={"cost": "latency"}).search(3)
    referenced = build("referenced").search(4).select_baseline(reference=REFERENCE)
    runs = [full, phinas.load(timed.run.path), phinas.load(referenced.run.path)]
    columns = {column for run in runs for column in getattr(run, name)}
    for entry in documented_columns(name):
        assert any(matches(column, entry) for column in columns), entry


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_without_rows_has_the_same_columns_and_types(full, build, name):
    empty, rows = getattr(phinas.load(build().run.path), name), getattr(full, name)
    assert len(empty) == 0
    assert set(empty) == {
        column for column in rows if not re.match(r"score_seed_|choice\.", column)
    }
    for column in empty:
        assert empty[column].dtype == rows[column].dtype, column


def test_a_run_in_progress_has_the_trials_and_curves_so_far(build):
    builder = build().search(4, pruned=(1,), failed=(2,), running=1)
    run = phinas.load(builder.run.path)
    assert run.trials.state.value_counts().to_dict() == {
        "complete": 2,
        "pruned": 1,
        "fail": 1,
        "running": 1,
    }
    assert run.curves[["stage", "trial", "epoch", "score"]].to_numpy().tolist() == [
        ["search", 1, 1, 0.2],
        ["search", 1, 2, 0.3],
    ]
    assert run.family.empty


def test_flags_select_rows_where_some_are_missing(build):
    builder = build().search(4).select_baseline(reference=REFERENCE)
    finalists = phinas.load(builder.run.path).finalists
    assert finalists.tied_with_selected.isna().sum() == 1  # that of the reference
    assert len(finalists[finalists.tied_with_selected & finalists.baseline]) == 1


def test_a_loaded_run_keeps_its_frames(build):
    builder = build().search(2)
    run = phinas.load(builder.run.path)
    run.trials["speed"] = run.trials.flops / 1e6
    assert "speed" in run.trials
    builder.search(3)
    assert len(run.trials) == 2
    assert len(phinas.load(builder.run.path).trials) == 5


def test_a_run_is_named_by_its_configuration_or_its_directory(build):
    assert phinas.load(build().run.path).name == "a small run"
    assert phinas.load(build("photos", name=None).run.path).name == "photos"


def test_a_network_of_a_trial_has_its_spec_and_a_module_without_weights(full):
    network = full.network("trial-5")
    row = full.trials.set_index("trial").loc[5]
    assert (network.spec.network_id, network.weights) == (row.network_id, None)
    assert network.spec.cost().flops == row.flops
    assert not network.module.training
    assert network.module is network.module
    assert network.module(torch.zeros(2, 1, 12, 12)).shape == (2, 10)


def test_a_network_of_the_family_has_its_trained_weights(build):
    builder = build(scaling=SCALING).search(4).select_baseline().scale()
    spec = builder.family[1].spec
    trained = spec.build()
    save_weights(trained, spec, builder.run.family / "b1.safetensors")
    state = torch.random.get_rng_state()
    network = phinas.load(builder.run.path).network("b1")
    loaded = network.module.state_dict()
    assert network.weights == builder.run.family / "b1.safetensors"
    assert all(torch.equal(loaded[name], value) for name, value in trained.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_unknown_network_is_an_error_that_lists_the_names(full):
    with pytest.raises(
        phinas.InputError, match="no network 'trial-99'; its networks are baseline, b0"
    ):
        full.network("trial-99")


def test_a_directory_that_is_no_run_and_a_damaged_file_are_named(full_run, tmp_path):
    with pytest.raises(phinas.InputError, match="does not exist"):
        phinas.load(tmp_path / "nothing")
    copy = shutil.copytree(full_run.run.path, tmp_path / "copy")
    (copy / "scaling" / "coefficients.yaml").write_text("alpha: [")
    with pytest.raises(phinas.InputError, match=r"coefficients\.yaml"):
        phinas.load(copy)


@pytest.mark.slow
def test_a_real_run_has_a_curve_of_each_training(finished_run):
    run = phinas.load(finished_run)
    complete = run.trials[run.trials.state == "complete"]
    last_epochs = run.curves[run.curves.stage == "search"].groupby("trial").epoch.max()
    assert dict(last_epochs) == dict(zip(complete.trial, complete.epochs, strict=True))
    assert set(run.curves.stage) >= {"search", "finalists", "scaling", "validation"}
    assert run.curves.score.between(0, 1).all()
    trained = run.family[run.family.validated]
    module = run.network(trained.name.iloc[-1]).module
    resolution = int(trained.resolution.iloc[-1])
    assert module(torch.zeros(1, 1, resolution, resolution)).isfinite().all()

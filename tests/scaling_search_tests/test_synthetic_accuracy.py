"""The synthetic accuracy model."""

import json
from contextlib import closing

import numpy as np
import optuna
import pytest

from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.job_list import Task, run_jobs
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.race.synthetic_accuracy import (
    SyntheticAccuracyModel,
    evaluate_network,
    scaling_factors,
)
from phinas.space.presets import preset

B0 = preset("efficientnet_b0")
SINGLE = [B0.scale(depth=2.0), B0.scale(width=1.41), B0.scale(resolution=1.41)]
COMPOUND = B0.scale(depth=1.26, width=1.12, resolution=1.12, rounding="round")
SMOOTH = SyntheticAccuracyModel(ruggedness_std=0.0, slowness_std=0.0)


def final(model, spec):
    return model.expected_accuracy(spec, B0, 10)


def test_the_baseline_has_the_stated_error_after_ten_epochs():
    assert final(SMOOTH, B0) == pytest.approx(1 - SMOOTH.baseline_error)
    assert scaling_factors(B0, B0) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("dimension", ["depth", "width", "resolution"])
def test_each_dimension_alone_has_diminishing_returns(dimension):
    errors = [1 - final(SMOOTH, B0.scale(**{dimension: factor})) for factor in (1.0, 2.0, 4.0, 8.0)]
    gains = -np.diff(errors)
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()


def test_compound_scaling_wins_where_dimensions_need_each_other():
    assert final(SMOOTH, COMPOUND) > max(final(SMOOTH, spec) for spec in SINGLE) + 0.003


def test_depth_alone_wins_with_the_largest_weight_and_no_complementarity():
    model = SyntheticAccuracyModel(
        dimension_weights=(0.7, 0.15, 0.15),
        complementarity=0.0,
        ruggedness_std=0.0,
        slowness_std=0.0,
    )
    assert model.best_index([*SINGLE, COMPOUND], B0, 10) == 0


def test_four_times_the_flops_in_one_dimension_or_in_all_differ_as_in_table_7_of_the_paper():
    single = [B0.scale(depth=4.0), B0.scale(width=2.0), B0.scale(resolution=2.0)]
    compound = B0.scale(depth=1.4, width=1.2, resolution=1.3)  # the paper's d, w, r
    gain = final(SMOOTH, compound) - np.mean([final(SMOOTH, spec) for spec in single])
    assert gain == pytest.approx(0.021, abs=0.012)  # 81.1 against 79.0, 78.9, 79.1


def test_deeper_networks_learn_more_slowly():
    deep, wide = SINGLE[0], SINGLE[1]
    assert final(SMOOTH, deep) - SMOOTH.expected_accuracy(deep, B0, 2) > final(
        SMOOTH, wide
    ) - SMOOTH.expected_accuracy(wide, B0, 2)


def test_trainings_scatter_around_the_expected_accuracy_as_specified():
    model = SyntheticAccuracyModel(noise_std=0.003, seed_effect_std=0.004)
    accuracies = np.array(
        [[model.sample_accuracy(spec, B0, 10, seed) for seed in range(120)] for spec in SINGLE]
    )
    noise = accuracies - np.array([final(model, spec) for spec in SINGLE])[:, None]
    assert noise.mean() == pytest.approx(0, abs=0.0015)
    # what a seed brings to all cancels
    assert (noise[0] - noise[1]).std() == pytest.approx(0.003 * 2**0.5, rel=0.25)
    assert noise[0].std() == pytest.approx(0.005, rel=0.25)


def test_heavy_tails_have_the_same_variance_but_outliers():
    model = SyntheticAccuracyModel(noise_std=0.003, seed_effect_std=0.0, heavy_tails=True)
    noise = np.array([model.sample_accuracy(B0, B0, 10, seed) for seed in range(400)]) - final(
        model, B0
    )
    assert noise.std() == pytest.approx(0.003, rel=0.4)
    assert np.abs(noise).max() > 5 * 0.003


def test_a_job_of_the_synthetic_model_runs_and_is_replayed_like_a_training():
    model = SyntheticAccuracyModel(noise_std=0.004, heavy_tails=True)
    task = Task(model.make_job(COMPOUND, B0, 5, 7), {"network_id": COMPOUND.network_id})
    assert json.loads(json.dumps(task.job.payload)) == task.job.payload
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    for _ in range(2):
        with closing(InlineExecutor(1)) as executor:
            outcome = run_jobs([task], trial_store, executor, on_progress=lambda *_: None)[
                task.job.key
            ]
        assert outcome.measurement is not None
        assert outcome.measurement.score == model.sample_accuracy(COMPOUND, B0, 5, 7)
    assert len(trial_store.records()) == 1


def test_the_job_returns_a_measurement():
    model = Measurement.from_dict(
        evaluate_network(**SyntheticAccuracyModel().make_job(COMPOUND, B0, 5, 7).payload)
    )
    assert (model.epochs, model.seed, model.split) == (5, 7, "synthetic")


def test_a_model_with_illegal_weights_and_a_network_of_other_stages_are_refused():
    with pytest.raises(ValueError, match="dimension_weights"):
        SyntheticAccuracyModel(dimension_weights=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="complementarity"):
        SyntheticAccuracyModel(complementarity=-1.0)
    with pytest.raises(ValueError, match="stages"):
        scaling_factors(preset("resnet_50"), B0)

"""The evaluator of Accel-NASBench: the quality of its surrogate, its cache, and its errors.

Tests that need the records of the authors are skipped without them. Tests that need the fit of all
records (half a minute) are slow.
"""

import functools
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import import_function
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.nas.evaluators import accel_nasbench_surrogate, make_evaluator
from phinas.nas.evaluators.accel_nasbench import AccelNasbenchEvaluator
from phinas.nas.evaluators.accel_nasbench_surrogate import (
    SEED_NOISE_STD,
    Surrogate,
    load_surrogate,
    read_records,
)
from phinas.nas.evaluators.noise import NoisyEvaluator
from phinas.nas.surrogate.gaussian_process import Hyperparameters
from phinas.space.presets import preset
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace

ARCHIVE = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "data"
    / "accel-nasbench"
    / "anb_dataset_jsons.tar.gz"
)
SPACE = load_space("accel_nasbench")

needs_records = pytest.mark.skipif(
    not ARCHIVE.is_file(), reason=f"the records of Accel-NASBench are not at {ARCHIVE}"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """An empty cache directory for the tests of this module, so that the fit is made once."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory))
        load_surrogate.cache_clear()
        yield directory / "phinas" / "surrogates"
    load_surrogate.cache_clear()


@pytest.fixture(scope="module")
def surrogate(cache):
    return load_surrogate(ARCHIVE)


@functools.cache
def evaluators():
    """The evaluator without noise and with noise, by the standard deviation of the noise."""
    exact = AccelNasbenchEvaluator(str(ARCHIVE), limit_seconds=60.0)
    return {0.0: exact, SEED_NOISE_STD: NoisyEvaluator(exact, SEED_NOISE_STD)}


def look_up(spec, *, noise, seed):
    job = evaluators()[noise].make_job(spec, Recipe(), seed)
    return import_function(job.function)(**job.payload)["score"]


def networks(count):
    counts = [len(decision.values) for decision in SPACE.decisions]
    rows = np.random.default_rng(0).integers(0, counts, size=(count, len(counts)))
    return [SPACE.decode(SPACE.from_indices(row)) for row in rows.tolist()]


@needs_records
def test_the_records_are_5125_networks_with_imagenet_accuracies():
    rows, accuracies = read_records(ARCHIVE)
    assert rows.shape == (5125, len(SPACE.decisions))
    assert len({row.tobytes() for row in rows}) == 5125
    assert 0.4 < accuracies.min() < accuracies.max() < 0.75


@needs_records
@pytest.mark.slow
def test_on_held_out_networks_the_surrogate_is_at_least_as_good_as_that_of_the_authors(surrogate):
    assert surrogate.r2 >= 0.983
    assert surrogate.tau >= 0.917


@needs_records
@pytest.mark.slow
def test_the_prediction_of_a_recorded_network_is_close_to_its_record(surrogate):
    rows, accuracies = read_records(ARCHIVE)
    predictions = surrogate.accuracies(rows[::20])
    assert np.sqrt(((predictions - accuracies[::20]) ** 2).mean()) < 2 * SEED_NOISE_STD
    assert 0 < surrogate.noise < 2 * SEED_NOISE_STD


@needs_records
@pytest.mark.slow
def test_the_surrogate_predicts_the_known_accuracy_of_efficientnet_b0(surrogate):
    b0 = np.array([SPACE.to_indices(encode(SPACE, preset("efficientnet_b0")))])
    assert surrogate.accuracies(b0)[0] == pytest.approx(0.6551, abs=0.001)


@needs_records
@pytest.mark.slow
def test_noise_has_the_requested_standard_deviation_and_no_bias(surrogate):
    specs = networks(600)
    noise_samples = [
        look_up(spec, noise=SEED_NOISE_STD, seed=1) - look_up(spec, noise=0.0, seed=1)
        for spec in specs
    ]
    assert np.std(noise_samples) == pytest.approx(SEED_NOISE_STD, rel=0.1)
    assert abs(np.mean(noise_samples)) < 3 * SEED_NOISE_STD / len(specs) ** 0.5


@needs_records
@pytest.mark.slow
def test_noise_depends_on_network_and_seed_only(surrogate):
    first_spec, second_spec = networks(2)
    assert look_up(first_spec, noise=SEED_NOISE_STD, seed=1) == look_up(
        first_spec, noise=SEED_NOISE_STD, seed=1
    )
    noise_samples = {
        look_up(spec, noise=SEED_NOISE_STD, seed=s) - look_up(spec, noise=0.0, seed=s)
        for spec in (first_spec, second_spec)
        for s in (1, 2)
    }
    assert len(noise_samples) == 4
    assert look_up(first_spec, noise=0.0, seed=1) == look_up(first_spec, noise=0.0, seed=2)


@needs_records
@pytest.mark.slow
def test_the_fit_is_cached_and_a_damaged_cache_is_replaced(surrogate, cache, monkeypatch):
    (cache_file,) = cache.iterdir()
    contents = cache_file.read_bytes()

    def refit(*arguments):
        raise AssertionError("fitted again")

    with monkeypatch.context() as patch:
        patch.setattr(accel_nasbench_surrogate, "fit_surrogate", refit)
        load_surrogate.cache_clear()
        reloaded = load_surrogate(ARCHIVE)
        np.testing.assert_array_equal(reloaded.weights, surrogate.weights)
        assert (reloaded.r2, reloaded.tau, reloaded.noise) == (
            surrogate.r2,
            surrogate.tau,
            surrogate.noise,
        )
    monkeypatch.setattr(accel_nasbench_surrogate, "fit_surrogate", lambda *arguments: surrogate)
    for corrupted in (
        b"",
        contents[:10],
        contents[: len(contents) // 2],
        contents[:-5],
        b"<html>",
        contents[:500] + b"\xff" + contents[501:],
    ):
        cache_file.write_bytes(corrupted)
        load_surrogate.cache_clear()
        assert np.isfinite(load_surrogate(ARCHIVE).weights).all()
        assert cache_file.read_bytes()[:4] == contents[:4]


@needs_records
def test_the_surrogate_is_loaded_without_a_writable_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file in place of the cache directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    theta = Hyperparameters(np.zeros(5), np.zeros(1, dtype=int))
    surrogate = Surrogate(theta, np.ones((1, 1)), np.ones(1), 0.6, 0.1, r2=0.9, tau=0.9, noise=0.0)
    monkeypatch.setattr(accel_nasbench_surrogate, "fit_surrogate", lambda *arguments: surrogate)
    load_surrogate.cache_clear()
    assert load_surrogate(ARCHIVE).r2 == 0.9
    load_surrogate.cache_clear()


def archive_of(path, texts):
    with tarfile.open(path, "w:gz") as archive:
        for number, text in enumerate(texts):
            member = tarfile.TarInfo(f"records/{number}.json")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


ARCHIVE_BYTES = ARCHIVE.read_bytes() if ARCHIVE.is_file() else b""
ARCHITECTURE = {
    f"block{stage}_{field}": value
    for stage in range(7)
    for field, value in (("e", 6), ("k", 3), ("l", 1), ("se", 1))
}
INVALID_FILES = {
    "not a tar": b"\x00\x01" * 4000,
    "truncated": ARCHIVE_BYTES[: len(ARCHIVE_BYTES) // 3],
    "a flipped byte": ARCHIVE_BYTES[:50_000]
    + bytes([ARCHIVE_BYTES[50_000] ^ 255])
    + ARCHIVE_BYTES[50_001:]
    if ARCHIVE_BYTES
    else b"",
    "empty": b"",
    "html": b"<!doctype html><title>404</title>",
}
INVALID_RECORDS = {
    "other json": [json.dumps({"accuracy": 0.7}).encode()] * 3,
    "lists": [b"[1, 2, 3]"],
    "invalid json": [b"{"],
    "not utf-8": [b"\xff\xfe\x00{}"],
    "no records": [],
    "accuracies that are not a number": [
        json.dumps({"architecture": ARCHITECTURE, "metrics": {"val_top1": float("nan")}}).encode()
    ],
    "accuracies as text": [
        json.dumps({"architecture": ARCHITECTURE, "metrics": {"val_top1": "65"}}).encode()
    ],
    "another space": [
        json.dumps(
            {"architecture": ARCHITECTURE | {"block3_k": 9}, "metrics": {"val_top1": 65.0}}
        ).encode()
    ],
    "too few": [json.dumps({"architecture": ARCHITECTURE, "metrics": {"val_top1": 65.0}}).encode()],
}


def assert_refused(path):
    with pytest.raises(
        InputError, match=r"^search\.evaluator: .*the complete anb_dataset_jsons"
    ) as error_info:
        make_evaluator(SearchSection(evaluator=f"accel-nasbench:{path}"), None, limit_seconds=1.0)
    assert str(path) in str(error_info.value)
    assert "\n" not in str(error_info.value)


@pytest.mark.parametrize("kind", INVALID_FILES)
def test_a_file_that_is_not_the_archive_is_refused_in_one_line_before_the_fit(kind, tmp_path):
    (tmp_path / "file.tar.gz").write_bytes(INVALID_FILES[kind])
    assert_refused(tmp_path / "file.tar.gz")


@pytest.mark.parametrize("kind", INVALID_RECORDS)
def test_an_archive_of_other_records_is_refused_in_one_line(kind, tmp_path):
    assert_refused(archive_of(tmp_path / "file.tar.gz", INVALID_RECORDS[kind]))


def test_a_folder_without_records_is_refused_and_one_with_them_is_read(tmp_path):
    assert_refused(tmp_path)
    for number, text in enumerate(INVALID_RECORDS["too few"] * 2):
        (tmp_path / f"{number}.json").write_bytes(text)
    read_records.cache_clear()
    with pytest.raises(InputError, match="has 1 records, too few"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    "name", ["accel-nasbench:nowhere.tar.gz", "accel-nasbench:", "accel-nasbench"]
)
def test_a_missing_or_absent_path_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^search\.evaluator: "):
        make_evaluator(SearchSection(evaluator=name), None, limit_seconds=1.0)


@needs_records
def test_a_space_with_networks_outside_the_benchmark_is_refused_and_a_part_of_it_is_not():
    evaluator = AccelNasbenchEvaluator(str(ARCHIVE), limit_seconds=1.0)
    evaluator.require_space(SPACE)
    evaluator.require_space(SearchSpace("part", SPACE.base, SPACE.decisions[:5]))
    wider_space = SearchSpace(
        "wider", SPACE.base, (*SPACE.decisions[1:], Decision(SPACE.decisions[0].name, (1, 3, 4, 6)))
    )
    for other_space in (
        load_space("tiny"),
        load_space("mnasnet"),
        wider_space,
        SPACE.adapt_to(channels=3, classes=10),
        SPACE.adapt_to(channels=3, classes=1000, resolution=160),
    ):
        with pytest.raises(InputError, match=r"search\.space: .* use --space accel_nasbench"):
            evaluator.require_space(other_space)

"""Accel-NASBench as an evaluator: how well its surrogate does, what it keeps, and what it refuses.

What needs the records is skipped where they are not; what needs a fit of them (half a minute) is
slow.
"""

import functools
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import resolve
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.nas.evaluators import accel_nasbench, make_evaluator
from phinas.nas.evaluators.accel_nasbench import (
    NOISE,
    AccelNasbenchEvaluator,
    Surrogate,
    read_records,
    surrogate,
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
    not ARCHIVE.is_file(), reason=f"the released measurements are not at {ARCHIVE}"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of this module's own, in which the fit is made once."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place))
        surrogate.cache_clear()
        yield place / "phinas"
    surrogate.cache_clear()


@pytest.fixture(scope="module")
def fitted(cache):
    return surrogate(ARCHIVE)


@functools.cache
def evaluators():
    """Without noise, and with."""
    exact = AccelNasbenchEvaluator(str(ARCHIVE), limit_seconds=60.0)
    return {0.0: exact, NOISE: NoisyEvaluator(exact, NOISE)}


def measured(spec, *, noise, seed):
    job = evaluators()[noise].job(spec, Recipe(), seed)
    return resolve(job.function)(**job.payload)["accuracy"]


def networks(count):
    counts = [len(decision.values) for decision in SPACE.decisions]
    rows = np.random.default_rng(0).integers(0, counts, size=(count, len(counts)))
    return [SPACE.decode(SPACE.choices(row)) for row in rows.tolist()]


@needs_records
def test_the_records_are_5125_networks_with_accuracies_of_imagenet():
    rows, accuracies = read_records(ARCHIVE)
    assert rows.shape == (5125, len(SPACE.decisions))
    assert len({row.tobytes() for row in rows}) == 5125
    assert 0.4 < accuracies.min() < accuracies.max() < 0.75


@needs_records
@pytest.mark.slow
def test_on_networks_held_out_it_does_at_least_as_well_as_the_authors_own_surrogate(fitted):
    assert fitted.r2 >= 0.983
    assert fitted.tau >= 0.917


@needs_records
@pytest.mark.slow
def test_what_it_says_of_a_network_that_was_trained_is_near_what_was_measured(fitted):
    rows, accuracies = read_records(ARCHIVE)
    told = fitted.accuracies(rows[::20])
    assert np.sqrt(((told - accuracies[::20]) ** 2).mean()) < 2 * NOISE
    assert 0 < fitted.noise < 2 * NOISE


@needs_records
@pytest.mark.slow
def test_efficientnet_b0_has_the_value_that_searches_have_to_beat(fitted):
    b0 = np.array([SPACE.indices(encode(SPACE, preset("efficientnet_b0")))])
    assert fitted.accuracies(b0)[0] == pytest.approx(0.6551, abs=0.001)


@needs_records
@pytest.mark.slow
def test_noise_has_the_standard_deviation_that_was_asked_for_and_no_bias(fitted):
    specs = networks(600)
    luck = [
        measured(spec, noise=NOISE, seed=1) - measured(spec, noise=0.0, seed=1) for spec in specs
    ]
    assert np.std(luck) == pytest.approx(NOISE, rel=0.1)
    assert abs(np.mean(luck)) < 3 * NOISE / len(specs) ** 0.5


@needs_records
@pytest.mark.slow
def test_noise_follows_from_network_and_seed_alone(fitted):
    one, other = networks(2)
    assert measured(one, noise=NOISE, seed=1) == measured(one, noise=NOISE, seed=1)
    luck = {
        measured(spec, noise=NOISE, seed=s) - measured(spec, noise=0.0, seed=s)
        for spec in (one, other)
        for s in (1, 2)
    }
    assert len(luck) == 4
    assert measured(one, noise=0.0, seed=1) == measured(one, noise=0.0, seed=2)


@needs_records
@pytest.mark.slow
def test_the_fit_is_kept_and_one_that_is_torn_or_of_other_features_is_made_anew(
    fitted, cache, monkeypatch
):
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()

    def refit(*arguments):
        raise AssertionError("fitted again")

    with monkeypatch.context() as patch:
        patch.setattr(accel_nasbench, "fit", refit)
        surrogate.cache_clear()
        again = surrogate(ARCHIVE)
        np.testing.assert_array_equal(again.weights, fitted.weights)
        assert (again.r2, again.tau, again.noise) == (fitted.r2, fitted.tau, fitted.noise)
    monkeypatch.setattr(accel_nasbench, "fit", lambda *arguments: fitted)
    for torn in (
        b"",
        whole[:10],
        whole[: len(whole) // 2],
        whole[:-5],
        b"<html>",
        whole[:500] + b"\xff" + whole[501:],
    ):
        kept.write_bytes(torn)
        surrogate.cache_clear()
        assert np.isfinite(surrogate(ARCHIVE).weights).all()
        assert kept.read_bytes()[:4] == whole[:4]


@needs_records
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    theta = Hyperparameters(np.zeros(5), np.zeros(1, dtype=int))
    made = Surrogate(theta, np.ones((1, 1)), np.ones(1), 0.6, 0.1, r2=0.9, tau=0.9, noise=0.0)
    monkeypatch.setattr(accel_nasbench, "fit", lambda *arguments: made)
    surrogate.cache_clear()
    assert surrogate(ARCHIVE).r2 == 0.9
    surrogate.cache_clear()


def archive_of(path, texts):
    with tarfile.open(path, "w:gz") as archive:
        for number, text in enumerate(texts):
            member = tarfile.TarInfo(f"records/{number}.json")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


GOOD = ARCHIVE.read_bytes() if ARCHIVE.is_file() else b""
CHOICES = {
    f"block{stage}_{field}": value
    for stage in range(7)
    for field, value in (("e", 6), ("k", 3), ("l", 1), ("se", 1))
}
WRONG_FILES = {
    "not a tar": b"\x00\x01" * 4000,
    "truncated": GOOD[: len(GOOD) // 3],
    "a flipped byte": GOOD[:50_000] + bytes([GOOD[50_000] ^ 255]) + GOOD[50_001:] if GOOD else b"",
    "empty": b"",
    "html": b"<!doctype html><title>404</title>",
}
WRONG_RECORDS = {
    "other json": [json.dumps({"accuracy": 0.7}).encode()] * 3,
    "lists": [b"[1, 2, 3]"],
    "no json": [b"{"],
    "not utf-8": [b"\xff\xfe\x00{}"],
    "none": [],
    "accuracies that are none": [
        json.dumps({"architecture": CHOICES, "metrics": {"val_top1": float("nan")}}).encode()
    ],
    "accuracies as words": [
        json.dumps({"architecture": CHOICES, "metrics": {"val_top1": "65"}}).encode()
    ],
    "another space": [
        json.dumps(
            {"architecture": CHOICES | {"block3_k": 9}, "metrics": {"val_top1": 65.0}}
        ).encode()
    ],
    "too few": [json.dumps({"architecture": CHOICES, "metrics": {"val_top1": 65.0}}).encode()],
}


def refused(path):
    with pytest.raises(
        InputError, match=r"^search\.evaluator: .*name the whole of the authors' anb_dataset_jsons"
    ) as told:
        make_evaluator(SearchSection(evaluator=f"accel-nasbench:{path}"), None, limit_seconds=1.0)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_file_that_is_not_the_archive_is_refused_in_one_line_before_anything_is_fitted(
    kind, tmp_path
):
    (tmp_path / "file.tar.gz").write_bytes(WRONG_FILES[kind])
    refused(tmp_path / "file.tar.gz")


@pytest.mark.parametrize("kind", WRONG_RECORDS)
def test_an_archive_of_other_records_is_refused_in_one_line(kind, tmp_path):
    refused(archive_of(tmp_path / "file.tar.gz", WRONG_RECORDS[kind]))


def test_a_folder_without_records_is_refused_and_one_with_them_is_read(tmp_path):
    refused(tmp_path)
    for number, text in enumerate(WRONG_RECORDS["too few"] * 2):
        (tmp_path / f"{number}.json").write_bytes(text)
    read_records.cache_clear()
    with pytest.raises(InputError, match="has 1 records, too few"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    "name", ["accel-nasbench:nowhere.tar.gz", "accel-nasbench:", "accel-nasbench"]
)
def test_a_path_that_is_none_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^search\.evaluator: "):
        make_evaluator(SearchSection(evaluator=name), None, limit_seconds=1.0)


@needs_records
def test_a_space_that_is_not_its_own_is_refused_and_a_part_of_its_own_is_not():
    evaluator = AccelNasbenchEvaluator(str(ARCHIVE), limit_seconds=1.0)
    evaluator.require_space(SPACE)
    evaluator.require_space(SearchSpace("part", SPACE.base, SPACE.decisions[:5]))
    wider = SearchSpace(
        "wider", SPACE.base, (*SPACE.decisions[1:], Decision(SPACE.decisions[0].name, (1, 3, 4, 6)))
    )
    for other in (load_space("tiny"), load_space("mnasnet"), wider, SPACE.fitted(channels=3, classes=10),
                  SPACE.fitted(channels=3, classes=1000, resolution=160)):  # fmt: skip
        with pytest.raises(InputError, match=r"search\.space: .* use --space accel_nasbench"):
            evaluator.require_space(other)

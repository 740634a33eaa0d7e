"""The files of a run: they read back equal, and any damage is one clear error."""

import json
import re
from typing import ClassVar

import pytest
from pydantic import ValidationError

from phinas.experiment.artifacts.artifact import Artifact, Interval, Record
from phinas.experiment.artifacts.baseline_file import BaselineFile, ExcludedReference
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.family_file import BudgetRecord, FamilyMember
from phinas.experiment.artifacts.network_field import SpecField
from phinas.experiment.artifacts.validation_file import (
    CompoundVerdict,
    ControlNetwork,
    ControlRecord,
    MemberRecord,
    Prediction,
    SkipReason,
    TestResult,
    ValidationFile,
)
from phinas.experiment.errors import InputError
from phinas.space.presets import preset
from phinas.space.yaml_io import dump_yaml, read_yaml

B0 = preset("efficientnet_b0")


class Row(Record):
    name: str
    score: float
    interval: Interval | None = None


class Sample(Artifact):
    FORMAT: ClassVar[str] = "phinas/sample"
    VERSION: ClassVar[int] = 2

    count: int
    rows: tuple[Row, ...]
    spec: SpecField


SAMPLE = Sample(count=1, rows=(Row(name="a", score=0.1 + 0.2, interval=(0.0, 1.0)),), spec=B0)


def family_member():
    budget = BudgetRecord(
        cost_metric="flops", limit=4e8, value=385814752.0, phi_interval=(0.0, 0.1)
    )
    return FamilyMember(
        name="b0",
        phi=0.0,
        spec=B0,
        network_id=B0.network_id,
        flops=385814752,
        params=5288548,
        activations=6748036,
        ratio=1.0,
        budget=budget,
    )


def validation_file():
    result = TestResult(
        scores=(0.8, 0.82),
        score=0.81,
        interval=(0.77, 0.84),
        images=359,
        train_seconds=10.5,
        failure_reason="",
    )
    point = Prediction(flops=1e9, score=0.85, interval=(0.8, 0.9), extrapolation=2.6)
    fields = {"phi": 0.0, "network_id": "0123456789ab", "flops": 10, "params": 20, "ratio": 1.0}
    trained = MemberRecord(name="b0", **fields, result=result, skip=None, prediction=None)
    skip = SkipReason(case="max_flops_multiple", flops_ratio=9.5, limit=4.0)
    predicted = MemberRecord(name="b1", **fields, result=None, skip=skip, prediction=point)
    control = ControlRecord(
        name="efficientnet_b0",
        kind="published",
        source="efficientnet_b0",
        coefficients=None,
        phi=None,
        family_member="b0",
        network=ControlNetwork(
            spec=B0, network_id=B0.network_id, flops=385814752, params=5288548, ratio=1.0
        ),
        result=None,
        skip=SkipReason(case="same_network", member="b0"),
        comparison=None,
    )
    return ValidationFile(
        metric="balanced_accuracy",
        members=(trained, predicted),
        gain=None,
        controls=(control,),
        curve=None,
        num_trained_sizes=1,
        compound=CompoundVerdict(family_member=None, wins=None),
    )


def user_baseline():
    return BaselineFile(
        spec=B0,
        network_id=B0.network_id,
        flops=385814752,
        params=5288548,
        latency_ms=None,
        source="efficientnet_b0",
        selection=None,
    )


def user_coefficients():
    return CoefficientsFile(
        alpha=1.2, beta=1.1, gamma=1.15, divisor=8, rounding="ceil", source="cats", race=None
    )


@pytest.mark.parametrize("suffix", ["yaml", "json"])
@pytest.mark.parametrize(
    "artifact",
    [SAMPLE, family_member(), validation_file(), user_baseline(), user_coefficients()],
    ids=lambda artifact: artifact.FORMAT,
)
def test_a_file_reads_back_equal(tmp_path, artifact, suffix):
    path = tmp_path / f"file.{suffix}"
    artifact.write(path)
    assert type(artifact).read(path) == artifact
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_file_begins_with_its_format_and_version(tmp_path):
    SAMPLE.write(tmp_path / "file.yaml")
    lines = (tmp_path / "file.yaml").read_text().splitlines()
    assert lines[:2] == ["format: phinas/sample", "version: 2"]
    SAMPLE.write(tmp_path / "file.json")
    assert list(json.loads((tmp_path / "file.json").read_text()))[:2] == ["format", "version"]


def test_a_network_is_a_spec_in_memory_and_plain_data_in_the_file(tmp_path):
    SAMPLE.write(tmp_path / "file.yaml")
    assert read_yaml(tmp_path / "file.yaml")["spec"] == B0.to_dict()
    assert Sample.read(tmp_path / "file.yaml").spec == B0


def damaged(path, **changes):
    """The sample with these keys; a key with the value None is left out."""
    data = SAMPLE.to_file_dict() | changes
    path.write_text(dump_yaml({key: value for key, value in data.items() if value is not None}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, r"format version 3 is newer than this phinas reads \(2\); upgrade phinas"),
        (
            {"version": 1},
            r"format version 1 is older than this phinas reads \(2\); use the phinas version",
        ),
        ({"version": None}, "version: is missing; restore the file"),
        ({"version": "2"}, "version: '2' is not a version number"),
        ({"format": None}, "format: is missing"),
        ({"format": "phinas/other"}, "format: 'phinas/other' is not 'phinas/sample'"),
        ({"cuont": 1}, r"cuont: unknown key \(did you mean 'count'\?\); restore the file"),
        ({"count": None}, "count: is missing; restore the file"),
        ({"count": 1.5}, "count: 1.5 is not a whole number"),
        ({"count": True}, "count: True is not a whole number"),
        ({"count": "1"}, "count: '1' is not a whole number"),
        ({"rows": {}}, "rows: {} is not a list"),
        ({"rows": [1]}, "rows.0: 1 is not a mapping of keys"),
        ({"rows": [{"name": "a"}]}, "rows.0.score: is missing"),
        ({"rows": [{"name": 3, "score": 1}]}, "rows.0.name: 3 is not text"),
        ({"rows": [{"name": "a", "score": float("nan")}]}, "rows.0.score: nan is not a finite"),
        ({"rows": [{"name": "a", "score": 1, "scor": 1}]}, r"rows.0.scor: unknown key \(did you"),
        ({"rows": [{"name": "a", "score": 1, "interval": [1]}]}, "rows.0.interval.1: is missing"),
        ({"spec": {"stages": []}}, "spec: stages: "),
    ],
)
def test_any_damage_is_one_error_with_file_field_value_and_remedy(tmp_path, changes, message):
    path = damaged(tmp_path / "file.yaml", **changes)
    with pytest.raises(InputError, match=message) as caught:
        Sample.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("file.yaml", b"count: [1", "line 1, column"),
        ("file.yaml", b"", "is not a mapping of keys"),
        ("file.yaml", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("file.json", b"{", "Expecting property name"),
        ("file.json", b"\xff", "is not UTF-8 text"),
        ("file.json", b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_one_error(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Sample.read(path)
    assert str(caught.value).count(str(path)) == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"file\.yaml: does not exist; restore the file"):
        Sample.read(tmp_path / "file.yaml")


def test_a_directory_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        Sample.read(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_never_written(value):
    with pytest.raises(ValidationError):
        Row(name="a", score=value)


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError):
        SAMPLE.count = 2


def test_optional_numbers_of_an_excluded_reference_are_null_in_the_file():
    data = ExcludedReference(name="b0", case="not_timed", reason="no clock").to_dict()
    assert data["flops"] is data["max_cost_ratio"] is None


@pytest.mark.parametrize("value", [0.9, 10.5, 1e300])
def test_a_coefficient_outside_the_range_of_the_option_is_refused(value):
    data = user_coefficients().to_file_dict() | {"alpha": value}
    with pytest.raises(InputError, match=rf"^file: alpha: {re.escape(f'{value:g}')}"):
        CoefficientsFile.from_dict(data, source="file")

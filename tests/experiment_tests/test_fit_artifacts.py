"""The files of a fit, of prepared images and of a run's manifest survive writing and reading, and a
damaged one is refused with the field.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from phinas.experiment.artifacts.fit import (
    FitMeasurement,
    FitRecord,
    InputNormalization,
    TrainedNetwork,
)
from phinas.experiment.artifacts.manifest import (
    DatasetDescription,
    DuplicateCounts,
    EvaluatorDescription,
    FileRecord,
)
from phinas.experiment.artifacts.prepared_data import (
    DatasetSummary,
    PreparationSettings,
    PreparedDataRecord,
)
from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.experiment.errors import InputError
from phinas.experiment.manifest import describe_machine, new_manifest
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import DataSection, FitSection
from phinas.space.loading import load_spec
from phinas.space.presets import preset
from phinas.space.yaml_io import dump_yaml, read_yaml

SPEC = replace(preset("efficientnet_b0"), classes=3, channels=1, resolution=32)
SUMMARY = DatasetSummary(
    name="digits",
    classes=("a", "b", "c"),
    channels=1,
    image_size=8,
    native_size=8,
    resize_mode="crop",
    allow_flip=False,
    fingerprint="0123456789abcdef",
    train=30,
    validation=6,
    test=9,
    counts=(10, 10, 10),
    test_counts=(3, 3, 3),
    mean=(0.25,),
    std=(0.5,),
    skipped_images=("x.png: broken",),
    notes=("a note",),
    duplicates=DuplicateCounts(test_in_train=1),
    groups=(3, 2, 0),
    shared_groups=("g",),
)
SECTION = DataSection(source="digits", image_size=8)
DESCRIPTION = EvaluatorDescription(scores="the return values of mine:f", source_sha256="ab")
ARTIFACTS = {
    "fit.yaml": FitRecord(
        phinas="0.1",
        config=FitSection(spec="efficientnet_b0", data=SECTION, weights="w.safetensors"),
        spec=SPEC,
        batch_size=96,
        weights_sha256="ab",
        classifier="loaded",
        normalization=InputNormalization(mean=(0.5,), std=(0.5,), source="config.json"),
    ),
    "spec.yaml": TrainedNetwork(
        spec=SPEC,
        classes=("a", "b", "c"),
        preprocessing=Preprocessing.of_data(SUMMARY, resolution=32),
    ),
    "measurement.json": FitMeasurement(
        network_id=SPEC.network_id,
        measurement=Measurement(0.5, split="test", images=9, curve=(0.25, 0.5), device="cpu"),
        validation_images=4,
        machine=describe_machine(),
    ),
    "data.json": PreparedDataRecord(
        data=SUMMARY,
        settings=PreparationSettings.from_section(SECTION, seed=3),
        files={"test/labels.npy": FileRecord(bytes=9, sha256="ab")},
    ),
    "manifest.json": new_manifest(seed=3, goal=["search"]).model_copy(
        update={"data": SUMMARY.describe(), "evaluator": DESCRIPTION, "workers": 2}
    ),
}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_file_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    artifact, path = ARTIFACTS[name], tmp_path / name
    artifact.write(path)
    assert type(artifact).read(path) == artifact
    first_lines = path.read_text().lstrip("{\n ").splitlines()[:2]
    assert [line.strip(' ",').partition(":")[0].strip('"') for line in first_lines] == [
        "format",
        "version",
    ]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("fit.yaml", {"batch_size": "many"}, "batch_size: 'many' is not a whole number"),
        ("fit.yaml", {"classifier": "kept"}, "classifier: 'kept' is not"),
        ("spec.yaml", {"classes": 0.5}, "classes: 0.5 is not a list"),
        ("spec.yaml", {"preprocessing": {"mean": [0.5]}}, "preprocessing.image_size: is missing"),
        ("spec.yaml", {"spec": {"stages": []}}, "spec: "),
        ("measurement.json", {"measurement": {"score": 2.0}}, "measurement: score: 2.0 is not"),
        ("measurement.json", {"measurement": {}}, "measurement: "),
        ("measurement.json", {"measurement": 1}, "measurement: is not a mapping of keys"),
        ("data.json", {"settings": {"seed": 0}}, "settings.source: is missing"),
        ("manifest.json", {"workers": -1}, "workers: -1 is less than 0"),
    ],
)
def test_a_damaged_file_is_refused_with_file_and_field(
    name: str, change: dict[str, object], message: str, tmp_path: Path
) -> None:
    artifact = ARTIFACTS[name]
    path = tmp_path / f"{Path(name).stem}.yaml"
    path.write_text(dump_yaml(artifact.to_file_dict() | change))
    with pytest.raises(InputError) as caught:
        type(artifact).read(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_the_network_of_a_fit_loads_like_any_spec_file(tmp_path: Path) -> None:
    ARTIFACTS["spec.yaml"].write(tmp_path / "spec.yaml")
    assert load_spec(str(tmp_path / "spec.yaml")) == SPEC
    assert read_yaml(tmp_path / "spec.yaml")["classes"] == ["a", "b", "c"]


def test_a_description_for_the_manifest_holds_the_counts_of_the_summary() -> None:
    assert SUMMARY.describe() == DatasetDescription(
        name="digits",
        image_size=8,
        channels=1,
        classes=3,
        train=30,
        validation=6,
        test=9,
        fingerprint="0123456789abcdef",
        duplicates=DuplicateCounts(test_in_train=1),
        skipped_images=("x.png: broken",),
    )


def test_the_first_difference_of_two_preparations_is_named_with_both_values() -> None:
    settings = PreparationSettings.from_section(SECTION, seed=3)
    changed = SECTION.model_copy(update={"image_size": 4, "max_shift": 0.0})
    other = PreparationSettings.from_section(changed, seed=3)
    assert settings.first_difference(other) == ("image_size", 8, 4)
    assert settings.first_difference(settings) is None


def test_images_are_flipped_as_the_setting_says_or_as_the_data_set_allows() -> None:
    record = ARTIFACTS["fit.yaml"]
    assert isinstance(record, FitRecord)
    assert not record.flips_images(allow_flip=False)
    assert record.flips_images(allow_flip=True)
    section = SECTION.model_copy(update={"horizontal_flip": True})
    config = record.config.model_copy(update={"data": section})
    assert record.model_copy(update={"config": config}).flips_images(allow_flip=False)
    assert record.recipe.batch_size == 96

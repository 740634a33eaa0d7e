"""Tests of groups of images: splits, groups of each kind of source, dataset audit."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import phinas
from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import load_images
from phinas.training.data.prepared_dataset import PreparedData, prepare
from phinas.training.data.splits import Split, split_indices

FRAME_PATTERN = r"([^/]+)_\d+\.png$"


def split(labels: np.ndarray, groups: np.ndarray, **options: object) -> Split:
    classes = [f"class{index}" for index in range(int(labels.max()) + 1)]
    values = {"seed": 0, "validation_fraction": 0.2, "test_fraction": 0.2} | options
    return split_indices(labels, classes=classes, groups=groups, **values)


def labels_and_groups(*classes: tuple[int, ...], seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Make labels and groups of shuffled images.

    Each argument is a class: the number of images in each of its groups.
    """
    labels = np.repeat(np.arange(len(classes)), [sum(sizes) for sizes in classes])
    groups = np.concatenate(
        [
            np.repeat([f"{label}/{index}" for index in range(len(sizes))], sizes)
            for label, sizes in enumerate(classes)
        ]
    )
    order = np.random.default_rng(seed).permutation(len(labels))
    return labels[order], groups[order]


def counts(labels: np.ndarray, indices: np.ndarray) -> list[int]:
    return np.bincount(labels[indices], minlength=int(labels.max()) + 1).tolist()


def count_shared_groups(groups: np.ndarray, parts: Split) -> int:
    """Count the groups that are in more than one split."""
    groups_of_splits = [set(groups[part]) for part in vars(parts).values()]
    return sum(map(len, groups_of_splits)) - len(set.union(*groups_of_splits))


# --- the split ----------------------------------------------------------------------------------

# of each group: number of images, class, and whether the images are of two classes
GROUP_LISTS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 3), st.booleans()), min_size=30, max_size=60
)


@settings(deadline=None)
@given(GROUP_LISTS, st.integers(0, 5))
def test_no_group_is_in_two_splits_and_no_image_is_lost(group_list, seed):
    labels, groups = [0, 1] * 3, [f"both classes {index // 2}" for index in range(6)]
    for index, (size, label, both) in enumerate(group_list):
        labels += [(label + (both and image % 2)) % 2 for image in range(size)]
        groups += [f"group{index}"] * size
    labels, groups = np.array(labels), np.array(groups)
    parts = split(labels, groups, seed=seed)
    assert count_shared_groups(groups, parts) == 0
    assert sorted(np.concatenate(list(vars(parts).values())).tolist()) == list(range(len(labels)))
    assert all(min(counts(labels, part)) >= 1 for part in vars(parts).values())


def test_groups_of_one_image_are_split_like_images():
    labels = np.repeat([0, 1, 2], (500, 300, 200))
    parts = split(labels, np.arange(1000))
    assert counts(labels, parts.test) == [100, 60, 40]
    assert counts(labels, parts.validation) == [80, 48, 32]


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_split_as_evenly_as_its_groups_allow(seed):
    labels, groups = labels_and_groups(
        tuple([7, 3, 12, 5] * 10), tuple([20] * 12), tuple([1, 30] * 9)
    )
    parts = split(labels, groups, seed=seed)
    for index, target in enumerate(np.bincount(labels) * 0.2):
        largest = max(np.unique(groups[labels == index], return_counts=True)[1])
        assert abs(counts(labels, parts.test)[index] - target) <= largest / 2 + 1


def test_large_and_small_groups_are_equally_frequent_in_the_test_split():
    labels, groups = labels_and_groups(tuple([2] * 50 + [8] * 50), tuple([2] * 50 + [8] * 50))
    sizes = dict(zip(*np.unique(groups, return_counts=True), strict=True))
    test_group_sizes = [
        sizes[group]
        for seed in range(10)
        for group in set(groups[split(labels, groups, seed=seed).test])
    ]
    assert 0.4 < np.mean(np.array(test_group_sizes) == 8) < 0.6


def test_split_depends_on_the_seed_only():
    labels, groups = labels_and_groups((4,) * 20, (4,) * 20)
    first, again, other = (split(labels, groups, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_class_of_three_groups_has_one_group_in_each_split():
    labels, groups = labels_and_groups((40, 1, 9), (2,) * 100)
    parts = split(labels, groups)
    class_groups = {"0/0", "0/1", "0/2"}
    assert [len(class_groups & set(groups[part])) for part in vars(parts).values()] == [1] * 3


def test_class_of_two_groups_is_in_the_train_split_only():
    labels, groups = labels_and_groups((9,) * 5, (50, 50), (4,) * 9)
    parts = split(labels, groups)
    assert [counts(labels, part)[1] for part in (parts.train, parts.validation, parts.test)] == [
        100,
        0,
        0,
    ]
    assert all(min(counts(labels, part)[::2]) >= 1 for part in vars(parts).values())


def test_group_with_an_image_of_a_small_class_is_in_the_train_split():
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    for seed in range(10):
        parts = split(labels, groups, seed=seed)
        assert {0, 10} <= set(parts.train.tolist())
        assert count_shared_groups(groups, parts) == 0


def test_small_classes_are_refused_where_only_one_other_class_is_left():
    labels, groups = labels_and_groups((9,) * 5, (50, 50))
    with pytest.raises(InputError, match=r"fewer than 3 groups in class 'class1', but two classes"):
        split(labels, groups)


def test_two_groups_of_a_class_are_sufficient_without_a_test_split():
    labels, groups = labels_and_groups((9,) * 5, (50, 50))
    parts = split(labels, groups, test_fraction=0.0)
    assert len(parts.test) == 0
    assert [counts(labels, part)[1] for part in (parts.train, parts.validation)] == [50, 50]


def test_classes_that_share_all_their_groups_are_split_together():
    groups = np.repeat(np.arange(30), 4)
    labels = np.tile([0, 0, 1, 2], 30)
    assert counts(labels, split(labels, groups).test) == [12, 6, 6]


def groups_with_classes(*groups: str) -> tuple[np.ndarray, np.ndarray]:
    """Make labels and groups; a group has one image of each class in its string of letters."""
    labels = [ord(name) - ord("a") for names in groups for name in names]
    return np.array(labels), np.array([index for index, names in enumerate(groups) for _ in names])


def test_split_with_all_classes_in_each_part_is_found_if_few_such_splits_exist():
    labels, groups = groups_with_classes("c", "ac", "b", "d", "abcd", "abd")
    assert all(counts(labels, part).count(0) == 0 for part in vars(split(labels, groups)).values())


def test_groups_that_cannot_be_split_with_all_classes_in_each_part_are_refused():
    # classes b, c and d have three groups each, and any two of these groups have a common class
    labels, groups = groups_with_classes("abc", "abd", "acd", "bcd", "a")
    with pytest.raises(
        InputError, match=r"none of 20 random .* \(the last one lacked class 'class"
    ):
        split(labels, groups)


def test_rare_classes_are_split_as_evenly_as_common_ones():
    errors = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        sizes = generator.integers((20, 0, 0), (100, 20, 4), (80, 3)) * (
            generator.random((80, 3)) < (1, 0.5, 0.3)
        )
        labels, groups = (
            np.tile(np.arange(3), 80).repeat(sizes.ravel()),
            np.arange(80).repeat(sizes.sum(axis=1)),
        )
        errors.append(
            abs(
                np.array(counts(labels, split(labels, groups, seed=seed).test)) / sizes.sum(axis=0)
                - 0.2
            )
        )
    assert (np.mean(errors, axis=0) < 0.03).all()


def test_smallest_groups_are_assigned_if_all_groups_exceed_the_target():
    labels, groups = labels_and_groups((30, 10, 60), (1,) * 100)
    parts = split(labels, groups, test_fraction=0.05, validation_fraction=0.05)
    assert [counts(labels, part)[0] for part in (parts.test, parts.validation)] == [10, 30]


def test_higher_train_limit_only_adds_images():
    labels, groups = labels_and_groups((5,) * 20, (3,) * 30)
    few, many = (
        split(labels, groups, max_train_images=20),
        split(labels, groups, max_train_images=50),
    )
    assert len(few.train) == 20
    assert set(few.train) < set(many.train)
    assert np.array_equal(few.validation, many.validation)
    assert np.array_equal(few.test, many.test)


# --- the groups of a source --------------------------------------------------------------------


def write_folders(root: Path, *, items: int = 5, frames: int = 3) -> Path:
    noise = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for item in range(items):
            for frame in range(frames):
                pixels = noise.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / f"{name}{item}_{frame}.png")
    return root


def write_parquet(path: Path, groups: list[object] | pa.Array, source: Path) -> Path:
    files = sorted(source.rglob("*.png"))[: len(groups)]
    labels = [int(file.parent.name == "dog") for file in files]
    pq.write_table(
        pa.table(
            {"image": [file.read_bytes() for file in files], "label": labels, "animal": groups}
        ),
        path,
    )
    return path


def write_npz(path: Path, *, test: bool = False, **arrays: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
    test_arrays = {"x_test": 255 - pixels[:8], "y_test": np.arange(8) % 2} if test else {}
    np.savez(path, x=pixels, y=np.arange(40) % 2, **test_arrays, **arrays)
    return path


def prepared(source: object, directory: Path, **options: object) -> PreparedData:
    section = DataSection.model_validate({"source": str(source)} | options)
    return prepare(section, seed=0, directory=directory)


def load_error_of(source: object, group_by: str) -> str:
    with pytest.raises(InputError) as caught:
        load_images(DataSection(source=str(source), group_by=group_by))
    return str(caught.value)


def test_pattern_captures_the_group_in_the_path_of_an_image(tmp_path):
    data = load_images(DataSection(source=str(write_folders(tmp_path)), group_by=FRAME_PATTERN))
    assert data.train.groups.tolist() == [
        f"{name}{item}" for name in ("cat", "dog") for item in range(5) for _ in range(3)
    ]


def test_column_of_a_parquet_file_is_the_group(tmp_path):
    path = write_parquet(
        tmp_path / "x.parquet", list(range(100, 130)), write_folders(tmp_path / "pets")
    )
    assert load_images(
        DataSection(source=str(path), group_by="animal")
    ).train.groups.tolist() == list(map(str, range(100, 130)))


def test_key_of_an_npz_is_the_group(tmp_path):
    source = write_npz(tmp_path / "x.npz", patient=np.arange(40) // 2)
    assert load_images(DataSection(source=str(source), group_by="patient")).train.groups[
        :4
    ].tolist() == ["0", "0", "1", "1"]


def test_column_of_a_hub_data_set_is_the_group(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    (tmp_path / "set").mkdir()
    path = write_parquet(
        tmp_path / "set" / "train.parquet", list("abc") * 10, write_folders(tmp_path / "pets")
    )
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": ["cat", "dog"]},
        "animal": {"_type": "Value", "dtype": "string"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    data = load_images(DataSection(source=f"hf:{path.parent}", group_by="animal"))
    assert data.train.groups.tolist() == list("abc") * 10
    assert "has no column 'beast'" in load_error_of(f"hf:{path.parent}", "beast")


def test_skipped_images_are_removed_from_the_groups(tmp_path):
    (write_folders(tmp_path) / "cat" / "cat0_1.png").write_bytes(b"")
    section = DataSection(source=str(tmp_path), group_by=FRAME_PATTERN, skip_bad_images=True)
    assert load_images(section).train.groups.tolist()[:3] == ["cat0", "cat0", "cat1"]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", r"'\(' is not a regular expression \(missing"),
        (r"\d+", "has 0 capturing groups, not one"),
        (r"(\d)_(\d)", "has 2 capturing groups, not one"),
        (
            r"(dog\d)",
            r"finds no group in 15 of 30 paths: cat/cat0_0\.png, .* and 10 more; change it",
        ),
        (r"dog|(cat)", "finds no group in 15 of 30 paths: dog/dog0_0"),
    ],
)
def test_unsuitable_pattern_is_refused(tmp_path, pattern, reason):
    assert re.search(reason, load_error_of(write_folders(tmp_path), pattern))


def test_missing_column_or_key_is_refused_with_the_existing_ones(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", ["a"] * 30, write_folders(tmp_path / "pets"))
    message = load_error_of(path, "patient")
    assert "has no column 'patient'; use one of: image, label, animal" in message
    assert "has no key 'patient'; use one of: x, y" in load_error_of(
        write_npz(tmp_path / "x.npz"), "patient"
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a", None] * 15, "row 1 has no value; add it"),
        (["a", ""] * 15, "row 1 has no value"),
        ([0.5] * 30, "row 0 is a float, not text or an integer"),
        ([[1]] * 30, "row 0 is a list"),
    ],
)
def test_values_that_are_not_groups_are_refused(tmp_path, values, reason):
    assert reason in load_error_of(
        write_parquet(tmp_path / "x.parquet", values, write_folders(tmp_path / "pets")), "animal"
    )


def test_npz_key_of_another_length_is_refused(tmp_path):
    assert "patient: shape (39,) is not (40,)" in load_error_of(
        write_npz(tmp_path / "x.npz", patient=np.arange(39)), "patient"
    )


def test_groups_of_digits_are_refused():
    assert (
        "data.group_by: 'writer' has no effect, because digits has no groups; remove it"
        in load_error_of("digits", "writer")
    )


# --- prepared data and the dataset audit -------------------------------------------------------


def test_prepared_splits_share_no_group(tmp_path):
    data = prepared(
        write_folders(tmp_path / "pets", items=6), tmp_path / "out", group_by=FRAME_PATTERN
    )
    assert (data.train, data.validation, data.test) == (24, 6, 6)
    assert data.groups == (8, 2, 2)
    assert data.shared_groups == ()


def test_data_prepared_with_another_group_by_are_refused(tmp_path):
    write_folders(tmp_path / "pets", items=6)
    prepared(tmp_path / "pets", tmp_path / "out")
    with pytest.raises(InputError, match="prepared with group_by None and"):
        prepared(tmp_path / "pets", tmp_path / "out", group_by=FRAME_PATTERN)


def test_groups_in_both_train_and_the_official_test_split_are_a_problem(tmp_path):
    write_folders(tmp_path / "pets" / "train", items=6)
    write_folders(tmp_path / "pets" / "test", items=1)
    result = phinas.audit(tmp_path / "pets", group_by=r"([^/]+)_\d+\.png$", quiet=True)
    assert result.dataset.shared_groups == ("cat0", "dog0")
    assert "2 groups of the test split are also in train or validation (cat0, dog0)" in " ".join(
        result.problems
    )


def test_test_groups_of_an_npz_are_read_from_the_key_with_test_in_it(tmp_path):
    patients = {"group_train": np.arange(40) // 2, "group_test": np.arange(8) + 18}
    data = prepared(
        write_npz(tmp_path / "x.npz", test=True, **patients),
        tmp_path / "out",
        group_by="group_train",
    )
    assert data.groups == (16, 4, 8)
    assert data.shared_groups == ("18", "19")


def test_unknown_groups_of_a_test_split_are_not_counted(tmp_path):
    source = write_npz(tmp_path / "x.npz", test=True, patient=np.arange(40) // 2)
    assert prepared(source, tmp_path / "out", group_by="patient").groups == (16, 4, 0)


def test_audit_command_reports_the_groups_of_each_split(tmp_path, capsys):
    write_folders(tmp_path / "pets", items=6)
    assert run_command(cli, ["audit", str(tmp_path / "pets"), "--group-by", FRAME_PATTERN]) == 0
    stdout = capsys.readouterr().out
    assert "groups: 8 train, 2 validation, 2 test" in stdout
    assert "independent errors; more where errors within a group are not independent)" in stdout

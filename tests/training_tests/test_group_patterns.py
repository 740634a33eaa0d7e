"""Tests of patterns for data.group_by that the names of images suggest."""

import re

import numpy as np
import pytest

from phinas.training.data.audit.group_patterns import (
    find_mixed_groups,
    propose_pattern,
    with_folder,
)
from phinas.training.data.grouped_split import groups_from_paths


def make_paths(template: str, *, classes: int = 3, items: int = 5, frames: int = 4):
    """Paths and labels of images of several frames of each item of each class."""
    rows = [
        (template.format(label=label, item=item, frame=frame), label)
        for label in range(classes)
        for item in range(items + label)
        for frame in range(frames)
    ]
    return [path for path, _ in rows], np.array([label for _, label in rows])


@pytest.mark.parametrize(
    "template",
    [
        "{label:05d}/{item:05d}_{frame:05d}.ppm",
        "train/cat{label}/{item}-{frame}.jpg",
        "c{label}/{item:03d}_{frame}.png",
    ],
)
def test_numbers_that_start_again_in_each_class_are_groups_of_the_class(template):
    paths, labels = make_paths(template)
    groups = groups_from_paths(paths, propose_pattern(paths, labels))
    assert len(set(groups)) == 5 + 6 + 7
    assert not find_mixed_groups(groups, labels)


def test_names_that_occur_in_several_classes_are_one_group():
    paths, labels = make_paths("c{label}/patient{item:02d}x_{frame}.png")
    groups = groups_from_paths(paths, propose_pattern(paths, labels))
    assert set(groups) == {f"patient{item:02d}x" for item in range(7)}
    assert find_mixed_groups(groups, labels)["patient05x"] == [1, 2]


@pytest.mark.parametrize(
    "template",
    [
        "c{label}/IMG_{item}{frame}.jpg",
        "c{label}/c{label}_{item}{frame}.jpg",
        "c{label}/{item}.{frame}.png",
    ],
)
def test_numbered_photos_show_no_groups(template):
    paths, labels = make_paths(template)
    assert propose_pattern(paths, labels) == ""


@pytest.mark.parametrize("suffix", ["_flip", " (1)", "-small", " copy"])
def test_pairs_that_look_alike_are_evidence_for_a_pattern(suffix):
    paths = [
        f"c{label}/photo{item}{end}.jpg"
        for label in range(3)
        for item in range(9)
        for end in ("", suffix)
    ]
    labels = np.repeat(np.arange(3), 18)
    assert propose_pattern(paths, labels) == ""
    pairs = np.arange(len(paths)).reshape(-1, 2)
    groups = groups_from_paths(paths, propose_pattern(paths, labels, pairs))
    assert np.array_equal(groups[::2], groups[1::2])
    assert len(set(groups)) == len(paths) // 2


def test_pairs_with_unrelated_names_suggest_no_pattern():
    paths = [f"c{index % 3}/{chr(97 + index)}.jpg" for index in range(26)]
    pairs = np.arange(26).reshape(-1, 2)
    assert propose_pattern(paths, np.arange(26) % 3, pairs) == ""


def test_folder_is_added_to_a_pattern_without_one():
    pattern = with_folder(r"([^/]+)_\d+\.png$")
    assert re.search(pattern, "cat/00001_7.png")[1] == "cat/00001"
    assert with_folder(r"([^/]+/[^/]+)_\d+\.png$") == ""
    assert with_folder(r"a(\d+)b") == ""

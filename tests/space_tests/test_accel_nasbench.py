"""Tests of parameters and multiply-adds of all Accel-NASBench networks against published values.

The records have both in millions with six decimals, so they are exact.
"""

import json
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from phinas.nas.evaluators.accel_nasbench_surrogate import record_to_choices
from phinas.space.flop_conventions import count_flops
from phinas.space.presets import preset
from phinas.space.search_spaces.cost_tables import METRICS, CostTables
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices

ARCHIVE = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "data"
    / "accel-nasbench"
    / "anb_dataset_jsons.tar.gz"
)
RECORDS = 5138
SPACE = load_space("accel_nasbench")

pytestmark = pytest.mark.skipif(
    not ARCHIVE.is_file(), reason=f"the released measurements are not at {ARCHIVE}"
)


@cache
def records() -> list[tuple[Choices, dict[str, float]]]:
    """Return of each record the choices and the published description of the network."""
    rows = []
    with tarfile.open(ARCHIVE, "r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".json") else None
            if stream:
                record = json.load(stream)
                rows.append((record_to_choices(record["architecture"]), record["model_info"]))
    return rows


def test_thirteen_records_are_of_a_network_of_another_record():
    assert len(records()) == RECORDS
    assert len({SPACE.decode(choices).network_id for choices, _ in records()}) == RECORDS - 13


def test_parameters_of_every_record_are_reproduced_exactly():
    actual = [SPACE.decode(choices).cost().params / 1e6 for choices, _ in records()]
    assert actual == [published["params"] for _, published in records()]


def test_parameters_of_every_record_are_reproduced_exactly_by_the_tables():
    actual = CostTables(SPACE).batch_costs(
        np.array([SPACE.to_indices(choices) for choices, _ in records()])
    )
    assert list(actual[:, METRICS.index("params")] / 1e6) == [
        published["params"] for _, published in records()
    ]


def test_multiply_adds_of_every_record_are_reproduced_exactly_by_the_convention_of_thop():
    actual = [
        count_flops(SPACE.decode(choices), "torchvision")["thop"] / 1e6 for choices, _ in records()
    ]
    assert actual == [published["macs"] for _, published in records()]


def test_count_of_thop_for_b0_exceeds_its_multiply_adds():
    b0 = preset("efficientnet_b0")
    assert (b0.cost().flops, count_flops(b0, "torchvision")["thop"]) == (
        385_814_752,
        415_145_024,
    )

"""Parameters and multiply-adds of every network that Accel-NASBench measured, against the numbers
its authors published.

Their records give both in millions with six decimals: to one parameter, to one operation.
"""

import json
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from phinas.nas.evaluators.accel_nasbench import choices_of
from phinas.space.cost import cost
from phinas.space.flop_conventions import counts
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
    """Each record's choices, and what its authors say of the network."""
    found = []
    with tarfile.open(ARCHIVE, "r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".json") else None
            if stream:
                record = json.load(stream)
                found.append((choices_of(record["architecture"]), record["model_info"]))
    return found


def test_thirteen_of_the_records_measure_a_network_again():
    assert len(records()) == RECORDS
    assert len({SPACE.decode(choices).spec_id for choices, _ in records()}) == RECORDS - 13


def test_parameters_of_every_record_are_reproduced_exactly():
    found = [cost(SPACE.decode(choices)).params / 1e6 for choices, _ in records()]
    assert found == [said["params"] for _, said in records()]


def test_parameters_of_every_record_are_reproduced_exactly_by_the_tables():
    found = CostTables(SPACE).batch(np.array([SPACE.indices(choices) for choices, _ in records()]))
    assert list(found[:, METRICS.index("params")] / 1e6) == [
        said["params"] for _, said in records()
    ]


def test_multiply_adds_of_every_record_are_reproduced_exactly_in_the_convention_of_its_authors():
    found = [counts(SPACE.decode(choices), "torchvision")["thop"] / 1e6 for choices, _ in records()]
    assert found == [said["macs"] for _, said in records()]


def test_their_count_of_b0_is_above_its_multiply_adds():
    b0 = preset("efficientnet_b0")
    assert (cost(b0).flops, counts(b0, "torchvision")["thop"]) == (385_814_752, 415_145_024)

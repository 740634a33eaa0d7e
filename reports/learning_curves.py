"""The learning curves of all trainings of a run as a data frame."""

from collections.abc import Iterator

import pandas as pd

from phinas.experiment.storage.trial_record import TrialRecord
from phinas.reports.frame_columns import make_dataframe
from phinas.reports.run_data import STUDIES, RunData

_CURVE_COLUMNS = (
    *("stage", "trial", "state", "network_id", "flops", "seed", "epoch", "score", "metric"),
)


def make_curves_dataframe(run_data: RunData) -> pd.DataFrame:
    """Make a row for each epoch of each training, in the order of the stages."""
    rows = [
        row
        for stage in STUDIES
        for record in run_data.trial_records[stage]
        for row in _make_rows(record, stage, metric=run_data.metric)
    ]
    return make_dataframe(rows, _CURVE_COLUMNS)


def _make_rows(record: TrialRecord, stage: str, *, metric: str) -> Iterator[dict[str, object]]:
    """The rows of one training.

    Args:
        record: The training.
        stage: The study that it is in.
        metric: The configured metric, for a training without a measurement.
    """
    measurement = record.measurement if record.has_measurement else None
    attributes = {
        "stage": stage,
        "trial": record.number,
        "state": record.state.name.lower(),
        "network_id": record.network_id,
        "flops": record.flops,
        "seed": measurement.seed if measurement else record.seed,
        "metric": measurement.metric if measurement else metric,
    }
    for epoch, score in record.intermediate_values.items():
        yield attributes | {"epoch": epoch, "score": score}

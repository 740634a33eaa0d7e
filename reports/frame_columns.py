"""Data frames with fixed columns and types, also where there are no rows.

A number that is not known is missing (`NaN` or `pandas.NA`), never 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

_INTEGER_COLUMNS = (
    *("flops", "params", "activations", "images", "epochs", "epoch", "micro_batch_size"),
    *("peak_memory_bytes", "seed", "proposal", "num_rejected", "attempts", "trial"),
    *("resolution", "num_diverged"),
)
_BOOLEAN_COLUMNS = (
    *("on_front", "finalist", "baseline", "tied_with_selected", "tied", "winner", "validated"),
)
_FLOAT_COLUMNS = (
    *("reward", "search_reward", "score", "balanced_accuracy", "top5", "loss", "expected_score"),
    *("train_seconds", "images_per_second", "ratio", "adjusted_score", "short_run_score"),
    *("score_gap", "score_gap_low", "score_gap_high", "probability_of_best"),
    *("alpha", "alpha_low", "alpha_high", "beta", "beta_low", "beta_high"),
    *("gamma", "gamma_low", "gamma_high", "phi", "dropout"),
    *("depth_factor", "width_factor", "resolution_factor"),
    *("low", "high", "predicted", "predicted_low", "predicted_high", "extrapolation"),
    *("difference", "difference_low", "difference_high", "flops_adjustment"),
)
_COLUMN_TYPES = (
    dict.fromkeys(_INTEGER_COLUMNS, "Int64")
    | dict.fromkeys(_BOOLEAN_COLUMNS, "boolean")
    | dict.fromkeys(_FLOAT_COLUMNS, "float64")
)


def make_dataframe(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Make a data frame: `columns` first, then those that only some rows have.

    A column of `columns` has the same type in every frame, also where all its values are missing.
    Those that are in none of the lists above are text.
    """
    extra_columns = dict.fromkeys(name for row in rows for name in row if name not in columns)
    dataframe = pd.DataFrame(rows, columns=[*columns, *extra_columns])
    types = dict.fromkeys(columns, "string") | _COLUMN_TYPES
    return dataframe.astype({name: kind for name, kind in types.items() if name in dataframe})

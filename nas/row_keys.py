"""Distinct rows of indices, each of which represents a network."""

import numpy as np
from numpy.typing import NDArray

from phinas.space.search_spaces.inactive_choices import Indices


def unique_row_indices(indices: Indices) -> NDArray[np.intp]:
    """The index of the first occurrence of each distinct row, in an order that depends on the rows
    only.
    """
    return np.unique(_as_void(indices), return_index=True)[1]


def row_keys(indices: Indices) -> list[bytes]:
    """A key for each row. Equal rows have equal keys."""
    return _as_void(indices).tolist()


def _as_void(indices: Indices) -> NDArray[np.void]:
    rows = np.ascontiguousarray(indices, dtype=np.int16)
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()

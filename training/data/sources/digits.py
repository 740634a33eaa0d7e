"""The handwritten digits of scikit-learn."""

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.source_dataset import ArrayDataset

MAX_LEVEL = 16  # scikit-learn's levels are 0 to 16


def load_digits(source: str = "digits", *, group_by: str | None = None) -> ArrayDataset:
    """Load the 1,797 images of 8 x 8 px with one channel, their levels scaled to 0..255.

    Raises:
        InputError: `group_by` is set. The data set does not say who wrote a digit.
    """
    if group_by is not None:
        raise InputError(
            f"data.group_by: is {group_by!r}, but {source} has no groups; remove data.group_by"
        )
    # scikit-learn takes long to import.
    from sklearn import datasets

    data = datasets.load_digits()
    pixels = np.rint(data.images * (255 / MAX_LEVEL)).astype(np.uint8)[..., None]
    classes = tuple(map(str, range(10)))
    # Mirrored digits are not digits.
    return ArrayDataset(
        classes, (pixels, data.target.astype(np.int64)), test=None, allow_flip=False
    )

"""The handwritten digits of scikit-learn."""

import numpy as np

from phinas.training.data.source_dataset import ArrayDataset, LabeledImages, ReadOptions

MAX_LEVEL = 16  # scikit-learn's levels are 0 to 16


def load_digits(source: str, options: ReadOptions) -> ArrayDataset:
    """Load the 1,797 images of 8 x 8 px with one channel, their levels scaled to 0..255.

    Raises:
        InputError: An option is set. The data set does not say who wrote a digit.
    """
    options.refuse(source, "group_by", reason="has no groups")
    options.refuse(source, "image_column", "label_column", reason="has no columns")
    # scikit-learn takes long to import.
    from sklearn import datasets

    data = datasets.load_digits()
    pixels = np.rint(data.images * (255 / MAX_LEVEL)).astype(np.uint8)[..., None]
    classes = tuple(map(str, range(10)))
    # Mirrored digits are not digits.
    return ArrayDataset(
        classes, LabeledImages(pixels, data.target.astype(np.int64)), allow_flip=False
    )

"""One BLAS thread for the surrogate's linear algebra.

The matrices have a few hundred rows, for which several threads are slower. Measured on two cores,
tuning took 1.2 s with one thread and 13 s with two, which wait for each other whenever another
process runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    # NumPy and SciPy have a BLAS each. The controller finds only those that are loaded.
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread in a `with` block or a decorated function, and restore it after."""
    with _controller().limit(limits=1, user_api="blas"):
        yield

"""One BLAS thread for the surrogate's linear algebra.

Its matrices have a few hundred rows, where threads cost more than they save: measured on two
cores, tuning took 1.2 s with one thread and 13 s with two, which wait for each other whenever the
machine does anything else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    # numpy and scipy bring a BLAS each; both must be loaded before they can be found.
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread in a `with` block or a decorated function; restored afterwards."""
    with _controller().limit(limits=1, user_api="blas"):
        yield

"""What the suites of executors share: each of them by name, with one Ray for all."""

from contextlib import closing

import pytest

from phinas.experiment.executors import EXECUTORS


@pytest.fixture(scope="session")
def ray_on_two_cores():
    """One Ray for all tests: starting it takes seconds. The first executor starts it, those of the
    tests join it.
    """
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with closing(EXECUTORS["ray"](2)):
        yield


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name == "ray" else []) for name in EXECUTORS
    ],
)
def name(request):
    if request.param == "ray":
        request.getfixturevalue("ray_on_two_cores")
    return request.param

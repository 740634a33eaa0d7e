"""Fixtures of the executor conformance suite: the name of each executor, and one Ray session."""

from contextlib import closing

import pytest

from phinas.experiment.executors import EXECUTORS


@pytest.fixture(scope="session")
def ray_on_two_cores():
    """A Ray session, which the executors of all tests join, since starting one takes seconds."""
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

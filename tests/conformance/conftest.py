"""What the suites of executors share: each of them by name, with one Ray for a module."""

import pytest

from phinas.experiment.executors import EXECUTORS


@pytest.fixture(scope="module")
def ray_on_two_cores():
    """One Ray for all tests of a module: starting it takes seconds."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level="error",
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(params=EXECUTORS)
def name(request):
    if request.param == "ray":
        request.getfixturevalue("ray_on_two_cores")
    return request.param

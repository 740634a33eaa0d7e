"""The connection to a Ray cluster, without the endless waits of Ray.

Ray waits forever for an address that answers but is no Ray cluster, so another process tries it
first. And it ends the process 60 s after the head of the cluster is lost, so the connection to the
head is tested all the time and raises an error before that.
"""

import os
import re
import socket
import subprocess
import sys
import time
from typing import Any

from phinas.experiment.errors import InputError, StorageError

CONNECT_SECONDS = 10.0
# For the start of a process that connects to the cluster.
_INIT_SECONDS = 18.0
# Less than the 60 s of Ray, with time to stop the run.
HEAD_LOST_SECONDS = 20.0
HEAD_TEST_SECONDS = 2.0
_CONNECT_CODE = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="error", log_to_driver=False)
ray.cluster_resources()
"""


class Head:
    """The connection to the head of a cluster.

    Attributes:
        is_lost: Whether the head was lost. Ray cannot be used any more.
    """

    def __init__(self, ray: Any) -> None:
        self.is_lost = False
        client_address = os.environ.get("RAY_ADDRESS", "")
        self._address = (
            client_address.removeprefix("ray://")
            if client_address.startswith("ray://")
            else ray.get_runtime_context().gcs_address
        )
        self._last_answer = self._last_test = time.monotonic()

    def require_connection(self) -> None:
        """Test the connection, at most once in `HEAD_TEST_SECONDS`.

        Raises:
            StorageError: The head has not answered for HEAD_LOST_SECONDS.
        """
        if time.monotonic() - self._last_test >= HEAD_TEST_SECONDS:
            self._test()

    def wait_for_connection(self) -> None:
        """Wait until the head answers.

        Raises:
            StorageError: The head has not answered for HEAD_LOST_SECONDS.
        """
        while not self._test():
            time.sleep(HEAD_TEST_SECONDS)

    def _test(self) -> bool:
        self._last_test = time.monotonic()
        try:
            _test_port(self._address, seconds=HEAD_TEST_SECONDS)
        except OSError as error:
            if self._last_test - self._last_answer < HEAD_LOST_SECONDS:
                return False
            self.is_lost = True
            raise StorageError(
                f"the head of the Ray cluster at {self._address} was lost "
                f"({error.strerror or error}); start the cluster again, then `phinas resume`"
            ) from None
        self._last_answer = self._last_test
        return True


def _test_port(address: str, *, seconds: float) -> None:
    """Raises OSError if nothing listens at an address of the form HOST:PORT."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()


def connect(ray: Any, max_workers: int) -> None:
    """Connect to the cluster at RAY_ADDRESS, or start one on this machine with `max_workers` cores.

    Raises:
        InputError: RAY_ADDRESS is not an address.
        StorageError: There is no Ray cluster at RAY_ADDRESS.
    """
    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address or address == "local":
        ray.init(
            address="local",
            num_cpus=max_workers,
            include_dashboard=False,
            logging_level="error",
            log_to_driver=False,
        )
        return
    if address != "auto":
        if not re.fullmatch(r"(ray://)?[^/]+:\d{1,5}", address):
            raise InputError(
                f"RAY_ADDRESS: {address!r} is not the address of a Ray cluster; use HOST:PORT such "
                "as 10.0.0.1:6379, ray://HOST:10001 or auto, or unset it"
            )
        try:
            _test_port(address.removeprefix("ray://"), seconds=CONNECT_SECONDS)
        except (OSError, OverflowError) as error:
            raise StorageError(
                f"RAY_ADDRESS: {address} does not answer ({error}); start the cluster or unset "
                "RAY_ADDRESS"
            ) from None
    _require_ray(address)
    ray.init(address=address, logging_level="error", log_to_driver=False)


def _require_ray(address: str) -> None:
    """Check in another process that an address is a Ray cluster. Here, Ray could wait forever.

    Raises:
        StorageError: It is none.
    """
    try:
        result = subprocess.run(
            [sys.executable, "-P", "-c", _CONNECT_CODE, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INIT_SECONDS,
            check=False,
        )
        lines = result.stderr.split("\n") if result.returncode else []
        problem = next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
        is_ray = result.returncode == 0
    except subprocess.TimeoutExpired:
        is_ray, problem = False, f"no Ray cluster answered within {_INIT_SECONDS:g} s"
    if not is_ray:
        raise StorageError(
            f"RAY_ADDRESS: {address} is not a running Ray cluster ({problem}); start the cluster, "
            "correct the address or unset RAY_ADDRESS"
        )

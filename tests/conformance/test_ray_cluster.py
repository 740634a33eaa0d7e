"""Faults of a Ray cluster: a node is lost, the head is lost, and an address that is no cluster.

The nodes are processes on this machine, each with a loopback address of its own.
"""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.executors import EXECUTORS

TRIALS = 4
HEAD, NODE = "127.0.0.2", "127.0.0.3"
EVALUATOR = """
import time
from pathlib import Path

HERE = Path(__file__).parent

def wait(spec, budget, seed):
    # until the test allows a trial to end
    (HERE / f"started_{time.time_ns()}").touch()
    deadline = time.monotonic() + 200
    while not (HERE / "end").exists() and time.monotonic() < deadline: time.sleep(0.1)
    return (int(spec.network_id, 16) % 1000) / 1000
"""


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets an executor connect, although other tests of this process use a cluster."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.parametrize("address", ["head", "10.0.0.1:", "http://10.0.0.1:6379", "10.0.0.1:x"])
def test_an_address_of_another_form_is_refused_with_examples(
    no_session: None, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=r"^RAY_ADDRESS: .* use HOST:PORT such as .* or auto"):
        EXECUTORS["ray"](1)


class _Website(BaseHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None: ...


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silent", "website", "auto"])
def test_an_address_that_is_no_ray_cluster_is_an_error_within_30_seconds(
    no_session: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    from ray._private.services import find_gcs_addresses

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        HTTPServer(("127.0.0.1", 0), _Website) as website,
    ):
        threading.Thread(target=website.serve_forever, daemon=True).start()
        ports = {"silent": silent.getsockname()[1], "website": website.server_port}
        address = f"127.0.0.1:{ports[kind]}" if kind in ports else kind
        (tmp_path / "ray_current_cluster").write_text(f"127.0.0.1:{ports['silent']}")
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where `auto` looks for a cluster
        monkeypatch.setenv("RAY_ADDRESS", address)
        if kind == "auto" and find_gcs_addresses():
            pytest.skip("`auto` finds the cluster of another test")
        start = time.monotonic()
        with pytest.raises(StorageError, match=rf"RAY_ADDRESS: {address} is not a running Ray"):
            EXECUTORS["ray"](1)
        assert time.monotonic() - start < 30
        website.shutdown()


class Cluster:
    """A Ray cluster whose nodes are processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.start_head()

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "RAY_TMPDIR": str(self._folder),
            "RAY_ADDRESS": "auto",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
        }

    def start_head(self) -> None:
        self._start("--head", "--port=0", "--include-dashboard=false", f"--node-ip-address={HEAD}")

    def add_node(self) -> None:
        address = (self._folder / "ray" / "ray_current_cluster").read_text()
        self._start(f"--address={address}", f"--node-ip-address={NODE}")

    def kill(self, address: str = "") -> None:
        """Kill the processes of the node with this address, or of all nodes."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                command = path.read_text().split("\0")
                # all processes of a cluster name its folder; workers follow their raylet
                is_ours = any(str(self._folder) in word for word in command)
                is_of_node = any(word.endswith(f"={address}") for word in command)
                if is_ours and (not address or is_of_node):
                    os.kill(int(path.parent.name), signal.SIGKILL)

    def _start(self, *arguments: str) -> None:
        options = ["--num-cpus=1", "--disable-usage-stats"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *arguments]
        subprocess.run(
            command,
            env={name: text for name, text in self.environment.items() if name != "RAY_ADDRESS"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=True,
        )


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    folder = Path(tempfile.mkdtemp(prefix="phinas-ray-"))  # sockets need a short path
    cluster = Cluster(folder)
    yield cluster
    cluster.kill()
    shutil.rmtree(folder, ignore_errors=True)


def start_search(folder: Path, cluster: Cluster, *, workers: int) -> "subprocess.Popen[str]":
    (folder / "waiting_evaluator.py").write_text(EVALUATOR)
    command = [
        sys.executable, "-m", "phinas", "search", "--space", "tiny", "--trials", str(TRIALS),
        "--evaluator", "waiting_evaluator:wait", "--out", "run", "--set=run.executor=ray",
        f"--set=run.workers={workers}", "--set=search.reference=none", "--set=search.finalists=1",
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        cwd=folder,
        env=cluster.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], driver: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert driver.poll() is None, driver.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def count_complete(run: Path) -> int:
    with closing(sqlite3.connect(run / "study.db")) as connection:
        query = (
            "SELECT count(*) FROM trials JOIN studies USING (study_id) "
            "WHERE study_name = 'search' AND state = 'COMPLETE'"
        )
        return connection.execute(query).fetchone()[0]


@pytest.mark.external
def test_a_lost_head_ends_the_run_with_an_error_and_resume_finishes_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    driver = start_search(tmp_path, cluster, workers=1)
    try:
        wait_for(lambda: any(tmp_path.glob("started_*")), driver)
        cluster.kill()
        start = time.monotonic()
        _, stderr = driver.communicate(timeout=100)
    finally:
        driver.kill()
    assert driver.returncode == 4, stderr
    assert time.monotonic() - start < 50
    assert "phinas: the head of the Ray cluster at 127.0.0.2:" in stderr
    assert "start the cluster again, then `phinas resume`" in stderr
    (tmp_path / "end").touch()
    cluster.start_head()
    result = subprocess.run(
        [sys.executable, "-m", "phinas", "resume", "run"],
        cwd=tmp_path,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert count_complete(tmp_path / "run") == TRIALS


@pytest.mark.external
def test_all_results_arrive_after_a_node_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_node()
    driver = start_search(tmp_path, cluster, workers=2)
    try:
        wait_for(lambda: len([*tmp_path.glob("started_*")]) == 2, driver)
        cluster.kill(NODE)
        (tmp_path / "end").touch()
        _, stderr = driver.communicate(timeout=250)
    finally:
        driver.kill()
    assert driver.returncode == 0, stderr
    assert count_complete(tmp_path / "run") == TRIALS


@pytest.mark.external
def test_a_start_with_too_many_workers_for_the_cluster_leaves_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    driver = start_search(tmp_path, cluster, workers=64)
    _, stderr = driver.communicate(timeout=100)
    assert driver.returncode == 2, stderr
    assert "64 is more than the 1 CPU cores of the Ray cluster" in stderr
    assert not (tmp_path / "run").exists()

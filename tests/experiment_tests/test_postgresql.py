"""Runs that record their trials in PostgreSQL: restarts of the server, and passwords.

The tests start a server of their own, as a user without rights, on loopback, in a temporary folder.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from phinas.experiment.errors import StorageError
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage import reconnection
from phinas.experiment.storage.database_url import hide_passwords, split_password
from phinas.experiment.storage.study_storage import StudyStorage, open_storage

PASSWORD = "p@ss/w:rd#?&x"
TRIALS = 6
EVALUATOR = """
import time
def slow(spec, budget, seed):
    time.sleep(0.5)
    return (int(spec.network_id, 16) % 1000) / 1000
"""


@pytest.mark.parametrize(
    ("url", "address", "password"),
    [
        ("postgresql://me:secret@host/name", "postgresql://me@host/name", "secret"),
        ("postgresql://me:a%40b@host/name", "postgresql://me@host/name", "a@b"),
        ("postgresql://me:p@ss/w#r?d@host:1/name", "postgresql://me@host:1/name", "p@ss/w#r?d"),
        ("postgresql://me:12/3@host/name", "postgresql://me@host/name", "12/3"),
        ("postgresql://me@h/n?password=a%20b&port=1", "postgresql://me@h/n?port=1", "a b"),
        ("postgresql://me@h/n?sslmode=allow&password=x", "postgresql://me@h/n?sslmode=allow", "x"),
        ("postgresql:///n?host=/run&password=x", "postgresql:///n?host=/run", "x"),
        ("postgresql://me@host:5432/name", "postgresql://me@host:5432/name", None),
        ("postgresql://host:54/name?options=a@b", "postgresql://host:54/name?options=a@b", None),
        ("sqlite:////folder/study.db", "sqlite:////folder/study.db", None),
        ("nonsense", "nonsense", None),
    ],
)  # fmt: skip
def test_a_url_is_split_into_address_and_password(
    url: str, address: str, password: str | None
) -> None:
    assert split_password(url) == (address, password)
    hidden = hide_passwords(f"run.storage={url}")
    assert (hidden == f"run.storage={url}") is (password is None)
    assert password is None or ("***" in hidden and password not in hidden)


class Server:
    """A PostgreSQL server.

    Args:
        programs: The folder of its programs.
        folder: An empty folder, which its user can write to.
        user: The user that runs it.
    """

    def __init__(self, programs: Path, folder: Path, user: str) -> None:
        self._programs, self._folder, self._user = programs, folder, user
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.port = unused.getsockname()[1]
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        shutil.chown(password_file, user)
        self._call(
            "initdb", "--auth=scram-sha-256", "--username=me", f"--pwfile={password_file}",
            "--no-sync", "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._call("pg_ctl", "start", "--wait", "-o", options, "-l", str(self._folder / "log"))

    def stop(self) -> None:
        self._call("pg_ctl", "stop", "--wait", "--mode=fast")

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        return f"postgresql://me@127.0.0.1:{port or self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database, and return its URL without the password."""
        subprocess.run(
            [
                self._programs / "createdb",
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
                "-U",
                "me",
                name,
            ],
            env=os.environ | {"PGPASSWORD": PASSWORD},
            check=True,
        )
        return self.url(name)

    def read(self, database: str, query: str) -> list[str]:
        """The rows of a query, read without phinas."""
        return self._run_client("psql", "-At", "-c", query, database).splitlines()

    def _run_client(self, program: str, *arguments: str) -> str:
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "me"]
        result = subprocess.run(
            [self._programs / program, *address, *arguments],
            env=os.environ | {"PGPASSWORD": PASSWORD},
            check=True,
            capture_output=True,
            text=True,
        )
        return result.stdout

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, "-D", str(self._folder / "data"), *arguments],
            user=self._user if os.getuid() == 0 else None,
            cwd=self._folder,
            env={"PATH": os.defpath, "LANG": "C"},
            check=True,
            stdout=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = shutil.which("initdb") or (folders[-1] / "initdb" if folders else None)
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed; on Debian: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="phinas-postgresql-"))
    user = pwd.getpwuid(os.getuid()).pw_name if os.getuid() else "daemon"
    shutil.chown(folder, user)
    try:
        server = Server(Path(initdb).resolve().parent, folder, user)
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database, whose password is in the environment."""
    monkeypatch.setenv("PHINAS_STORAGE_PASSWORD", PASSWORD)
    name = f"test_{abs(hash(request.node.name))}"
    return server.create_database(name)


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


@contextmanager
def open_at(url: str) -> Iterator[StudyStorage]:
    with closing(open_storage(Path("unused"), url=url, new=True, run_id="run")) as storage:
        yield storage


class Proxy:
    """Passes bytes between a client and a server. It can lose the answer to one COMMIT.

    Attributes:
        commits_to_pass: The number of commits before the one whose answer is lost. Negative after
            that, and at the beginning.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.commits_to_pass = -1
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target_port))
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(
                target=self._forward, args=(server, client, False), daemon=True
            ).start()

    def _forward(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        try:
            while content := source.recv(65536):
                if from_client and self.commits_to_pass >= 0 and b"COMMIT" in content:
                    self.commits_to_pass -= 1
                    if self.commits_to_pass < 0:
                        source.shutdown(socket.SHUT_RDWR)
                target.sendall(content)
        except OSError:
            pass
        finally:
            source.close()
            target.close()


@pytest.mark.external
@pytest.mark.parametrize("operation", ["begin", "complete", "fail", "prune"])
def test_a_commit_whose_answer_is_lost_is_not_repeated(
    server: Server, url: str, operation: str
) -> None:
    num_lost = 0
    with (
        closing(Proxy(server.port)) as proxy,
        open_at(server.url(database_of(url), port=proxy.port)) as storage,
    ):
        while proxy.commits_to_pass < 0:  # until the operation has no further commit
            store = storage.open_study(f"search {num_lost}")
            number = store.begin({}, {}, key="first")
            measurement = Measurement(0.5)
            calls = {
                "begin": partial(store.begin, {}, {}, key="second"),
                "complete": partial(store.complete, number, 0.5, measurement),
                "fail": partial(store.fail, number, "reason"),
                "prune": partial(store.prune, number, "reason", measurement, {1: 0.5}),
            }
            proxy.commits_to_pass = num_lost
            calls[operation]()
            num_lost += 1
            records = store.records()
            keys = ["first", "second"] if operation == "begin" else ["first"]
            assert [record.key for record in records] == keys
            assert records[0].state.is_finished() is (operation != "begin")
    assert num_lost - 1 >= {"begin": 1, "complete": 3, "fail": 2, "prune": 4}[operation]


@pytest.mark.external
def test_a_restart_between_and_during_writes_loses_and_repeats_nothing(
    server: Server, url: str
) -> None:
    def restart() -> None:
        for _ in range(2):
            time.sleep(0.3)
            server.stop()
            time.sleep(0.5)
            server.start()

    with open_at(url) as storage:
        store = storage.open_study("search")
        thread = threading.Thread(target=restart)
        thread.start()
        index = 0
        while thread.is_alive() or index < 30:
            store.complete(store.begin({}, {}, index=index), 0.5, Measurement(0.5))
            index += 1
        thread.join()
        records = store.records()
    assert [record.user_attrs["index"] for record in records] == list(range(index))
    assert all(record.is_complete for record in records)


@pytest.mark.external
def test_a_server_that_stays_down_is_an_error_and_its_trials_are_recovered(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnection, "RECONNECT_SECONDS", 2.0)
    with open_at(url) as storage:
        store = storage.open_study("search")
        number = store.begin({}, {}, key="a")
        server.stop()
        start = time.monotonic()
        try:
            with pytest.raises(StorageError, match=r"did not answer for 2 s .*`phinas resume`"):
                store.complete(number, 0.5, Measurement(0.5))
            assert 2 <= time.monotonic() - start < 30
        finally:
            server.start()
    with open_at(url) as storage:
        (restarted,) = storage.open_study("search").recover()
    assert restarted.key == "a"


@pytest.mark.external
def test_a_server_that_is_down_at_the_start_is_an_error_at_once(server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = server.url(port=unused.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(StorageError, match=r"check run\.storage"), open_at(url):
            pass
    assert time.monotonic() - start < 20


def search_command(folder: Path, out: str, url: str, **options: object) -> list[str]:
    (folder / "evaluator.py").write_text(EVALUATOR)
    settings = {"run.storage": url, "run.workers": 1, "search.reference": "none"} | options
    flags = [f"--set={name}={value}" for name, value in settings.items()]
    return [
        sys.executable, "-m", "phinas", "search", "--space", "tiny", "--evaluator",
        "evaluator:slow", "--trials", str(TRIALS), "--out", out, "--set=search.finalists=1", *flags,
    ]  # fmt: skip


def count_complete(server: Server, url: str) -> int:
    rows = server.read(database_of(url), "SELECT count(*) FROM trials WHERE state = 'COMPLETE'")
    return int(rows[0])


@pytest.mark.external
def test_a_run_survives_a_restart_of_its_server(server: Server, url: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        search_command(tmp_path, "run", url), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as driver:
        wait_for_trials(server, url, driver)
        server.stop()
        time.sleep(1)
        server.start()
        _, stderr = driver.communicate(timeout=200)
    assert driver.returncode == 0, stderr
    keys = server.read(
        database_of(url),
        "SELECT value_json FROM trial_user_attributes WHERE key = 'key' AND trial_id IN (SELECT "
        "trial_id FROM trials JOIN studies USING (study_id) WHERE study_name LIKE '%/search')",
    )
    assert len(keys) == len(set(keys)) == TRIALS
    assert count_complete(server, url) == len(server.read(database_of(url), "SELECT 1 FROM trials"))


def wait_for_trials(server: Server, url: str, driver: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 200
    tables = "SELECT 1 FROM information_schema.tables WHERE table_name = 'trials'"
    while not (server.read(database_of(url), tables) and count_complete(server, url)):
        assert driver.poll() is None, driver.stderr and driver.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.external
def test_three_drivers_share_a_database_that_was_empty(
    server: Server, url: str, tmp_path: Path
) -> None:
    drivers = [
        subprocess.Popen(
            search_command(tmp_path, f"run{index}", url),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(3)
    ]
    errors = [driver.communicate(timeout=300)[1] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0, 0], errors
    counts = server.read(
        database_of(url),
        "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE study_name LIKE "
        "'%/search' GROUP BY study_id",
    )
    assert counts == [str(TRIALS)] * 3


@pytest.mark.external
def test_a_password_is_in_no_file_and_resume_takes_it_from_elsewhere(
    server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PHINAS_STORAGE_PASSWORD")
    monkeypatch.setenv("HOME", str(tmp_path))
    with_password = url.replace("me@", f"me:{PASSWORD}@")
    result = call(search_command(tmp_path, "run", with_password), tmp_path)
    assert result.returncode == 0, result.stderr
    resume = [sys.executable, "-m", "phinas", "resume", "run"]
    without = call(resume, tmp_path)
    assert without.returncode == 4
    assert "PHINAS_STORAGE_PASSWORD" in without.stderr
    with_environment = call(resume, tmp_path, PHINAS_STORAGE_PASSWORD=PASSWORD)
    assert with_environment.returncode == 0, with_environment.stderr
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    password_file = tmp_path / ".pgpass"
    password_file.write_text(f"127.0.0.1:{server.port}:*:me:{escaped}\n")
    password_file.chmod(0o600)
    with_file = call(resume, tmp_path, PGPASSFILE=str(password_file))
    assert with_file.returncode == 0, with_file.stderr
    texts = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()] + [
        run.stderr.encode() + run.stdout.encode() for run in (result, without, with_environment)
    ]
    assert len(texts) > 10
    # also no part of it, such as a host name that begins within an unescaped password
    parts = [PASSWORD, "p%40ss", "ss/w", "w:rd#"]
    assert not any(part.encode() in text for part in parts for text in texts)
    assert url in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.external
def test_a_start_that_fails_leaves_neither_a_directory_nor_studies(
    server: Server, url: str, tmp_path: Path
) -> None:
    wrong = search_command(tmp_path, "run", url, **{"search.space": "no_such_space"})
    assert call(wrong, tmp_path).returncode == 2
    unreachable = search_command(tmp_path, "run", url.replace(f":{server.port}", ":1"))
    result = call(unreachable, tmp_path)
    assert result.returncode == 4
    assert "run.storage and that its database can be reached" in result.stderr
    assert not (tmp_path / "run").exists()
    with pytest.raises(subprocess.CalledProcessError):  # there are no tables yet
        server.read(database_of(url), "SELECT study_name FROM studies")
    no_data = search_command(tmp_path, "run", url, **{"data.source": "no-such-folder"})
    assert call(no_data, tmp_path).returncode == 2
    assert not (tmp_path / "run").exists()
    assert server.read(database_of(url), "SELECT study_name FROM studies") == []


def call(
    command: list[str], folder: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )

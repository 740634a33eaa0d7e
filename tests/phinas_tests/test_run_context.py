"""Tests of an open run: what the precision `auto` means in it."""

import pytest

from phinas.experiment.errors import StorageError
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.manifest import new_manifest, read_manifest, update_manifest
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config, DataSection, RunSection
from phinas.run_context import RunContext, _find_auto_precision
from phinas.terminal.progress import Display


def test_the_first_training_decides_what_auto_precision_means_in_a_run(tmp_path):
    run = RunDir(tmp_path)
    new_manifest(seed=0).write(run.manifest)
    config = Config(data=DataSection(source="digits"), run=RunSection(device="cpu"))

    def resumed():
        return RunContext(run, config, storage=None, data=None, display=Display())

    assert read_manifest(run).auto_precision is None
    assert resumed()._auto_precision == "fp32"
    assert read_manifest(run).auto_precision == "fp32"
    # a run that was started on a GPU stays in bf16
    update_manifest(run, auto_precision="bf16")
    assert resumed()._auto_precision == "bf16"


def test_a_worker_is_asked_where_it_has_another_device():
    executor = InlineExecutor(1)
    assert _find_auto_precision(executor, "cpu") == "fp32"
    with pytest.raises(StorageError, match=r"the first job failed.*cuda:77 is not available"):
        _find_auto_precision(executor, "cuda:77")

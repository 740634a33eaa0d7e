"""`phinas report --redact`: a report to give away says nothing of where and by whom it was made."""

import getpass
import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import phinas
from phinas.experiment.manifest import read_manifest
from phinas.experiment.run_dir import RunDir
from phinas.reports.redaction import redact
from phinas.reports.run_reader import read_run_data
from phinas.space.builders.built_network import BuiltNetwork

MARKER = "secret-clinic"
REASON = f"/data/{MARKER}/Anna Smith.png cannot be read"


@pytest.fixture(scope="module")
def marked_run(full_run, tmp_path_factory) -> RunDir:
    """A finished run whose record names folders, images, a server, a user and a host."""
    run = RunDir(tmp_path_factory.mktemp(MARKER) / "run")
    shutil.copytree(full_run.run.path, run.path)
    shutil.rmtree(run.report)
    text = run.config.read_text()
    assert text.count("source: digits") == 1
    source = f"/data/{MARKER}/my photos"
    run.config.write_text(text.replace("source: digits", f"source: {json.dumps(source)}"))
    manifest = read_manifest(run)
    command = ("phinas", "run", source, "--out", str(run.path), "--set", f"data.x=/a/{MARKER}/y")
    command += ("--storage", f"postgresql://{MARKER}@host/name", "--baseline", "timm:resnet18")
    skipped = (f"{MARKER}/Anna Smith.png is empty (0 bytes)",)
    data = manifest.data.model_copy(update={"skipped_images": skipped})
    manifest.model_copy(update={"command": command, "data": data}).write(run.manifest)
    return run


def read_texts(folder: Path) -> str:
    """All text of a report, with that of its figures."""
    texts = [path.read_text() for path in sorted(folder.iterdir()) if path.suffix != ".png"]
    assert len(texts) > 6
    return "\n".join(texts)


@pytest.mark.slow
def test_redacted_report_names_nothing_of_the_machine(marked_run):
    assert MARKER in read_texts(phinas.report(marked_run.path).report.parent)
    page = phinas.report(marked_run.path, redact=True).report
    assert page == marked_run.redacted_report / "index.html"
    text = read_texts(page.parent)
    names = {name for name in (getpass.getuser(), platform.node()) if len(name) >= 5}
    for private in (MARKER, "Anna", str(marked_run.path.parent), str(Path.home()), *names):
        assert private == "/" or private not in text, private


def test_redacted_report_keeps_what_it_is_about(marked_run, phinas_in_process):
    result = phinas_in_process("report", marked_run.path, "--redact")
    assert result.returncode == 0, result.stderr
    assert str(marked_run.redacted_report / "index.html") in result.stdout
    page = (marked_run.redacted_report / "index.html").read_text()
    assert "my photos" in page
    assert "timm:resnet18" in page
    assert "data.x=y" in page
    assert "--storage [address]" in page
    assert "1: [file]" in page


def test_report_without_private_names_is_the_same(full_run):
    run_data = read_run_data(full_run.run)
    redacted = redact(run_data, full_run.run)
    unchanged = ("config", "trial_records", "baseline", "coefficients", "members")
    for name in unchanged:
        assert getattr(redacted, name) == getattr(run_data, name), name


def test_reason_of_a_failed_trial_is_left_out_if_it_names_a_file(full_run):
    run_data = read_run_data(full_run.run)
    reasons = {REASON: "left out", "the loss became NaN": "the loss became NaN"}
    record = run_data.trial_records["search"][0]
    for reason, expected in reasons.items():
        records = [replace(record, user_attrs=record.user_attrs | {"reason": reason})]
        changed = replace(run_data, trial_records=run_data.trial_records | {"search": records})
        (trial,) = redact(changed, full_run.run).trial_records["search"]
        assert trial.reason.startswith(expected)


def test_builder_of_a_network_is_named_without_its_folder(full_run):
    run_data = read_run_data(full_run.run)
    network = BuiltNetwork(f"/home/{MARKER}/net.py:build", 32)
    baseline = run_data.baseline.model_copy(update={"spec": network})
    redacted = redact(replace(run_data, baseline=baseline), full_run.run)
    assert redacted.baseline.spec.builder == "net.py:build"

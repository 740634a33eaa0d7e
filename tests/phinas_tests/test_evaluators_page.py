"""The examples of docs/evaluators.md run, and are resumed as the page says."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from phinas.cli import cli

PAGE = (Path(__file__).parents[2] / "docs" / "evaluators.md").read_text(encoding="utf-8")
EVALUATOR, CHECK = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)


@pytest.fixture
def resumable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "resumable.py").write_text(EVALUATOR)
    yield importlib.import_module("resumable")
    monkeypatch.delitem(sys.modules, "resumable")


@pytest.mark.slow
def test_the_example_passes_the_check_of_the_page(resumable):
    exec(compile(CHECK, "evaluators.md", "exec"), {})
    assert list(resumable.FOLDER.glob("*.pt"))


def test_the_command_of_the_page_exists():
    (line,) = re.findall(r"^phinas search .*$", PAGE, flags=re.M)
    flags = {flag for option in cli.commands["search"].params for flag in option.opts}
    assert {word for word in line.split() if word.startswith("--")} <= flags


def test_the_readme_names_the_page():
    assert "docs/evaluators.md" in (Path(__file__).parents[2] / "README.md").read_text()

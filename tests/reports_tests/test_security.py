"""A run of somebody else can be read without calling the functions that it names."""

import phinas
from phinas.experiment.run_dir import RunDir
from phinas.reports.page import write_report


def test_reading_a_run_calls_no_function_that_its_configuration_names(build, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(
        "from pathlib import Path\n"
        f"Path({str(tmp_path / 'was_run')!r}).touch()\n"
        "def function(*arguments, **keywords): return 0.5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    search = {"evaluator": "evil:function", "strategy": "evil:function"}
    run: RunDir = build(search=search).search(4).run
    write_report(run)
    phinas.load(run.path)
    phinas.status(run.path)
    assert "evil:function" in run.report_page.read_text()
    assert not (tmp_path / "was_run").exists()

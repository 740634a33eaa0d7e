"""Completion of names in a shell."""

from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

from phinas.cli import cli


@pytest.fixture
def complete(monkeypatch):
    """What Bash is offered for a command line whose last word is completed."""

    def offers(*words):
        monkeypatch.setenv("COMP_WORDS", " ".join(["phinas", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        completion = get_completion_class("bash")
        assert completion is not None
        return completion(cli, {}, "phinas", "_PHINAS_COMPLETE").complete().splitlines()

    return offers


@pytest.mark.parametrize(
    ("words", "offer"),
    [
        (["des"], "plain,describe"),
        (["run", "--strat"], "plain,--strategy"),
        (["run", "--strategy", "bay"], "plain,bayesian"),
        (["run", "--space", "small"], "plain,small_images"),
        (["run", "--recipe", "q"], "plain,quick"),
        (["fit", "x", "--recipe", "fi"], "plain,finetune"),
        (["run", "--runtime", "onnxruntime-"], "plain,onnxruntime-int8"),
        (["list", "rec"], "plain,recipes"),
        (["audit", "--resize-mode", "let"], "plain,letterbox"),
    ],
)
def test_names_are_completed(complete, words, offer):
    assert complete(*words)[-1] == offer


@pytest.mark.parametrize(
    "words",
    [
        ["fit"],
        ["describe"],
        ["export"],
        ["latency"],
        ["latency", "mobilenet_v2"],
        ["run", "--baseline"],
        ["run", "--reference"],
    ],
)
def test_presets_and_files_are_completed(complete, words):
    offers = complete(*words, "efficientnet_lite")
    # Bash drops what is before the files.
    assert offers[0] == "file,efficientnet_lite"
    assert offers[1:] == [f"plain,efficientnet_lite{number}" for number in range(5)]


def test_placeholders_of_sources_are_not_completed(complete):
    assert complete("run", "--data", "d") == ["file,d", "plain,digits"]
    assert complete("run", "--data", "F") == ["file,F"]


@pytest.mark.parametrize("words", [[":"], [":", "b"]])
@pytest.mark.parametrize("command", [["fit"], ["scale", "--baseline"]])
def test_networks_of_a_run_are_completed_after_the_colon(
    complete, command, words, finished_run: Path
):
    # Bash splits at colons, and completes what is after the last one.
    offers = complete(*command, str(finished_run), *words)
    assert {"plain,baseline", "plain,b0", "plain,b1"} <= set(offers)
    assert ("plain,trial-0" in offers) == (words == [":"])


def test_networks_of_what_is_no_run_are_not_completed(complete, tmp_path):
    assert complete("fit", str(tmp_path), ":") == []
    (tmp_path / "config.yaml").write_text("data: {source: digits}\n")
    assert complete("fit", str(tmp_path), ":") == []

"""The search spaces that phinas ships, each a YAML file in this folder.

A file that is added here is a shipped space at once. Its key `summary` says in one line what the
space holds. Importing this module imports neither numpy nor torch, so `--help` can list the spaces.
"""

from pathlib import Path

from phinas.space.yaml_io import read_yaml

SPACES: dict[str, Path] = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def space_summaries() -> dict[str, str]:
    """The name of each shipped space and its one-line summary."""
    return {name: str(read_yaml(path)["summary"]) for name, path in SPACES.items()}

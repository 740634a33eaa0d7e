"""The page of the architecture names every module, and none that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = ("space", "experiment", "training", "nas", "scaling_search", "reports", "phinas")
# Listed as a whole: "one module for each ..."
SUMMARIZED = {"commands", "api", "tables", "figures", "network_diagram", "presets", "fit_pipeline"}


def modules_on_the_page():
    """Folder relative to the root -> the modules listed for it."""
    (block,) = re.findall(r"^## Packages\n\n```\n(.*?)^```", PAGE, flags=re.M | re.S)
    listed, package = {}, ""
    for line in block.splitlines():
        depth = len(line) - len(line.lstrip())
        name, *words = line.split()
        if depth == 0:
            package = folder = name.rstrip("/")
        elif depth == 2:
            folder = data = f"{package}/{name.rstrip('/')}"
        else:
            folder = f"{data}/{name.rstrip('/')}"
        listed[folder] = words
    return listed


def test_every_module_is_listed_in_its_folder():
    listed = modules_on_the_page()
    for top in FOLDERS:
        # phinas/ holds links to the other folders.
        below = (
            path for path in (ROOT / top).rglob("*") if path.is_dir() and not path.is_symlink()
        )
        for folder in [ROOT / top, *below]:
            name = str(folder.relative_to(ROOT))
            modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
            if not modules or folder.name in SUMMARIZED or folder.name == "constructors":
                continue
            assert modules == {word for word in listed[name] if word.isidentifier()}, name


def test_every_file_that_a_sentence_names_exists():
    text = PAGE.replace(re.findall(r"^```.*?^```", PAGE, flags=re.M | re.S)[1], "")
    named = re.findall(r"`((?:space|experiment|training|nas|phinas)/[\w/]+\.py)`", text)
    assert len(named) > 10
    assert all((ROOT / name).is_file() for name in named)

"""The user's own files that a builder is made of, and the versions of the packages that it uses.

The files are found by their import statements, not by importing them, so the driver, the workers
and a resumed run find the same ones.
"""

import ast
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """What decides the networks of a builder.

    Attributes:
        files: The hash of each file, by its path relative to `root`.
        packages: The version of each package that the files import, "" if it is unknown. Those of
            Python's library and torch are left out.
    """

    files: dict[str, str]
    packages: dict[str, str]

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits: the hash of all files."""
        text = "\n".join(f"{name} {digest}" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def find_source_files(path: Path, root: Path) -> SourceFiles:
    """The files that `path` imports, directly or not, from the folder `root`.

    Args:
        path: The file of the builder.
        root: The folder from which its modules are imported. An installed package has only the one
            file; its version stands for the rest.
    """
    files: dict[str, str] = {}
    packages: set[str] = set()
    pending = [path]
    while pending:
        file = pending.pop()
        name = file.relative_to(root).as_posix()
        if name in files:
            continue
        content = file.read_bytes()
        files[name] = hashlib.sha256(content).hexdigest()
        for module in _imported_modules(content, file.relative_to(root)):
            local = [] if _INSTALLED & set(root.parts) else list(_local_files(module, root))
            pending += local
            package = module.partition(".")[0]
            if not local and package not in sys.stdlib_module_names and package != "torch":
                packages.add(package)
    return SourceFiles(files, {name: _version(name) for name in sorted(packages)})


def _imported_modules(content: bytes, path: Path) -> Iterator[str]:
    """The absolute names of imported modules, and of imported names that may be modules."""
    package = list(path.parent.parts)
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if module:
                yield module
            if node.level or module:
                yield from (f"{module}.{alias.name}".strip(".") for alias in node.names)


def _local_files(module: str, root: Path) -> Iterator[Path]:
    """The files in `root` that are run when a module is imported."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        folder = root.joinpath(*parts[:count])
        for file in (folder / "__init__.py", folder.with_suffix(".py")):
            if file.is_file():
                yield file


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""

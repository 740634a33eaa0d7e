"""Check identifiers and texts against the word list in language.yaml.

An identifier is compared as a whole (`held`, not `held_out`). A phrase is searched for in the whole
text of a file: docstrings, comments, messages, documents. Each hit is printed with its replacement;
any hit is an error.
"""

import fnmatch
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEXT_SUFFIXES = (".md", ".yaml", ".jinja", ".html", ".js", ".toml")


@dataclass(frozen=True)
class WordList:
    """identifiers, phrases: what to avoid, and what to write; allowed: entries by file pattern."""

    identifiers: dict[str, str]
    phrases: dict[str, str]
    allowed: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> "WordList":
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return cls(data["identifiers"], data["phrases"], data["allowed"])

    def phrase_pattern(self) -> re.Pattern[str]:
        """Any of the phrases, across line breaks and comment signs, as whole words."""
        alternatives = (
            r"[\s#]+".join(map(re.escape, phrase.split()))
            for phrase in sorted(self.phrases, key=len, reverse=True)
        )
        return re.compile(rf"(?<![\w-])(?:{'|'.join(alternatives)})(?![\w-])", re.IGNORECASE)

    def is_allowed(self, path: str, entry: str) -> bool:
        return any(
            fnmatch.fnmatch(path, pattern) and entry in entries
            for pattern, entries in self.allowed.items()
        )


def find_identifiers(text: str, words: WordList) -> Iterator[tuple[int, str]]:
    """Line number and name of each identifier of the list in Python source."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string.strip("_").lower() in words.identifiers:
            yield token.start[0], token.string.strip("_").lower()


def find_phrases(text: str, words: WordList) -> Iterator[tuple[int, str]]:
    """Line number and phrase of each phrase of the list."""
    for match in words.phrase_pattern().finditer(text):
        phrase = " ".join(re.sub(r"[\s#]+", " ", match[0]).split()).lower()
        yield text.count("\n", 0, match.start()) + 1, phrase


def find_all(path: Path, words: WordList) -> Iterator[tuple[int, str, str]]:
    """Line number, entry and replacement of each hit in a file."""
    name = str(path.relative_to(ROOT))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for line, entry in find_identifiers(text, words):
            if not words.is_allowed(name, entry):
                yield line, entry, words.identifiers[entry]
    for line, entry in find_phrases(text, words):
        if not words.is_allowed(name, entry):
            yield line, entry, words.phrases[entry]


def source_files(arguments: list[str]) -> list[Path]:
    """The named files, or else all that git knows, without links and without this check's own."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = (
        arguments
        or subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    )
    paths = [ROOT / name for name in names if not name.startswith(".ci/")]
    return [
        path
        for path in paths
        if path.is_file()
        and not path.is_symlink()
        and (path.suffix == ".py" or path.suffix in TEXT_SUFFIXES)
    ]


def main() -> int:
    words = WordList.read(Path(__file__).with_name("language.yaml"))
    count = 0
    for path in source_files(sys.argv[1:]):
        for line, entry, replacement in sorted(find_all(path, words)):
            count += 1
            print(f"{path.relative_to(ROOT)}:{line}: {entry!r}: write {replacement}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())

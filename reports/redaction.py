"""A run without what says where and by whom it was made, for a report to give away.

Folders, file names of images, servers, the user's and the machine's name are left out. The names of
the data set, the networks and the classes stay, because the report is about them: of a path that
the configuration names, its last part.
"""

import dataclasses
import getpass
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from phinas.experiment.run_dir import RunDir
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.reports.family_rows import ReportMember
from phinas.reports.run_data import RunData
from phinas.space.builders.built_network import BuiltNetwork

_PATH, _FILE, _ADDRESS, _NAME = "[path]", "[file]", "[address]", "[name]"
_REASON = "left out, because it names a file or a folder"
_URL = re.compile(r"\b\w[\w+.-]*://[^\s'\"<>]+")
# An absolute path, one from the home directory, or a file by its name, without spaces.
_ANY_PATH = re.compile(r"(?<![\w/.:])(?:~|\.{1,2}|[A-Za-z]:)?[/\\][^\s'\",;:()<>]+")
_SUFFIXES = "bmp|csv|gif|jpe?g|json|jsonl|npz|onnx|parquet|png|py|safetensors|tiff?|tsv|webp|ya?ml"
_ANY_FILE = re.compile(rf"[^\s'\",;:()<>]+\.(?:{_SUFFIXES})\b", re.IGNORECASE)
_LIBRARY_PREFIXES = ("hf:", "timm:", "torchvision:")
_MIN_NAME_LENGTH = 3
_COMMON_NAMES = {"root", "user", "localhost"}
# Fields of the files of a run that repeat a path of the configuration.
_NAMED_BY_USER = {"source", "run"}


def redact(run_data: RunData, run: RunDir) -> RunData:
    """A copy of the data of a run without private names.

    Args:
        run_data: The data of the run.
        run: Its directory.
    """
    redaction = _Redaction(run_data, run)
    manifest = run_data.manifest
    data = manifest.data
    if data is not None:
        data = data.model_copy(update={"skipped_images": (_FILE,) * len(data.skipped_images)})
    command = tuple(map(redaction.shorten, manifest.command))
    manifest = manifest.model_copy(update={"command": command, "data": data})
    changes = {
        field.name: redaction.apply(getattr(run_data, field.name))
        for field in dataclasses.fields(run_data)
        if field.name != "manifest"
    }
    return dataclasses.replace(run_data, manifest=redaction.apply(manifest), **changes)


class _Redaction:
    """Replaces the private names of one run.

    Args:
        run_data: The run, whose configuration and command name paths.
        run: Its directory.
    """

    def __init__(self, run_data: RunData, run: RunDir) -> None:
        config = run_data.config.model_dump(exclude={"name"})
        named = {*_list_texts(config), *run_data.manifest.command}
        values = {text: self.shorten(text) for text in named}
        self._replacements = {text: short for text, short in values.items() if short != text}
        for path in (run.path.absolute(), Path.cwd(), Path.home()):
            if path.name:
                self._replacements.setdefault(str(path), _PATH)
        names = {getpass.getuser(), platform.node()} - _COMMON_NAMES
        words = [re.escape(name) for name in names if len(name) >= _MIN_NAME_LENGTH]
        self._names = re.compile(rf"\b(?:{'|'.join(words)})\b") if words else None

    @staticmethod
    def shorten(text: str) -> str:
        """What the user named, with the last part of each path, and without servers."""
        name, equals, value = text.partition("=")
        if equals and re.fullmatch(r"[\w.-]+", name):
            return f"{name}={_Redaction.shorten(value)}"
        if "://" in text:
            return _ADDRESS
        return ",".join(_last_part(part) for part in text.split(","))

    def text(self, text: str) -> str:
        """A text without private names."""
        if text in self._replacements:
            return self._replacements[text]
        for private in sorted(self._replacements, key=len, reverse=True):
            if "/" in private or "\\" in private:
                text = text.replace(private, self._replacements[private])
        text = _URL.sub(_ADDRESS, text)
        text = _ANY_PATH.sub(_PATH, text)
        return self._names.sub(_NAME, text) if self._names else text

    def reason(self, text: str) -> str:
        """Why a trial failed. Names of files may have spaces, so one of them hides the reason."""
        return text if _ANY_FILE.sub("", self.text(text)) == text else _REASON

    def apply(self, value: Any) -> Any:
        """A copy of a value in which all texts are without private names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, BaseModel):
            fields = {name: getattr(value, name) for name in type(value).model_fields}
            return value.model_copy(
                update={name: self._apply_to_field(name, item) for name, item in fields.items()}
            )
        if isinstance(value, TrialRecord):
            return value.with_reason(self.reason(value.reason)) if value.reason else value
        if isinstance(value, ReportMember):
            member, record = self.apply(value.member), self.apply(value.record)
            return dataclasses.replace(value, member=member, record=record)
        if isinstance(value, BuiltNetwork):
            return dataclasses.replace(value, builder=self.shorten(value.builder))
        if isinstance(value, Mapping):
            return {key: self.apply(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.apply, value))
        return value

    def _apply_to_field(self, name: str, value: Any) -> Any:
        if name in _NAMED_BY_USER and isinstance(value, str):
            return self.shorten(value)
        return self.apply(value)


def _last_part(text: str) -> str:
    """The last part of a path. Other texts are returned unchanged."""
    if text.startswith(_LIBRARY_PREFIXES) or " / " in text:
        return text
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if re.search(r"[/\\]", text) else text


def _list_texts(value: object) -> Iterator[str]:
    """All texts in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _list_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _list_texts(item)

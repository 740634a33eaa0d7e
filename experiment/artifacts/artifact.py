"""The base of all files that phinas writes for itself to read: strict, immutable, versioned.

A file begins with `format` and `version`. A reader accepts one version only; any other version,
unknown key, missing key or wrong type is one InputError that names file, field, value and remedy.
"""

import json
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from phinas.experiment.artifacts.artifact_errors import describe_problem
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import write_atomic, write_json
from phinas.space.yaml_io import dump_yaml, read_yaml

Interval = tuple[float, float]  # its lower and its upper end
_HEADER = ("format", "version")


class OtherVersionError(InputError):
    """A file of another version, which is intact and must not be overwritten."""


class Record(BaseModel):
    """A part of a file: strictly typed, immutable, without unknown keys, NaN or infinity.

    A sequence is a tuple. Give each field a description with its unit.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=()
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain data: dicts, lists, texts, numbers, booleans and None."""
        return self.model_dump(mode="json")


class Artifact(Record):
    """A file of a run or a fit.

    Attributes:
        FORMAT: The name of the format, such as "phinas/baseline".
        VERSION: The version that this phinas reads and writes.
        ADVICE: What a user can do about a damaged file, to follow a semicolon.
    """

    FORMAT: ClassVar[str]
    VERSION: ClassVar[int] = 1
    ADVICE: ClassVar[str] = "restore the file from a copy, or start again in a new directory"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file: JSON where its name ends with .json, YAML otherwise.

        Raises:
            InputError: The file is missing, unreadable, damaged or of another version.
        """
        return cls.from_dict(_read_data(path, cls.ADVICE), source=str(path))

    @classmethod
    def from_dict(cls, data: object, *, source: str) -> Self:
        """Check plain data with its header.

        Args:
            data: What a file holds, `format` and `version` included.
            source: The name of the file, for error messages.

        Raises:
            InputError: The data are not of this format and version.
        """
        if not isinstance(data, dict):
            raise InputError(f"{source}: is not a mapping of keys; {cls.ADVICE}")
        cls._check_header(data, source)
        fields = {key: value for key, value in data.items() if key not in _HEADER}
        try:
            # JSON mode, where a strict tuple accepts the list that YAML and JSON hold
            return cls.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            problem = describe_problem(error, cls)
            raise InputError(f"{source}: {problem}; {cls.ADVICE}") from None

    @classmethod
    def _check_header(cls, data: dict[Any, Any], source: str) -> None:
        file_format, version = data.get("format"), data.get("version")
        if file_format != cls.FORMAT:
            problem = (
                "is missing" if file_format is None else f"{file_format!r} is not {cls.FORMAT!r}"
            )
            raise InputError(f"{source}: format: {problem}; {cls.ADVICE}")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            problem = "is missing" if version is None else f"{version!r} is not a version number"
            raise InputError(f"{source}: version: {problem}; {cls.ADVICE}")
        if version > cls.VERSION:
            raise OtherVersionError(
                f"{source}: format version {version} is newer than this phinas reads "
                f"({cls.VERSION}); upgrade phinas"
            )
        if version < cls.VERSION:
            raise OtherVersionError(
                f"{source}: format version {version} is older than this phinas reads "
                f"({cls.VERSION}); use the phinas version that wrote it, or start "
                "again in a new directory"
            )

    def to_file_dict(self) -> dict[str, Any]:
        """Plain data with the header, as the file holds them."""
        return {"format": self.FORMAT, "version": self.VERSION} | self.to_dict()

    def write(self, path: Path) -> None:
        """Write the file atomically: JSON where its name ends with .json, YAML otherwise."""
        if path.suffix == ".json":
            write_json(path, self.to_file_dict())
        else:
            write_atomic(path, dump_yaml(self.to_file_dict()))


def _read_data(path: Path, advice: str) -> Any:
    try:
        return json.loads(path.read_text()) if path.suffix == ".json" else read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{path}: does not exist; {advice}") from None
    except OSError as error:
        raise InputError(f"{path}: could not be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; {advice}") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply; {advice}") from None
    except ValueError as error:
        # YamlError names the path itself
        text = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path}: {text}; {advice}") from None

"""The state of a paused training: what its job returns, and what the next job of the training gets.

A job that pauses adds a `PausedState` to its result. `phinas.experiment.storage.paused_trainings`
adds it to the payload of the next job. Both are the key PAUSED_STATE of a JSON object. The state is
a file of the job (`phinas.experiment.executors.job_files`), or a resume token: any JSON value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

PAUSED_STATE = "paused_state"


@dataclass(frozen=True, slots=True)
class PausedState:
    """The state of a training after an epoch.

    Attributes:
        epoch: The number of trained epochs.
        file: The name of the file among the files of the job. "" if the state is a token.
        token: The resume token. None if the state is a file.
    """

    epoch: int
    file: str = ""
    token: Any = None

    def to_dict(self) -> dict[str, Any]:
        if self.file:
            return {"epoch": self.epoch, "file": self.file}
        return {"epoch": self.epoch, "token": self.token}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Self | None:
        """Read the data of `to_dict`. None for None, as in a job without a state."""
        if data is None:
            return None
        return cls(data["epoch"], data.get("file", ""), data.get("token"))

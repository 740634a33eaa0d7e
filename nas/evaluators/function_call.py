"""The job of a user's function: call it and check what it reports and returns.

A paused training leaves the resume token of the function with the reports so far. When it is
resumed, these are reported again, so that its curve and its score are those of a training that was
not paused.
"""

import inspect
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

from phinas.experiment.executors import NonRetryableError, ReportCallback
from phinas.experiment.executors.interface import accepts_parameter, import_function
from phinas.experiment.measurement import Measurement
from phinas.experiment.paused_state import PAUSED_STATE, PausedState
from phinas.space.network import network_from_dict
from phinas.space.search_spaces.search_space import Choices

FUNCTION = "phinas.nas.evaluators.function_call:call_function"


def requires_parameter(function: Callable[..., Any], name: str) -> bool:
    """Whether the function has a parameter of this name without a default."""
    return accepts_parameter(function, name) and (
        inspect.signature(function).parameters[name].default is inspect.Parameter.empty
    )


@dataclass(frozen=True, slots=True)
class _EarlierPart:
    """The part of a training before its pause.

    Attributes:
        token: The resume token of the function. None without an earlier part.
        reports: Its reports: epoch and score.
        seconds: How long it took.
    """

    token: Any = None
    reports: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0

    @classmethod
    def read(cls, paused_state: Mapping[str, Any] | None) -> Self:
        state = PausedState.from_dict(paused_state)
        if state is None:
            return cls()
        reports = tuple((epoch, score) for epoch, score in state.token["reports"])
        return cls(state.token["token"], reports, state.token["seconds"])


class _ReportedCurve:
    """The scores that a function has reported, and the step after which it should stop.

    Args:
        function: The name of the function.
        report: Called with each report.
        stop_epoch: The epoch at which the training pauses. None if it does not.

    Attributes:
        scores: The scores by step.
        stop_step: The step. 0 if it should not stop.
        is_stopped: Whether `report` has stopped the training.
    """

    def __init__(self, function: str, report: ReportCallback, stop_epoch: int | None) -> None:
        self._function, self._report, self._stop_epoch = function, report, stop_epoch
        self.scores: dict[int, float] = {}
        self.stop_step = 0
        self.is_stopped = False
        self._last_earlier_step = 0

    def repeat(self, reports: tuple[tuple[int, float], ...]) -> None:
        """Repeat the reports of the earlier part of the training. A function that trains it from
        the start reports them once more, which has no effect.
        """
        for step, score in reports:
            self(step, score)
            self._last_earlier_step = step

    def __call__(self, step: int, value: float) -> bool:
        if step in self.scores and step <= self._last_earlier_step:
            return not self.is_stopped
        keep_training = self._report(step, value)
        if not 0 <= value <= 1:
            raise NonRetryableError(
                f"{self._function} reported {value!r} at step {step}; report a score from 0 to 1"
            )
        self.scores[int(step)] = float(value)
        self.is_stopped = self.is_stopped or not keep_training
        if self._stop_epoch is not None and step >= self._stop_epoch:
            keep_training = False
        self.stop_step = self.stop_step or (0 if keep_training else step)
        return keep_training


def call_function(
    *,
    function: str,
    spec: dict[str, Any],
    budget: int,
    seed: int,
    stop_epoch: int | None = None,
    choices: Choices | None = None,
    paused_state: dict[str, Any] | None = None,
    report: ReportCallback = lambda _step, _value: True,
) -> dict[str, Any]:
    """Call the user's function.

    Args:
        function: Its name, "package.module:function".
        spec: The network as plain data.
        budget: Epochs of the full training.
        seed: Seed of the training.
        stop_epoch: The epoch at which the training pauses. None if it does not.
        choices: The choices of the network, if the function takes them.
        paused_state: The data of the `PausedState` of the training. None if there is none.
        report: Called with each report.

    Returns:
        The Measurement as a dict, with a `PausedState` if the function paused and returned a token.

    Raises:
        NonRetryableError: It returned neither a score from 0 to 1 nor a Measurement, or a resume
            token that is not valid JSON.
    """
    user_function = import_function(function)
    earlier = _EarlierPart.read(paused_state)
    curve = _ReportedCurve(function, report, stop_epoch)
    curve.repeat(earlier.reports)
    options: dict[str, Any] = {"report": curve, "resume_token": earlier.token, "choices": choices}
    if stop_epoch is not None or requires_parameter(user_function, "stop_epoch"):
        options["stop_epoch"] = stop_epoch
    start_time = time.perf_counter()
    returned = user_function(
        network_from_dict(spec), budget, seed, **_select_options(user_function, options)
    )
    seconds = earlier.seconds + time.perf_counter() - start_time
    result, token = _split_token(user_function, returned)
    if isinstance(result, Measurement):
        value = result.to_dict()
    else:
        score = _read_score(function, result, curve)
        value = Measurement(
            score=score,
            split="function",
            seed=seed,
            epochs=curve.stop_step or stop_epoch or budget,
            train_seconds=seconds,
            curve=tuple(curve.scores.values()),
        ).to_dict()
    if stop_epoch is not None and token is not None and not curve.is_stopped:
        state = {"token": token, "reports": list(curve.scores.items()), "seconds": seconds}
        value[PAUSED_STATE] = PausedState(stop_epoch, token=_check_json(function, state)).to_dict()
    return value


def _select_options(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a function accepts. Choices are left out if there are none."""
    return {
        name: value
        for name, value in options.items()
        if accepts_parameter(function, name) and not (name == "choices" and value is None)
    }


def _split_token(function: Callable[..., Any], returned: Any) -> tuple[Any, Any]:
    """The score or Measurement that a function returned, and its resume token or None."""
    is_pair = isinstance(returned, tuple) and len(returned) == 2
    if is_pair and accepts_parameter(function, "resume_token"):
        return returned[0], returned[1]
    return returned, None


def _read_score(function: str, result: Any, curve: _ReportedCurve) -> float:
    """The score that a function returned, or the last one it reported if it had to stop."""
    if curve.stop_step:
        result = curve.scores[curve.stop_step]  # a function that was stopped may return anything
    if isinstance(result, bool) or not isinstance(result, Real):
        raise NonRetryableError(
            f"{function} returned {result!r}; return a score from 0 to 1 or a Measurement"
        )
    return float(result)


def _check_json(function: str, state: dict[str, Any]) -> dict[str, Any]:
    """Raises NonRetryableError if the resume token in the state is not valid JSON."""
    try:
        json.dumps(state, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NonRetryableError(
            f"{function} returned a resume token that is not valid JSON ({error})"
        ) from error
    return state

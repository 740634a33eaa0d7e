"""Fixtures of several tests of the front end."""

import pytest


@pytest.fixture
def clock(monkeypatch):
    """A function that sets the time of the display."""
    seconds = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])

    def set_seconds(value):
        seconds[0] = float(value)

    return set_seconds

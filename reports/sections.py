"""The sections of the page that hold figures and tables."""

from typing import Literal

Section = Literal["search", "baseline", "scaling", "family", "controls", "run"]

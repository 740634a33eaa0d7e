"""The colors of figures and page, light and dark: one table for matplotlib, inline SVG and style
sheet.

The hues are those of Okabe and Ito (2008), which people with common color vision deficiencies can
distinguish; kernels have one hue in different lightness. Figures are drawn in the light colors; on
the page each color becomes a CSS variable with its name.
"""

from dataclasses import dataclass
from typing import Any

from matplotlib.colors import to_hex, to_rgb

COLORS: dict[str, tuple[str, str]] = {
    "text": ("#1d2126", "#e7e9eb"),
    "muted": ("#5f6872", "#9ca5af"),
    "grid": ("#d8dce1", "#383f47"),
    "background": ("#ffffff", "#15181b"),
    "neutral": ("#a3acb6", "#69737d"),
    "primary": ("#0072b2", "#5ab4e6"),
    "accent": ("#d55e00", "#f2894b"),
    "band": ("#e5eef5", "#1d2c39"),
    "pointwise": ("#c9ced4", "#59626b"),
    "kernel3": ("#9ccbe8", "#2b6a94"),
    "kernel5": ("#3f97cf", "#4fa6da"),
    "kernel7": ("#0b4f82", "#b4dcf5"),
}
LIGHT_COLORS = {name: light for name, (light, _) in COLORS.items()}
DARK_COLORS = {name: dark for name, (_, dark) in COLORS.items()}

TEXT_COLOR = LIGHT_COLORS["text"]
MUTED_COLOR = LIGHT_COLORS["muted"]
GRID_COLOR = LIGHT_COLORS["grid"]
BACKGROUND_COLOR = LIGHT_COLORS["background"]
NEUTRAL_COLOR = LIGHT_COLORS["neutral"]
PRIMARY_COLOR = LIGHT_COLORS["primary"]
ACCENT_COLOR = LIGHT_COLORS["accent"]
BAND_COLOR = LIGHT_COLORS["band"]
POINTWISE_COLOR = LIGHT_COLORS["pointwise"]
# One training of several of a network: visible on a line and on the dot of the mean.
SEED_MARKER_STYLE: dict[str, Any] = {
    "s": 15,
    "facecolor": MUTED_COLOR,
    "edgecolor": BACKGROUND_COLOR,
    "linewidth": 0.7,
    "zorder": 5,
}

# Several runs or ways to scale in one figure: seven hues of Okabe and Ito (2008), whose yellow is
# too light for lines, and a marker for each, so that no two differ by the hue alone.
_SERIES_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1d2126")
_SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "h")
_TEXT_DARKENING = 0.7  # so that small text in a light hue has enough contrast


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """How a series is drawn: the color of its marks, that of its text, and matplotlib's marker."""

    color: str
    text_color: str
    marker: str


def get_series_style(index: int) -> SeriesStyle:
    """The style of a series by its number from 0; the first 49 are different."""
    num_colors = len(_SERIES_COLORS)
    color = _SERIES_COLORS[index % num_colors]
    marker = _SERIES_MARKERS[(index + index // num_colors) % len(_SERIES_MARKERS)]
    red, green, blue = (_TEXT_DARKENING * channel for channel in to_rgb(color))
    return SeriesStyle(color, to_hex((red, green, blue)), marker)


def get_kernel_color(kernel: int) -> str:
    """Darker for a larger kernel; 1x1 is gray."""
    if kernel < 3:
        return POINTWISE_COLOR
    return LIGHT_COLORS["kernel3" if kernel == 3 else "kernel5" if kernel == 5 else "kernel7"]


# A user's matplotlibrc has no effect: figures start from matplotlib's defaults.
RC_PARAMS: dict[str, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": TEXT_COLOR,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "phinas",
    "pdf.fonttype": 42,  # TrueType: publishers reject matplotlib's default, Type 3
    "axes.edgecolor": MUTED_COLOR,
    "axes.labelcolor": MUTED_COLOR,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED_COLOR,
    "ytick.color": MUTED_COLOR,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": BACKGROUND_COLOR,
    "axes.facecolor": "none",
}

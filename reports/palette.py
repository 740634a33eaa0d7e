"""The colours of figures and page, light and dark: one table that matplotlib, the inline SVG and
the style sheet all read.

The hues are those of Okabe and Ito (2008), which people with the common colour blindnesses can tell
apart; kernels are steps of one hue, told by lightness. Figures are drawn in the light colours; on
the page each becomes a CSS variable of its name.
"""

from typing import Any

COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1d2126", "#e7e9eb"),
    "muted": ("#5f6872", "#9ca5af"),
    "rule": ("#d8dce1", "#383f47"),
    "paper": ("#ffffff", "#15181b"),
    "crowd": ("#a3acb6", "#69737d"),
    "front": ("#0072b2", "#5ab4e6"),
    "chosen": ("#d55e00", "#f2894b"),
    "shade": ("#e5eef5", "#1d2c39"),
    "plain": ("#c9ced4", "#59626b"),
    "kernel3": ("#9ccbe8", "#2b6a94"),
    "kernel5": ("#3f97cf", "#4fa6da"),
    "kernel7": ("#0b4f82", "#b4dcf5"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
DARK = {name: dark for name, (_, dark) in COLOURS.items()}

INK, MUTED, RULE, PAPER = LIGHT["ink"], LIGHT["muted"], LIGHT["rule"], LIGHT["paper"]
CROWD, FRONT, CHOSEN, SHADE, PLAIN = (
    LIGHT[name] for name in ("crowd", "front", "chosen", "shade", "plain")
)
# One training among several of a network: seen on a line and on the mean's dot.
SEED_DOT: dict[str, Any] = {
    "s": 15,
    "facecolor": MUTED,
    "edgecolor": PAPER,
    "linewidth": 0.7,
    "zorder": 5,
}


def kernel_colour(kernel: int) -> str:
    """Darker for a larger kernel; 1x1 is grey."""
    if kernel < 3:
        return PLAIN
    return LIGHT["kernel3" if kernel == 3 else "kernel5" if kernel == 5 else "kernel7"]


# A user's own matplotlibrc changes nothing: figures start from matplotlib's defaults.
STYLE: dict[str, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "phinas",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
}

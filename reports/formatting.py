"""Numbers and names for people. Scores are fractions everywhere else and percentages here."""

from collections.abc import Sequence

ALPHA, BETA, GAMMA, PHI = "\u03b1", "\u03b2", "\u03b3", "\u03c6"
TIMES_SIGN = "\N{MULTIPLICATION SIGN}"
EN_DASH = "\N{EN DASH}"
GREEK_LETTERS = {"alpha": ALPHA, "beta": BETA, "gamma": GAMMA}
DIMENSIONS = {"alpha": "depth", "beta": "width", "gamma": "resolution"}

COST_LABELS = {
    "flops": "FLOPs",
    "params": "parameters",
    "activations": "activations",
    "latency": "latency",
}


def format_percent(fraction: float) -> str:
    """With one decimal, which a validation split of a few thousand images justifies."""
    return f"{100 * fraction:.1f}%"


def format_count(count: float) -> str:
    """Three significant digits with k, M or G."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * factor:
            return f"{_format_three_digits(count / factor)}{suffix}"
    return f"{count:g}"


def format_cost(cost_metric: str, cost: float) -> str:
    """A cost with its unit: `2.27M FLOPs`, `0.831 ms`."""
    if cost_metric == "latency":
        return f"{cost:.3g} ms"
    return f"{format_count(cost)} {COST_LABELS[cost_metric]}"


def _format_three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def format_tick(count: float) -> str:
    """As `format_count`, without trailing zeros: 500k, 1M, 1.5M."""
    text = format_count(count)
    number, suffix = (text[:-1], text[-1]) if text[-1].isalpha() else (text, "")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + suffix


def format_interval(low: float, high: float) -> str:
    """An interval of factors; one number where both ends round to the same."""
    left, right = f"{low:.2f}", f"{high:.2f}"
    return left if left == right else f"{left}{EN_DASH}{right}"


def format_points(difference: float) -> str:
    """A difference of scores (fractions) in points, with its sign: `+1.2`. Zero has no sign."""
    return (
        f"{100 * difference + 0.0:+.1f}".replace("-0.0", "0.0")
        .replace("+0.0", "0.0")
        .replace("-", "\N{MINUS SIGN}")
    )


def pluralize(count: int, noun: str, plural: str = "") -> str:
    """`1 network`, `2 networks`, `1,000 networks`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def join_numbers(values: Sequence[int]) -> str:
    """Widths or depths of the stages, in order."""
    return " \N{MIDDLE DOT} ".join(str(value) for value in values)


def join_names(names: Sequence[str], word: str = "and") -> str:
    """`B3`, `B3 and B4`, `B3, B4 and B5`."""
    parts = [", ".join(names[:-1]), names[-1]] if len(names) > 1 else names
    return f" {word} ".join(parts)


def truncate(text: str, limit: int = 400) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."

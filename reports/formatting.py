"""Numbers as people read them. Accuracies are fractions everywhere else; here, and nowhere before,
they become percent.
"""

ALPHA, BETA, GAMMA, PHI = "\u03b1", "\u03b2", "\u03b3", "\u03c6"
TIMES_SIGN = "\N{MULTIPLICATION SIGN}"
EN_DASH = "\N{EN DASH}"
GREEK_LETTERS = {"alpha": ALPHA, "beta": BETA, "gamma": GAMMA}

METRIC_LABELS = {
    "flops": "FLOPs",
    "params": "parameters",
    "activations": "activations",
    "latency": "latency",
}


def format_percent(fraction: float) -> str:
    """One decimal: a validation split of a few thousand images carries no more."""
    return f"{100 * fraction:.1f}%"


def format_count(count: float) -> str:
    """Three significant digits with k, M or G."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * factor:
            return f"{_format_three_digits(count / factor)}{suffix}"
    return f"{count:g}"


def format_cost(metric: str, cost: float) -> str:
    """What a network costs, with its unit: `2.27M FLOPs`, `0.831 ms`."""
    return (
        f"{cost:.3g} ms" if metric == "latency" else f"{format_count(cost)} {METRIC_LABELS[metric]}"
    )


def _format_three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def format_tick(count: float) -> str:
    """As `format_count`, without digits that say nothing: 500k, 1M, 1.5M."""
    text = format_count(count)
    number, suffix = (text[:-1], text[-1]) if text[-1].isalpha() else (text, "")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + suffix


def format_interval(low: float, high: float) -> str:
    """An interval of factors; one number where both ends read the same."""
    left, right = f"{low:.2f}", f"{high:.2f}"
    return left if left == right else f"{left}{EN_DASH}{right}"


def format_points(difference: float) -> str:
    """A difference of accuracies (fractions) with its sign: `+1.2`; of both signs one decimal, and
    no minus before nothing.
    """
    return (
        f"{100 * difference + 0.0:+.1f}".replace("-0.0", "0.0")
        .replace("+0.0", "0.0")
        .replace("-", "\N{MINUS SIGN}")
    )


def pluralize(count: int, noun: str, plural: str = "") -> str:
    """`1 network`, `2 networks`, `1,000 networks`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def join_numbers(values: list[int]) -> str:
    """Widths or depths of the stages, in order."""
    return " \N{MIDDLE DOT} ".join(str(value) for value in values)


def join_names(names: list[str], word: str = "and") -> str:
    """`B3`, `B3 and B4`, `B3, B4 and B5`."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def truncate(text: str, limit: int = 400) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."

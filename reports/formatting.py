"""Numbers as people read them. Accuracies are fractions everywhere else; here, and nowhere before,
they become percent.
"""

ALPHA, BETA, GAMMA, PHI = "\u03b1", "\u03b2", "\u03b3", "\u03c6"
TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"
GREEK = {"alpha": ALPHA, "beta": BETA, "gamma": GAMMA}

METRICS = {
    "flops": "FLOPs",
    "params": "parameters",
    "activations": "activations",
    "latency": "latency",
}


def percent(fraction: float) -> str:
    """One decimal: a validation split of a few thousand images carries no more."""
    return f"{100 * fraction:.1f}%"


def quantity(count: float) -> str:
    """Three significant digits with k, M or G."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * factor:
            return f"{_three_digits(count / factor)}{suffix}"
    return f"{count:g}"


def amount(metric: str, cost: float) -> str:
    """What a network costs, with its unit: `2.27M FLOPs`, `0.831 ms`."""
    return f"{cost:.3g} ms" if metric == "latency" else f"{quantity(cost)} {METRICS[metric]}"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def tick(count: float) -> str:
    """As `quantity`, without digits that say nothing: 500k, 1M, 1.5M."""
    text = quantity(count)
    number, suffix = (text[:-1], text[-1]) if text[-1].isalpha() else (text, "")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + suffix


def span(low: float, high: float) -> str:
    """An interval of factors; one number where both ends read the same."""
    left, right = f"{low:.2f}", f"{high:.2f}"
    return left if left == right else f"{left}{DASH}{right}"


def points(difference: float) -> str:
    """A difference of accuracies (fractions) with its sign: `+1.2`; of both signs one decimal, and
    no minus before nothing.
    """
    return (
        f"{100 * difference + 0.0:+.1f}".replace("-0.0", "0.0")
        .replace("+0.0", "0.0")
        .replace("-", "\N{MINUS SIGN}")
    )


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 network`, `2 networks`, `1,000 networks`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def joined(values: list[int]) -> str:
    """Widths or depths of the stages, in order."""
    return " \N{MIDDLE DOT} ".join(str(value) for value in values)


def joined_names(names: list[str], word: str = "and") -> str:
    """`B3`, `B3 and B4`, `B3, B4 and B5`."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shortened(text: str, limit: int = 400) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."

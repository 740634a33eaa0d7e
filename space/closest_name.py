"""The name that a mistyped name probably stands for, for error messages."""

from collections.abc import Iterable
from difflib import SequenceMatcher

# Characters that are read or typed for each other, as in efficientnet_bo for efficientnet_b0.
_LOOKALIKES = str.maketrans("oil-", "011_")


def closest_name(text: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The most similar name. Of equally similar ones it is the nearest in length, or the first.

    Args:
        text: What the user wrote.
        names: The known names.
        cutoff: The least similarity, from 0 to 1, as `difflib` computes it.

    Returns:
        The name, or None where no name is similar enough.
    """
    matcher = SequenceMatcher(b=_normalize(text), autojunk=False)
    similarities: dict[str, tuple[float, int]] = {}
    for name in names:
        matcher.set_seq1(_normalize(name))
        if matcher.ratio() >= cutoff:
            similarities[name] = (matcher.ratio(), -abs(len(name) - len(text)))
    return max(similarities, key=lambda name: similarities[name], default=None)


def suggest_name(text: str, names: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The words "did you mean 'NAME'?", or "" where no name is similar enough."""
    name = closest_name(text, names, cutoff=cutoff)
    return f"did you mean {name!r}?" if name is not None else ""


def _normalize(text: str) -> str:
    return text.lower().translate(_LOOKALIKES)

"""Seeds by hashing: the seed of (run, purpose, index) depends on nothing else, so no generator has
a state to lose.
"""

import hashlib


def derive_seed(run_seed: int, purpose: str, *index: int) -> int:
    """A seed from 0 to 2**32 - 1, the same on every machine and Python."""
    text = "/".join([str(run_seed), purpose, *map(str, index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

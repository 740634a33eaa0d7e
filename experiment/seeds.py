"""Seeds derived by hashing.

A seed depends only on the run's seed, its purpose and an index. So no generator keeps a state that
a resumed run would have to restore.
"""

import hashlib


def derive_seed(run_seed: int, purpose: str, *index: int) -> int:
    """Derive a seed, which is the same on every machine and Python version.

    Args:
        run_seed: The seed of the run.
        purpose: What the seed is for. Each purpose has its own sequence of seeds.
        *index: The position in that sequence, such as the number of a trial.

    Returns:
        An integer from 0 to 2**32 - 1.
    """
    text = "/".join([str(run_seed), purpose, *map(str, index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

"""How many CPU threads there are to use, and how the threads of OpenMP wait.

Threads that spin while they wait take CPU time from each other on a machine with other load, and
threads that sleep at once are slow on a quiet one. So the spinning is bounded. Measured for
EfficientNet-B0 at 32 px with two threads: benchmarks/threads.md.
"""

import os
from collections.abc import Mapping

_SPIN_COUNT = 100_000
_WAIT_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def count_available_cpus() -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    It respects the affinity mask (taskset, SLURM) and the CPU quota of a container (cgroups), which
    `os.cpu_count` does not, and can be limited by the variable LOKY_MAX_CPU_COUNT.
    """
    import joblib  # imported here because it takes 0.1 s

    return int(joblib.cpu_count())


def max_cpu_threads() -> int:
    """Return the number of threads that one training may use on the CPU, at least 1.

    It is the number of available CPUs, or the variable OMP_NUM_THREADS if that is less.
    """
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    available = count_available_cpus()
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


def openmp_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that bounds how long a thread of OpenMP spins, or nothing if it is set.

    OpenMP reads it when it is loaded, so it must be set before torch is imported.

    Args:
        environment: variables of the process.
    """
    if any(name in environment for name in _WAIT_VARIABLES):
        return {}
    return {"GOMP_SPINCOUNT": str(_SPIN_COUNT)}

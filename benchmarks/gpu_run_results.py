"""Summarize the trainings of the run that `gpu_check.sh` makes.

    python benchmarks/gpu_run_results.py RUN OUT

Appends one line for each study of the run directory RUN to OUT/results.jsonl. The run may have been
stopped by its time limit: all trainings that are recorded are counted.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from phinas.experiment.run_dir import RunDir
from phinas.experiment.storage.study_storage import open_storage
from phinas.experiment.storage.trial_record import TrialRecord

_FIELDS = (
    "score",
    "split",
    "curve",
    "epochs",
    "train_seconds",
    "images_per_second",
    "device",
    "cuda_graph",
    "peak_memory_bytes",
)


def summarize_study(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """States and failure reasons of the trials, and the measurements of those that have one."""
    return {
        "states": Counter(record.state.name for record in records),
        "failures": [record.reason for record in records if record.is_failed],
        "measurements": [
            {name: getattr(record.measurement, name) for name in _FIELDS}
            for record in records
            if record.has_measurement
        ],
    }


def main() -> int:
    if len(sys.argv) != 3:
        sys.stderr.write(__doc__ or "")
        return 2
    run, out = map(Path, sys.argv[1:])
    with (
        closing(open_storage(RunDir(run).study, url=None, new=False)) as storage,
        (out / "results.jsonl").open("a") as file,
    ):
        for study in ("search", "finalists", "scaling", "validation"):
            summary = summarize_study(storage.records(study))
            file.write(json.dumps({"part": "run", "study": study} | summary) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

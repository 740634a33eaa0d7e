"""The results of a run that later stages and the report read."""

from pathlib import Path

from phinas.experiment.artifacts.artifact import Artifact, OtherVersionError
from phinas.experiment.artifacts.baseline_file import BaselineFile
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.earlier_searches import EarlierSearchesFile
from phinas.experiment.artifacts.learning_rates import CHECKED_STAGES, LearningRatesFile
from phinas.experiment.artifacts.proxy_check import ProxyCheckFile
from phinas.experiment.artifacts.validation_file import ValidationFile
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir


def require_readable_versions(run: RunDir) -> None:
    """Check that no result of the run is a file of another version of phinas.

    Such a file is intact, and a stage that runs again would overwrite it. A damaged file may be
    written again.

    Raises:
        OtherVersionError: A result is of another version; names the file and both versions.
    """
    results: tuple[tuple[type[Artifact], Path], ...] = (
        (EarlierSearchesFile, run.earlier_searches),
        (ProxyCheckFile, run.proxy_check),
        *((LearningRatesFile, run.learning_rates(stage)) for stage in CHECKED_STAGES),
        (BaselineFile, run.baseline),
        (CoefficientsFile, run.coefficients),
        (ValidationFile, run.validation),
    )
    for artifact, path in results:
        if not path.exists():
            continue
        try:
            artifact.read(path)
        except OtherVersionError:
            raise
        except InputError:
            continue

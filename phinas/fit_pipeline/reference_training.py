"""The fine-tuning of the published network that a fit or a family is compared with.

It is a fit in a directory of its own, in this process. The same call again resumes it.
"""

from contextlib import ExitStack

from phinas.experiment.artifacts.fit import FitRecord
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.schema.config import FitSection
from phinas.fit_pipeline.fit_steps import start_fit, train_and_measure
from phinas.fit_pipeline.pretrained_reference import make_reference_of_fit
from phinas.terminal.progress import Display


def fine_tune_reference(fit_dir: FitDir, config: FitSection, display: Display) -> None:
    """Fine-tune a published network, unless that is finished.

    Args:
        fit_dir: The directory of the fine-tuning.
        config: Network, weights and images.
        display: Shows the progress.

    Raises:
        InputError: The directory holds another fit.
        NoResultError: The training failed.
        SignalInterrupt: A signal ended it; a checkpoint is written.
    """
    from phinas.training.engine.distributed import SINGLE_PROCESS

    display.print(f"fine-tuning {config.spec}, to compare with it")
    with ExitStack() as stack:
        start_fit(fit_dir, config, SINGLE_PROCESS, stack=stack, display=display)
        if not fit_dir.is_finished:
            record = FitRecord.read(fit_dir.record_file).model_copy(update={"config": config})
            train_and_measure(
                fit_dir, record, SINGLE_PROCESS, device=config.device, display=display
            )


def fine_tune_reference_of_fit(fit_dir: FitDir, config: FitSection, display: Display) -> None:
    """Fine-tune the reference of a fit, if there is one; see `fine_tune_reference`."""
    if config.pretrained_reference is not None:
        reference = make_reference_of_fit(config)
        fine_tune_reference(FitDir(fit_dir.pretrained_reference), reference, display)
        display.print(f"training {config.spec}")

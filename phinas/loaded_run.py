"""The records of a run as data frames, and its networks: what `phinas.load` returns.

The frames are those that the report writes as CSV files (`phinas.reports.csv_export`). Scores are
fractions from 0 to 1, and nothing is rounded. A number that is not known is missing, never 0.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from phinas.deployment.trained_network import member_weights
from phinas.experiment.run_dir import RunDir
from phinas.network_source import load_network
from phinas.reports.csv_export import CSV_TABLES
from phinas.reports.run_data import RunData
from phinas.reports.run_reader import read_run_data
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class RunNetwork:
    """A network of a run.

    Attributes:
        name: Its name in the run, such as "trial-17".
        spec: Its description. `spec.cost()` is its exact cost.
        weights: The safetensors file of its trained weights. None if the run has saved none: only
            members of the family that were trained keep their weights.
    """

    name: str
    spec: ArchSpec
    weights: Path | None

    @cached_property
    def module(self) -> "nn.Module":
        """The network as a torch module on the CPU in eval mode.

        It takes images (batch, channels, height, width) as float32 and returns logits (batch,
        classes). It has the trained weights, or random ones from torch's generator where the run
        has saved none. `phinas.load_model` also gives the preprocessing of its images.

        Raises:
            InputError: The file of the weights is damaged.
        """
        if self.weights is None:
            return self.spec.build().eval()
        import torch

        from phinas.training.engine.weights_io import load_weights

        with torch.random.fork_rng(devices=[]):
            module = self.spec.build()
        load_weights(module, self.weights)
        return module.eval()


class LoadedRun:
    """The records of a run at the time when it was loaded.

    The run may be in progress, or have ended early. A stage that has not run has an empty frame
    with the same columns. Each frame is made when it is first used.

    Attributes:
        path: The run directory.
        data: The configuration, the manifest, the trials and the files of the run.
    """

    def __init__(self, directory: str | Path) -> None:
        """Read a run directory.

        Args:
            directory: The run directory.

        Raises:
            InputError: It is not a run, or a file is damaged or of another version.
            StorageError: The record of trials is damaged or cannot be reached.
        """
        run_dir = RunDir(directory)
        self.path: Path = run_dir.path
        self.data: RunData = read_run_data(run_dir)

    def __repr__(self) -> str:
        return f"LoadedRun({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The name in the configuration, or else that of the directory."""
        return self.data.config.name or self.path.name

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The trials of the search, also failed, pruned and running ones.

        Columns:
            - trial: Number of the trial, from 0. `network("trial-NUMBER")` gives its network.
            - proposal: Number among the proposals, from 0. A trial that replaces an interrupted one
              has the same number.
            - state: "complete", "pruned", "fail" or "running".
            - network_id: Identity of the network.
            - flops: Multiply-adds for one image.
            - params: Number of parameters.
            - activations: Number of activations for one image.
            - reward: Reward of the search. Missing before its exponent is estimated, and without a
              complete training. In a search for a Pareto front, the score.
            - score: Score after the training, 0 to 1, in the unit of `metric`.
            - metric: Name of the score, such as "accuracy".
            - balanced_accuracy: Mean of the accuracies of the classes, 0 to 1.
            - top5: Top-5 accuracy, 0 to 1.
            - loss: Mean cross-entropy in nats.
            - split: Split of the scored images: "validation", or "table" for a benchmark.
            - images: Number of scored images.
            - epochs: Number of trained epochs.
            - stop_reason: Why the training ended early: "stopped", "deadline" or "paused".
            - train_seconds: Time of the training in seconds.
            - images_per_second: Training images per second.
            - micro_batch_size: Images in one forward pass if the batch did not fit the memory.
            - peak_memory_bytes: Peak of allocated GPU memory in bytes.
            - device: Name of the device.
            - seed: Seed of the training.
            - num_rejected: Number of proposals that were rejected before this one.
            - attempts: Number of times that its training was started.
            - reason: Why it has no reward.
            - on_front: Whether it is on the Pareto front of score and cost.
            - finalist: Whether it was trained again as a finalist.
            - baseline: Whether it is the baseline.
            - latency_ms: Median time of one inference in ms. Only where latency is the cost.
            - latency_ms_quartile_1: Lower quartile of that time in ms.
            - latency_ms_quartile_3: Upper quartile of that time in ms.
            - choice.NAME: What the network has for the decision NAME of the search space, such as
              choice.stages.1.width.
        """
        return CSV_TABLES["trials"](self.data)

    @cached_property
    def finalists(self) -> pd.DataFrame:
        """The finalists of the search, and the published network that was trained like them.

        Columns:
            - network_id: Identity of the network.
            - trial: Number of its trial. Missing for the published network.
            - flops: Multiply-adds for one image.
            - search_reward: Reward of the search.
            - reward: Reward with the mean score over the seeds.
            - score: Mean score over the seeds on the validation split, 0 to 1.
            - tied_with_selected: Whether it is not significantly different from the baseline.
            - baseline: Whether it is the baseline.
            - expected_score: Expected score, given the noise of the trainings, 0 to 1.
            - score_seed_N: Score of the training with the seed number N, 0 to 1.
            - reference: Name of the published network.
        """
        return CSV_TABLES["finalists"](self.data)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The learning curves of all trainings, with a row for each epoch.

        A training that runs has the epochs that it has reported. A score that comes from a table
        has no curve.

        Columns:
            - stage: "search", "proxy_check", "learning_rates", "finalists", "scaling" or
              "validation".
            - trial: Number of the training in its stage, from 0. In the search, that of the trial.
            - state: "complete", "pruned", "fail" or "running".
            - network_id: Identity of the network.
            - flops: Multiply-adds for one image.
            - seed: Seed of the training.
            - epoch: Epoch, from 1.
            - score: Score on the validation split after this epoch, 0 to 1.
            - metric: Name of the score, such as "accuracy".
        """
        return CSV_TABLES["curves"](self.data)

    @cached_property
    def grid(self) -> pd.DataFrame:
        """The networks of about equal FLOPs that were compared for the coefficients.

        Row N, from 1, is the network "grid-N".

        Columns:
            - network_id: Identity of the network.
            - alpha_low: Smallest depth coefficient that gives this network after rounding.
            - alpha_high: Largest one.
            - beta_low: Smallest width coefficient.
            - beta_high: Largest one.
            - gamma_low: Smallest resolution coefficient.
            - gamma_high: Largest one.
            - resolution: Image size in px.
            - depths: Blocks of each stage, separated by spaces.
            - widths: Channels of each stage, separated by spaces.
            - flops: Multiply-adds for one image.
            - ratio: FLOPs over those of the baseline.
            - score: Mean score of the full trainings on the validation split, 0 to 1.
            - adjusted_score: Score at the mean FLOPs of the compared networks.
            - score_gap: Expected score of the best network minus that of this one, 0 to 1.
            - score_gap_low: Lower end of the 95% interval of score_gap.
            - score_gap_high: Upper end.
            - status: "winner", "tied", "open" (tied and not trained with every seed), "excluded" or
              "failed".
            - tied: Whether it is not significantly different from the best network.
            - winner: Whether it is the network to use.
            - probability_of_best: Probability to be the best of the compared networks, 0 to 1.
            - short_run_score: Score of the short training, 0 to 1.
            - num_diverged: Number of trainings that are left out because they diverged.
            - score_seed_N: Score of the full training with the seed number N, 0 to 1.
        """
        return CSV_TABLES["grid"](self.data)

    @cached_property
    def family(self) -> pd.DataFrame:
        """The scaled networks, by rising phi.

        Columns:
            - name: Name of the member, such as "b1". `network("b1")` gives its network.
            - phi: Compound coefficient.
            - network_id: Identity of the network.
            - depth_factor: Depth over that of the baseline, before rounding.
            - width_factor: Width over that of the baseline, before rounding.
            - resolution_factor: Resolution over that of the baseline, before rounding.
            - depths: Blocks of each stage, separated by spaces.
            - widths: Channels of each stage, separated by spaces.
            - resolution: Image size in px.
            - dropout: Dropout rate, 0 to 1.
            - flops: Multiply-adds for one image.
            - ratio: FLOPs over those of B0.
            - params: Number of parameters.
            - activations: Number of activations for one image.
            - validated: Whether it was trained and measured on the test split.
            - score: Mean score over the seeds on the test split, 0 to 1.
            - low: Lower end of the 95% interval of the score for the number of test images.
            - high: Upper end.
            - images: Number of test images.
            - predicted: Score that the curve predicts, 0 to 1. Only where it was not trained.
            - predicted_low: Lower end of the 95% interval of the prediction.
            - predicted_high: Upper end.
            - extrapolation: FLOPs over those of the largest trained member.
            - skip_reason: Why it was not trained.
            - score_seed_N: Score of the training with the seed number N, 0 to 1.
        """
        return CSV_TABLES["family"](self.data)

    @cached_property
    def controls(self) -> pd.DataFrame:
        """The other ways to scale, and other networks, that the family is compared with.

        Columns:
            - name: Name in `validation.controls`, such as "depth". `network("control-depth")` gives
              its network.
            - label: Its name in words.
            - kind: "depth", "width", "resolution", "paper", "coefficients", "published" or
              "spec_file".
            - family_member: Name of the member that it is compared with.
            - phi: Exponent of its coefficients.
            - alpha: Depth coefficient.
            - beta: Width coefficient.
            - gamma: Resolution coefficient.
            - network_id: Identity of the network.
            - flops: Multiply-adds for one image.
            - ratio: FLOPs over those of B0.
            - params: Number of parameters.
            - validated: Whether it was trained and measured on the test split.
            - score: Mean score over the seeds on the test split, 0 to 1.
            - low: Lower end of the 95% interval of the score for the number of test images.
            - high: Upper end.
            - images: Number of test images.
            - difference: Score of the member minus that of the control, at equal FLOPs. Above 0 the
              member is better.
            - difference_low: Lower end of the 95% interval of the difference, corrected for
              multiple comparisons.
            - difference_high: Upper end.
            - flops_adjustment: Score that was subtracted because the member has more FLOPs.
            - verdict: "better", "worse" or "tied", of the member.
            - skip_reason: Why there is no comparison.
            - score_seed_N: Score of the training with the seed number N, 0 to 1.
        """
        return CSV_TABLES["controls"](self.data)

    def network(self, name: str) -> RunNetwork:
        """Read a network of the run.

        Args:
            name: "baseline", a member of the family such as "b1", "trial-17", "finalist-17",
                "grid-3" or "control-depth".

        Returns:
            Its description, its torch module, and the file of its weights where it has one.

        Raises:
            InputError: The run has no network of this name. The message lists the names.
            StorageError: The record of trials is damaged or cannot be reached.

        Examples:
            >>> network = phinas.load("runs/photos").network("trial-17")
            >>> network.spec.cost().flops
            4412800
        """
        spec = load_network(f"{self.path}:{name}", field="name")
        weights = member_weights(RunDir(self.path), name)
        return RunNetwork(name, spec, weights if weights.is_file() else None)

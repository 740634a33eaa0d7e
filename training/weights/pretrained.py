"""Initial weights of a training: what they are, what they need, and how a network gets them.

Everything is checked against the spec alone, so a wrong file is refused before images are read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from phinas.experiment.errors import InputError
from phinas.space.interchange.initial_state_dict import InitialStateDict, to_initial_state_dict
from phinas.space.interchange.known_weights import (
    NORMALIZATIONS,
    KnownWeights,
    identify_weights,
)
from phinas.space.interchange.library_models import LIBRARY_MODELS, library_name, library_spec
from phinas.space.interchange.state_dict_namings import STATE_DICT_NAMINGS, WeightsError
from phinas.space.presets import PRESETS, preset
from phinas.space.spec import ArchSpec
from phinas.training.weights.hub_weights import WeightsSource, find_weights
from phinas.training.weights.weights_file import WeightsFile, read_weights

NORMALIZATION_KEY, FIELDS_KEY = "phinas.normalization", "phinas.fields"
_MEANINGS = {"padding": "how convolutions pad their input", "bn_eps": "epsilon of the batch norms"}
FIELDS = tuple(_MEANINGS)
_MAX_SUGGESTIONS = 3  # of networks that weights fit


@dataclass(frozen=True)
class InputStatistics:
    """Normalization that weights were trained with.

    Attributes:
        mean: mean of each channel, for pixels from 0 to 1.
        std: standard deviation of each channel.
        source: where it is known from, such as "config.json of the weights".
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights of another training.

    Attributes:
        source: where they are.
        file: what the file holds.
        statistics: the normalization that they were trained with; None if it is unknown.
        fields: fields of the spec that they were trained with, as far as known.
        fields_source: where the fields are known from.
    """

    source: WeightsSource
    file: WeightsFile
    statistics: InputStatistics | None
    fields: Mapping[str, Any]
    fields_source: str

    @property
    def is_of_library(self) -> bool:
        """Whether the tensors are named as in timm, torchvision or another library."""
        return self.file.contents.naming is not STATE_DICT_NAMINGS["phinas"]

    def adapt_spec(self, spec: ArchSpec) -> ArchSpec:
        """`spec` with the padding and batch norm that the weights were trained with."""
        return replace(spec, **self.fields)

    def initial_state_dict(self, spec: ArchSpec) -> InitialStateDict:
        """The tensors for a network.

        Raises:
            InputError: the weights are of another network; names a tensor and its shapes.
        """
        try:
            return to_initial_state_dict(self.file.contents.tensors, spec)
        except WeightsError as error:
            hint = _suggest_specs(self.file.contents.tensors)
            raise InputError(f"{self.source.path}: {error}{hint}") from None

    def load_into(self, model: nn.Module, spec: ArchSpec) -> InitialStateDict:
        """Load the weights into a model of `spec`.

        If the classifier does not fit, that of the model becomes zero (Kolesnikov et al., BiT,
        arXiv:1912.11370). The gradients of a random one would damage the other weights: measured,
        they cost a fine-tuning of two epochs many points (benchmarks/finetune.md).

        Raises:
            InputError: the weights are of another network; names a tensor and its shapes.
        """
        initial = self.initial_state_dict(spec)
        state = model.state_dict()
        classifier = {
            name: torch.zeros_like(tensor)
            for name, tensor in state.items()
            if name.startswith("classifier.")
        }
        model.load_state_dict(state | classifier | initial.tensors)
        return initial

    def describe(self, spec: ArchSpec) -> list[str]:
        """What is said to the user before the images are read, one fact a line."""
        name = self.source.name
        lines = [f"{name}: {self.file.contents.describe()}"]
        changes = {
            field: value for field, value in self.fields.items() if getattr(spec, field) != value
        }
        if changes:
            lines.append(
                f"{name}: was trained with {_describe_fields(changes)}, {self.fields_source}; the "
                "network is changed to the same"
            )
        if not self.fields and self.is_of_library:
            settings = _describe_fields({field: getattr(spec, field) for field in FIELDS})
            lines.append(
                f"{name}: does not say which published model it is, so the network keeps "
                f"{settings}; if the weights were trained with others, name the model as SPEC, "
                "such as timm:NAME"
            )
        return lines

    def describe_fit(self, initial: InitialStateDict, spec: ArchSpec) -> list[str]:
        """What is said to the user when the images are known, one fact a line."""
        name, lines = self.source.name, []
        if initial.file_channels != spec.channels:
            if spec.channels == 1:
                how = "summed"
            elif spec.channels < initial.file_channels:
                how = f"those of the first {spec.channels} channels, scaled"
            else:
                how = "repeated and scaled"
            lines.append(
                f"{name}: has {initial.file_channels} input channels and the images have "
                f"{spec.channels}; the weights of the stem are {how}"
            )
        if not initial.has_classifier:
            reason = (
                "has no classifier for this network"
                if initial.file_classes is None
                else f"has {initial.file_classes:,} classes and the data set has {spec.classes:,}"
            )
            lines.append(f"{name}: {reason}; the classifier is reinitialized")
        return lines


def read_pretrained(name: str, *, spec_name: str = "") -> PretrainedWeights:
    """Read weights, and find out how they were trained.

    Args:
        name: `hf:OWNER/NAME[@REVISION][:FILE]` or a path.
        spec_name: the name of the spec that they are for, which may tell which model they are.

    Raises:
        InputError: the file is missing, damaged or of another format, or holds no known state dict.
    """
    source = find_weights(name)
    file = read_weights(source.path)
    known = _identify(source, file, spec_name)
    own_statistics, own_fields = _read_own_metadata(source.path, file.metadata)
    naming = file.contents.naming
    fields = dict(known.fields if known else {}) | dict(naming.fields) | own_fields
    if own_fields:
        fields_source = "according to the header of the weights"
    elif naming.fields:
        fields_source = f"as in {naming.description}"
    else:
        fields_source = f"as in {known.name}" if known else ""
    statistics = own_statistics or _known_statistics(source, known, spec_name)
    return PretrainedWeights(source, file, statistics, fields, fields_source)


def _describe_fields(fields: Mapping[str, Any]) -> str:
    """Fields of a spec and what they are."""
    return " and ".join(f"{field}: {value} ({_MEANINGS[field]})" for field, value in fields.items())


def _suggest_specs(tensors: Mapping[str, torch.Tensor]) -> str:
    """The presets, or else the networks of libraries, that have these tensors, for an error
    message; "" if there is none.
    """
    for names, make_spec in ((PRESETS, preset), (LIBRARY_MODELS, library_spec)):
        fitting = [name for name in names if _have_same_shapes(tensors, make_spec(name))]
        if fitting:
            return f" (they fit {' and '.join(fitting[:_MAX_SUGGESTIONS])})"
    return ""


def _have_same_shapes(tensors: Mapping[str, torch.Tensor], spec: ArchSpec) -> bool:
    try:
        to_initial_state_dict(tensors, spec)
    except WeightsError:
        return False
    return True


def _known_statistics(
    source: WeightsSource, known: KnownWeights | None, spec_name: str
) -> InputStatistics | None:
    if source.config.mean:
        where = f"config.json of {source.repository or 'the weights'}"
        return InputStatistics(source.config.mean, source.config.std, where)
    if known is None:
        return None
    mean, std = NORMALIZATIONS[known.normalization]
    is_assumed = known.name.partition(":")[2] == library_name(spec_name).rpartition(":")[2]
    where = "assumed from the name of the spec" if is_assumed else f"known for {known.name}"
    return InputStatistics(mean, std, where)


def _identify(source: WeightsSource, file: WeightsFile, spec_name: str) -> KnownWeights | None:
    """The published model that the weights are, by the most reliable name."""
    naming = next(
        key for key, naming in STATE_DICT_NAMINGS.items() if naming is file.contents.naming
    )
    names = [source.repository.rpartition("/")[2], source.config.architecture]
    names += [file.contents.architecture, source.path.stem]
    names += [f"preset:{spec_name}" if spec_name in PRESETS else library_name(spec_name)]
    return identify_weights(naming, filter(None, names))


def _read_own_metadata(
    path: Path, metadata: Mapping[str, str]
) -> tuple[InputStatistics | None, dict[str, Any]]:
    """The normalization and fields in the header of a file of phinas."""
    try:
        statistics = json.loads(metadata.get(NORMALIZATION_KEY, "null"))
        fields = json.loads(metadata.get(FIELDS_KEY, "{}"))
        mean, std = ((), ()) if statistics is None else (statistics["mean"], statistics["std"])
        return (
            InputStatistics(tuple(mean), tuple(std), "header of the weights") if mean else None,
            {name: fields[name] for name in FIELDS if name in fields},
        )
    except (ValueError, TypeError, KeyError):
        raise InputError(
            f"{path}: is damaged (its header is not that of phinas); restore it from a copy"
        ) from None

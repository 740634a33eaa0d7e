"""A trained network by name: its files, its classes and its preprocessing.

A name is the directory of a fit, its `spec.yaml`, or RUN:NAME for a member of a run's family.
"""

from dataclasses import dataclass
from pathlib import Path

from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.artifacts.fit import FitMeasurement, TrainedNetwork
from phinas.experiment.artifacts.prepared_data import RECORD_FILE, PreparedDataRecord
from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.experiment.artifacts.trained_weights import TrainedWeights
from phinas.experiment.artifacts.validation_file import MemberRecord, ValidationFile
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.run_dir import RunDir
from phinas.network_source import split_run_name
from phinas.space.closest_name import suggest_name
from phinas.space.loading import path_exists
from phinas.space.network import ScalableNetwork
from phinas.space.yaml_io import YamlError, read_yaml


@dataclass(frozen=True)
class TrainedNetworkFiles:
    """A trained network on disk.

    Attributes:
        spec: The network.
        weights: Its weights, a safetensors file.
        classes: Names of the classes, in the order of the logits.
        preprocessing: How an image becomes its input.
        data: The directory of the prepared images; None where they are not there any more.
        origin: The training that the weights are from; None where it is not recorded.
    """

    spec: ScalableNetwork
    weights: Path
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    data: Path | None
    origin: TrainedWeights | None

    @property
    def data_directory(self) -> Path:
        """The directory of the prepared images.

        Raises:
            InputError: They are not there any more.
        """
        if self.data is None:
            raise InputError(
                f"{self.weights.parent}: the prepared images are not there any more; restore the "
                "folder data of the fit or run"
            )
        return self.data


def find_trained_network(source: str) -> TrainedNetworkFiles | None:
    """The trained network of a name.

    Args:
        source: The directory of a fit, its `spec.yaml`, or RUN:NAME.

    Returns:
        None where the name is of something else, such as a preset.

    Raises:
        InputError: The name is of a fit or a run, and its network is not trained; or a file is
            damaged.
    """
    member = split_run_name(source)
    if member is not None:
        run, name = member
        return _read_member(run, name) if name in _family_names(run) else None
    path = Path(source).expanduser()
    if not path_exists(path):
        return None
    if path.is_dir():
        return _read_directory(FitDir(path))
    return _read_spec_file(path)


def require_trained_network(source: str, *, argument: str) -> TrainedNetworkFiles:
    """The trained network of a name, as `find_trained_network`.

    Args:
        source: The name.
        argument: What error messages call it.

    Raises:
        InputError: There is no trained network of this name.
    """
    network = find_trained_network(source)
    if network is not None:
        return network
    member = split_run_name(source)
    if member is not None:
        run, name = member
        problem = (
            f"{run.path} has no family member {name!r}"
            if name
            else f"{run.path}: has no name after the colon"
        )
        raise InputError(f"{argument}: {problem}; {_advise_on_member(run, name)}")
    raise InputError(
        f"{argument}: {source!r} is no trained network; name the directory of a fit, RUN:NAME for "
        "a member of a run's family (such as runs/photos:b1), or an exported ONNX file"
    )


def _advise_on_member(run: RunDir, name: str) -> str:
    """What to do about a name that is not that of a member of the family."""
    names = _family_names(run)
    if not names:
        return "`phinas scale` makes the family"
    if name.startswith(("trial-", "finalist-", "grid-", "control-")) or name == "baseline":
        return (
            "only members of the family keep their weights; train this network with "
            f"`phinas fit {run.path}:{name}`"
        )
    return suggest_name(name, names) or f"its members are {', '.join(names)}"


def _read_directory(fit_dir: FitDir) -> TrainedNetworkFiles | None:
    run = RunDir(fit_dir.path)
    if run.exists:
        trained = [name for name in _family_names(run) if member_weights(run, name).is_file()]
        advice = (
            f"name one of its networks, such as {run.path}:{trained[0]}"
            if trained
            else f"train its family first: phinas validate {run.path}"
        )
        raise InputError(f"{run.path}: is the directory of a run; {advice}")
    if fit_dir.spec.is_file() and fit_dir.weights.is_file():
        return _read_spec_file(fit_dir.spec)
    if fit_dir.exists:
        raise InputError(
            f"{fit_dir.path}: the training has not finished; call `phinas fit` again to resume it"
        )
    raise InputError(
        f"{fit_dir.path}: is not the directory of a fit ({fit_dir.spec.name} and "
        f"{fit_dir.weights.name} are missing); check the path"
    )


def _read_spec_file(path: Path) -> TrainedNetworkFiles | None:
    """The trained network of a `spec.yaml`; None where it is no such file, or has no weights."""
    fit_dir = FitDir(path.parent)
    if path.suffix not in (".yaml", ".yml") or not fit_dir.weights.is_file():
        return None
    try:
        content = read_yaml(path)
    except (OSError, YamlError):
        return None
    if not isinstance(content, dict) or content.get("format") != TrainedNetwork.FORMAT:
        return None
    network = TrainedNetwork.from_dict(content, source=str(path))
    return TrainedNetworkFiles(
        network.spec,
        fit_dir.weights,
        network.classes,
        network.preprocessing,
        _prepared_images(fit_dir.data),
        _find_origin_of_fit(fit_dir),
    )


def _find_origin_of_fit(fit_dir: FitDir) -> TrainedWeights | None:
    if not fit_dir.measurement.is_file():
        return None
    measurement = FitMeasurement.read(fit_dir.measurement).measurement
    return TrainedWeights(
        seed=measurement.seed,
        score=measurement.score,
        metric=measurement.metric,
        images=measurement.images,
        mean_score=measurement.score,
        trainings=1,
    )


def _family_names(run: RunDir) -> list[str]:
    return sorted(path.stem for path in run.family.glob("b*.yaml"))


def member_weights(run: RunDir, name: str) -> Path:
    """The file of the weights of a family member, if it was trained."""
    return run.family / f"{name}.safetensors"


def _read_member(run: RunDir, name: str) -> TrainedNetworkFiles:
    member = FamilyMember.read(run.family / f"{name}.yaml")
    weights = member_weights(run, name)
    origin = _find_origin_of_member(run, member)
    if not weights.is_file():
        alone = f"`phinas fit {run.path}:{name}`"
        raise InputError(
            f"{weights}: was deleted or renamed; restore it, or train this network with {alone}"
            if origin
            else f"{run.path}:{name} is not trained; train the family with `phinas validate "
            f"{run.path}`, or this network alone with {alone}"
        )
    data = PreparedDataRecord.read(run.data / RECORD_FILE).data
    return TrainedNetworkFiles(
        member.spec,
        weights,
        data.classes,
        Preprocessing.of_data(data, resolution=member.spec.resolution),
        _prepared_images(run.data),
        origin,
    )


def _find_origin_of_member(run: RunDir, member: FamilyMember) -> TrainedWeights | None:
    if not run.validation.is_file():
        return None
    validation = ValidationFile.read(run.validation)
    for record in validation.members:
        if record.network_id == member.network_id:
            return describe_origin(record, metric=validation.metric)
    return None


def describe_origin(record: MemberRecord, *, metric: str) -> TrainedWeights | None:
    """The training that the weights of a family member are from.

    Args:
        record: The validation of the member.
        metric: Name of its score.

    Returns:
        None where no weights were saved.
    """
    if record.weights is None or record.result is None:
        return None
    return TrainedWeights(
        seed=record.weights.seed,
        score=record.weights.score,
        metric=metric,
        images=record.result.images,
        mean_score=record.result.score,
        trainings=len(record.result.scores),
    )


def _prepared_images(directory: Path) -> Path | None:
    return directory if (directory / RECORD_FILE).is_file() else None

"""The results of a fit as files, and as what `phinas fit` returns.

The test split is opened here, once. `measurement.json` is written last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.artifacts.fit import FitMeasurement, FitRecord, TrainedNetwork
from phinas.experiment.artifacts.learning_problem import LearningProblem
from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.experiment.artifacts.pretrained_reference import PretrainedReference
from phinas.experiment.csv_text import make_csv_text
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.learning_check import find_learning_problem
from phinas.experiment.manifest import describe_machine
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import write_atomic
from phinas.fit_pipeline.model_card import ClassScore, write_card
from phinas.fit_pipeline.pretrained_reference import compare_with_reference
from phinas.reports.formatting import pluralize
from phinas.reports.sentences.learning_problem import describe_learning_problem
from phinas.reports.sentences.pretrained import describe_pretrained
from phinas.reports.sentences.validation_gap import describe_validation_gap

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.train import TrainingResult

_FILES = (
    "weights",
    "spec",
    "model_card",
    "curve",
    "per_class_accuracy",
    "confusion",
    "onnx",
)
_ENDINGS = {"deadline": ", ended at its time limit", "stopped": ", stopped early"}


@dataclass(frozen=True)
class FitResult:
    """The result of a fit.

    Attributes:
        directory: The directory of the fit.
        network_id: The identifier of the network.
        measurement: The scores on the test split, and the validation score after each epoch.
        validation_images: The number of validation images.
        weights: The trained weights, a safetensors file.
        spec: The network, its classes and the preprocessing of its input, a YAML file.
        model_card: The model card, a Markdown file.
        curve: The validation scores after each epoch, a CSV file.
        per_class_accuracy: The accuracy of each class on the test split, a CSV file.
        confusion: The number of test images by label and prediction, a CSV file.
        onnx: The network as ONNX; None where it was not requested.
        pretrained_reference: The comparison with a fine-tuned published network; None where it was
            not requested.
        learning_problem: What shows that the network has learned little; None where nothing does.
    """

    directory: Path
    network_id: str
    measurement: Measurement
    validation_images: int
    weights: Path
    spec: Path
    model_card: Path
    curve: Path
    per_class_accuracy: Path
    confusion: Path
    onnx: Path | None
    pretrained_reference: PretrainedReference | None
    learning_problem: LearningProblem | None

    @property
    def score(self) -> float:
        """The accuracy on the test split, 0 to 1."""
        return self.measurement.score

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of `score`, given the number of test images."""
        return self.measurement.interval()

    @property
    def remarks(self) -> list[str]:
        """What a reader of the scores must know, as on the model card."""
        reference = self.pretrained_reference
        remarks = [
            describe_learning_problem(self.learning_problem, of_fit=True),
            describe_pretrained(reference) if reference else "",
            describe_validation_gap(self.measurement, self.validation_images),
        ]
        return [remark for remark in remarks if remark]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        measurement = self.measurement
        low, high = self.interval
        paths = {name: getattr(self, name) for name in _FILES}
        return {
            "directory": str(self.directory),
            "network_id": self.network_id,
            "score": measurement.score,
            "metric": measurement.metric,
            "interval": [low, high],
            "balanced_accuracy": measurement.balanced_accuracy,
            "top5": measurement.top5,
            "loss": measurement.loss,
            "images": measurement.images,
            "epochs": measurement.epochs,
            "stop_reason": measurement.stop_reason,
            "train_seconds": measurement.train_seconds,
            "images_per_second": measurement.images_per_second,
            "device": measurement.device,
            "seed": measurement.seed,
            "pretrained_reference": self.pretrained_reference.to_dict()
            if self.pretrained_reference
            else None,
            "learning_problem": self.learning_problem.to_dict() if self.learning_problem else None,
            "remarks": self.remarks,
        } | {name: str(path) if path else None for name, path in paths.items()}


def write_results(
    fit_dir: FitDir, record: FitRecord, data: "PreparedData", training_result: "TrainingResult"
) -> None:
    """Measure on the test split; write weights, network, tables, model card and measurement."""
    from phinas.training.engine.evaluate import evaluate_test_split
    from phinas.training.engine.job import make_measurement
    from phinas.training.engine.weights_io import save_weights

    evaluation = evaluate_test_split(
        training_result.model,
        data,
        resolution=record.spec.resolution,
        mean=training_result.mean,
        std=training_result.std,
        count_errors=True,
    )
    measurement = make_measurement(
        training_result, evaluation, split="test", seed=record.config.seed
    )
    save_weights(
        training_result.model,
        record.spec,
        fit_dir.weights,
        normalization=(data.mean, data.std),
    )
    preprocessing = Preprocessing.of_data(data, resolution=record.spec.resolution)
    TrainedNetwork(spec=record.spec, classes=data.classes, preprocessing=preprocessing).write(
        fit_dir.spec
    )
    curve = (
        (epoch, point.accuracy, point.loss, point.top5)
        for epoch, point in enumerate(training_result.curve, start=1)
    )
    write_atomic(fit_dir.curve, make_csv_text(("epoch", "accuracy", "loss", "top5"), curve))
    classes = _score_classes(data, measurement)
    rows = ((row.name, row.images, row.accuracy) for row in classes)
    write_atomic(fit_dir.per_class_accuracy, make_csv_text(("class", "images", "accuracy"), rows))
    result = FitMeasurement(
        network_id=record.spec.network_id,
        measurement=measurement,
        validation_images=data.validation,
        machine=describe_machine(),
        pretrained_reference=compare_with_reference(fit_dir, record, measurement),
        learning_problem=find_learning_problem(evaluation.confusion, data.classes),
    )
    write_atomic(fit_dir.confusion, _confusion_table(data.classes, evaluation.confusion))
    write_card(
        fit_dir,
        record,
        data,
        result,
        classes=classes,
        confusion=evaluation.confusion,
        preprocessing=preprocessing,
    )
    result.write(fit_dir.measurement)


def _score_classes(data: "PreparedData", measurement: Measurement) -> list[ClassScore]:
    rows = zip(data.classes, data.test_counts, measurement.per_class_accuracy, strict=True)
    return [ClassScore(*row) for row in rows]


def read_results(fit_dir: FitDir) -> FitResult:
    """The result of a finished fit, from its files.

    Raises:
        InputError: `measurement.json` is missing, damaged or of another version.
    """
    result = FitMeasurement.read(fit_dir.measurement)
    return FitResult(
        directory=fit_dir.path,
        network_id=result.network_id,
        measurement=result.measurement,
        validation_images=result.validation_images,
        weights=fit_dir.weights,
        spec=fit_dir.spec,
        model_card=fit_dir.model_card,
        curve=fit_dir.curve,
        per_class_accuracy=fit_dir.per_class_accuracy,
        confusion=fit_dir.confusion,
        onnx=fit_dir.onnx if fit_dir.onnx.exists() else None,
        pretrained_reference=result.pretrained_reference,
        learning_problem=result.learning_problem,
    )


def summary_line(result: FitResult) -> str:
    """The result in one line, and a line for each remark, for the terminal."""
    measurement = result.measurement
    low, high = result.interval
    ending = _ENDINGS.get(measurement.stop_reason, "")
    return (
        f"accuracy {measurement.score:.1%} on {measurement.images:,} test images (95% interval "
        f"{low:.1%} to {high:.1%}), balanced accuracy "
        f"{measurement.balanced_accuracy:.1%}; {pluralize(measurement.epochs, 'epoch')} in "
        f"{measurement.train_seconds:,.0f} s{ending}"
        + "".join(f"\n{remark}" for remark in result.remarks)
    )


def _confusion_table(classes: Sequence[str], confusion: Sequence[tuple[int, int, int]]) -> str:
    """The number of test images by label and prediction, where there are some."""
    rows = ((classes[label], classes[predicted], count) for label, predicted, count in confusion)
    return make_csv_text(("label", "prediction", "images"), rows)

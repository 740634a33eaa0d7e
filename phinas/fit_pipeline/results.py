"""What a fit came to, as files. The test split is opened here, once; `measurement.json` is written
last.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from phinas.experiment.fit_dir import FitDir
from phinas.experiment.manifest import describe_machine
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import write_atomic, write_json
from phinas.fit_pipeline.fit_record import FitRecord
from phinas.reports.formatting import pluralize
from phinas.space.yaml_io import dump_yaml

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.train import TrainingResult

_RESULT_FIELDS = (
    "accuracy",
    "top5",
    "loss",
    "images",
    "epochs",
    "train_seconds",
    "images_per_second",
    "device",
    "seed",
)


def write_results(
    fit_dir: FitDir, record: FitRecord, data: "PreparedData", training_result: "TrainingResult"
) -> None:
    """Measure on the test split; write weights, network, tables, card and measurement."""
    import numpy as np

    from phinas.fit_pipeline.model_card import write_card
    from phinas.training.data.prepared_dataset import ARRAYS
    from phinas.training.engine.evaluate import evaluate_test_split
    from phinas.training.engine.job import make_measurement
    from phinas.training.engine.weights_io import save_weights

    resolution = record.spec.resolution
    score = evaluate_test_split(
        training_result.model,
        data,
        resolution=resolution,
        mean=training_result.mean,
        std=training_result.std,
    )
    measurement = make_measurement(training_result, score, split="test", seed=record.config.seed)
    labels = np.load(data.directory / ARRAYS["test"][1], allow_pickle=False)
    counts = np.bincount(labels, minlength=len(data.classes)).tolist()
    save_weights(training_result.model, record.spec, fit_dir.weights)
    preprocessing = {"classes": list(data.classes), "mean": list(data.mean), "std": list(data.std)}
    write_atomic(fit_dir.spec, dump_yaml({"spec": record.spec.to_dict()} | preprocessing))
    curve = (
        (epoch, point.accuracy, point.loss, point.top5)
        for epoch, point in enumerate(training_result.curve, start=1)
    )
    write_atomic(fit_dir.curve, _csv_table(("epoch", "accuracy", "loss", "top5"), curve))
    classes = list(zip(data.classes, counts, measurement.per_class_accuracy, strict=True))
    write_atomic(fit_dir.per_class_accuracy, _csv_table(("class", "images", "accuracy"), classes))
    machine = describe_machine()
    write_card(fit_dir, record, data, measurement, classes=classes, machine=machine)
    low, high = measurement.interval()
    extra = {"interval": [low, high], "mean_class_accuracy": measurement.mean_class_accuracy}
    write_json(
        fit_dir.measurement,
        measurement.to_dict() | extra | {"spec_id": record.spec.spec_id, "machine": machine},
    )


def read_results(fit_dir: FitDir) -> dict[str, Any]:
    """What a finished fit came to, and where its files are."""
    data = json.loads(fit_dir.measurement.read_text())
    measurement = Measurement.from_dict(data)
    result = {"directory": str(fit_dir.path), "spec_id": data["spec_id"]} | {
        name: data[name] for name in _RESULT_FIELDS
    }
    result |= {"stop_reason": measurement.stop_reason, "interval": list(measurement.interval())}
    result["mean_class_accuracy"] = measurement.mean_class_accuracy
    paths = {
        name: getattr(fit_dir, name)
        for name in ("weights", "spec", "model_card", "curve", "per_class_accuracy", "onnx")
    }
    return result | {name: str(path) if path.exists() else None for name, path in paths.items()}


def summary_line(result: dict[str, Any]) -> str:
    low, high = result["interval"]
    epochs = pluralize(result["epochs"], "epoch")
    ending = {"deadline": ", ended at its time limit", "stopped": ", stopped early"}.get(
        result["stop_reason"], ""
    )
    return (
        f"{result['accuracy']:.1%} of {result['images']:,} test images right (95%: {low:.1%} to "
        f"{high:.1%}), mean of the classes "
        f"{result['mean_class_accuracy']:.1%}; {epochs} in {result['train_seconds']:,.0f} s{ending}"
    )


def _csv_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()

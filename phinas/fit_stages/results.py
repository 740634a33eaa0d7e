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
from phinas.fit_stages.record import Fit
from phinas.reports.formatting import counted
from phinas.space.yaml_io import dump_yaml

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData
    from phinas.training.engine.train import Trained

_TOLD = (
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


def write_results(place: FitDir, asked: Fit, data: "PreparedData", trained: "Trained") -> None:
    """Measure on the test split; write weights, network, tables, card and measurement."""
    import numpy as np

    from phinas.fit_stages.model_card import write_card
    from phinas.training.data.prepared_dataset import ARRAYS
    from phinas.training.engine.evaluate import evaluate_final
    from phinas.training.engine.job import measurement_of
    from phinas.training.engine.weights_io import save_weights

    side = asked.spec.resolution
    score = evaluate_final(trained.model, data, side=side, mean=trained.mean, std=trained.std)
    measured = measurement_of(trained, score, split="test", seed=asked.config.seed)
    labels = np.load(data.directory / ARRAYS["test"][1], allow_pickle=False)
    counts = np.bincount(labels, minlength=len(data.classes)).tolist()
    save_weights(trained.model, asked.spec, place.weights)
    needs = {"classes": list(data.classes), "mean": list(data.mean), "std": list(data.std)}
    write_atomic(place.spec, dump_yaml({"spec": asked.spec.to_dict()} | needs))
    curve = (
        (epoch, point.accuracy, point.loss, point.top5)
        for epoch, point in enumerate(trained.curve, start=1)
    )
    write_atomic(place.curve, _table(("epoch", "accuracy", "loss", "top5"), curve))
    classes = list(zip(data.classes, counts, measured.by_class, strict=True))
    write_atomic(place.by_class, _table(("class", "images", "accuracy"), classes))
    machine = describe_machine()
    write_card(place, asked, data, measured, classes=classes, machine=machine)
    low, high = measured.interval()
    more = {"interval": [low, high], "mean_class_accuracy": measured.mean_class_accuracy}
    write_json(
        place.measurement,
        measured.to_dict() | more | {"spec_id": asked.spec.spec_id, "machine": machine},
    )


def read_results(place: FitDir) -> dict[str, Any]:
    """What a finished fit came to, and where its files are."""
    data = json.loads(place.measurement.read_text())
    measured = Measurement.from_dict(data)
    facts = {"directory": str(place.path), "spec_id": data["spec_id"]} | {
        name: data[name] for name in _TOLD
    }
    facts |= {"ended": measured.ended, "interval": list(measured.interval())}
    facts["mean_class_accuracy"] = measured.mean_class_accuracy
    paths = {
        name: getattr(place, name)
        for name in ("weights", "spec", "card", "curve", "by_class", "onnx")
    }
    return facts | {name: str(path) if path.exists() else None for name, path in paths.items()}


def sentence(facts: dict[str, Any]) -> str:
    low, high = facts["interval"]
    epochs = counted(facts["epochs"], "epoch")
    early = {"deadline": ", ended at its time limit", "stopped": ", stopped early"}.get(
        facts["ended"], ""
    )
    return (
        f"{facts['accuracy']:.1%} of {facts['images']:,} test images right (95%: {low:.1%} to "
        f"{high:.1%}), mean of the classes "
        f"{facts['mean_class_accuracy']:.1%}; {epochs} in {facts['train_seconds']:,.0f} s{early}"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()

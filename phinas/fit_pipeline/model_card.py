"""The model card of a fit: what the network is, what it was trained on and how, how good it is, and
what nobody measured.

Its front matter is what the Hugging Face hub reads: tags, and a `model-index` with the accuracy on
the test split. It names no
license: that is for whoever owns data and weights to say.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.fit_dir import FitDir
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import write_atomic
from phinas.experiment.schema.config import Recipe
from phinas.experiment.statistics.intervals import wilson_interval
from phinas.fit_pipeline.fit_record import FitRecord
from phinas.reports.formatting import pluralize
from phinas.space.cost import network_cost
from phinas.space.yaml_io import dump_yaml

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData

_NUM_WORST_CLASSES = 5
_HUB_PREFIX = "hf:"
_OPTIMIZERS = {
    "sgd": "SGD with Nesterov momentum 0.9",
    "adamw": "AdamW",
    "rmsprop": "RMSProp as TensorFlow has it",
}
# of each class its name, test images and accuracy among them
Classes = Sequence[tuple[str, int, float]]


def write_card(
    fit_dir: FitDir,
    record: FitRecord,
    data: "PreparedData",
    measurement: Measurement,
    *,
    classes: Classes,
    machine: dict[str, Any],
) -> None:
    name = _network_name(record.config.spec)
    front_matter = _front_matter(name, record, data, measurement)
    sections = {
        _escape_cell(f"{name} on {data.name}"): [_summary(record, data, measurement)],
        "How to load it": _loading(),
        "Network": _network(record),
        "Data": _data(record, data),
        "Training": _training(record, data, measurement),
        "Results": _results(data, measurement, classes),
        "What was not measured": _not_measured(record, data, measurement),
        "Versions": _versions(measurement, machine),
    }
    parts = [f"---\n{dump_yaml(front_matter)}---"]
    for heading_level, (title, lines) in zip(
        [1] + [2] * len(sections), sections.items(), strict=False
    ):
        parts += [f"{'#' * heading_level} {title}", "\n".join(lines)]
    write_atomic(fit_dir.model_card, "\n\n".join(parts) + "\n")


def _network_name(source: str) -> str:
    """A name for people: of a file its stem."""
    return Path(source).stem if source.endswith((".yaml", ".yml")) else source.rpartition(":")[2]


def _file_name(weights: str) -> str:
    return weights if weights.startswith(_HUB_PREFIX) else Path(weights).name


def _front_matter(
    name: str, record: FitRecord, data: "PreparedData", measurement: Measurement
) -> dict[str, Any]:
    source, weights = record.config.data.source, record.config.weights or ""
    on_hub = source.startswith(_HUB_PREFIX)
    dataset_id = source.removeprefix(_HUB_PREFIX) if on_hub else re.sub(r"[^\w.-]+", "-", data.name)
    metrics = [
        {"type": "accuracy", "value": round(measurement.accuracy, 6), "name": "accuracy"},
        {
            "type": "accuracy",
            "value": round(measurement.mean_class_accuracy, 6),
            "name": "mean accuracy of the classes",
        },
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data.name, "type": dataset_id, "split": "test"},
        "metrics": metrics,
    }
    front_matter = {
        "library_name": "phinas",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "pytorch"],
    }
    return front_matter | {
        **({"datasets": [dataset_id]} if on_hub else {}),
        **(
            {"base_model": re.split("[@:]", weights.removeprefix(_HUB_PREFIX))[0]}
            if weights.startswith(_HUB_PREFIX)
            else {}
        ),
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [result]}],
    }


def _summary(record: FitRecord, data: "PreparedData", measurement: Measurement) -> str:
    low, high = measurement.interval()
    origin = (
        f"fine-tuned from `{_file_name(record.config.weights)}`"
        if record.config.weights
        else "trained from random weights"
    )
    accuracy_text = (
        f"**{measurement.accuracy:.1%}** of {measurement.images:,} test images are right (95% "
        f"interval {low:.1%} to {high:.1%})"
    )
    return (
        f"Tells {len(data.classes)} classes apart: {accuracy_text}. A convolutional network of "
        f"{network_cost(record.spec).params:,} parameters, "
        f"{origin} by phinas."
    )


def _loading() -> list[str]:
    return [
        "With phinas installed, in the directory of this file:",
        "",
        "```python",
        "import torch",
        "from safetensors.torch import load_file",
        "from phinas.space.blocks import build",
        "from phinas.space.loading import load_spec",
        "from phinas.space.yaml_io import read_yaml",
        "from pathlib import Path",
        "",
        'facts = read_yaml(Path("spec.yaml"))  # also what an image must go through, and the '
        "names of the classes",
        'model = build(load_spec("spec.yaml")).eval()  # a plain torch.nn.Module',
        'model.load_state_dict(load_file("weights.safetensors"))',
        'mean, std = (torch.tensor(facts[name]).view(-1, 1, 1) for name in ("mean", "std"))',
        "",
        "# images: uint8 (N, channels, resolution, resolution)",
        'classes = [facts["classes"][best] for best in model((images / 255 - mean) / '
        "std).argmax(1)]",
        "```",
        "",
        "`phinas export spec.yaml --weights weights.safetensors --out network.py` writes one file "
        "that needs torch alone.",
    ]


def _network(record: FitRecord) -> list[str]:
    spec, total_cost = record.spec, network_cost(record.spec)
    return [
        f"- `{_network_name(record.config.spec)}` for these images: {spec.resolution} x "
        f"{spec.resolution} x {spec.channels}, "
        f"{spec.classes} classes (spec {spec.spec_id}; `phinas describe spec.yaml` shows all of "
        "it)",
        f"- {total_cost.flops:,} multiply-adds per image, {total_cost.params:,} parameters, "
        f"{total_cost.activations:,} activations",
        f"- {total_cost.inference_bytes() / 1e6:,.1f} MB at least in float32 for one image",
    ]


def _data(record: FitRecord, data: "PreparedData") -> list[str]:
    source = "by the training images" if record.config.mean is None else "as was asked"
    lines = [
        f"- `{data.name}`, fingerprint {data.fingerprint} (of pixels, labels and splits)",
        f"- {data.train:,} training, {data.validation:,} validation and {data.test:,} test images "
        f"of {data.image_size} pixels",
        f"- normalized {source}: mean {_format_numbers(data.mean)}, deviation "
        f"{_format_numbers(data.std)}",
    ]
    if data.skipped_images:
        lines.append(f"- {len(data.skipped_images):,} unreadable images were left out")
    return lines


def _training(record: FitRecord, data: "PreparedData", measurement: Measurement) -> list[str]:
    recipe = record.recipe
    mirror_note = ", half of them mirrored" if record.mirrors_images(data) else ""
    lines = [f"- {sentence}" for sentence in describe_recipe(recipe)]
    lines.append(
        f"- images are shifted by up to {record.config.data.max_shift:.1%} of their "
        f"side{mirror_note}"
    )
    if record.config.weights:
        file = f"`{_file_name(record.config.weights)}` (sha256 {record.weights_sha256[:16]})"
        trained_part = (
            "only the classifier learned" if record.config.freeze_backbone else "all of it learned"
        )
        classifier = (
            "with its classifier" if record.classifier == "loaded" else "its classifier drawn anew"
        )
        lines.append(f"- began with {file}, {classifier}; {trained_part}")
    if measurement.stop_reason:
        reason = (
            f"after {measurement.epochs} of {recipe.epochs} epochs, its learning rate not yet "
            "fallen"
        )
        lines.append(f"- **ended early** ({measurement.stop_reason}) {reason}")
    if measurement.micro_batch_size:
        batch_norm_note = (
            "" if record.config.freeze_backbone else ": batch norm saw these, not the batch"
        )
        lines.append(
            f"- memory held {measurement.micro_batch_size} images at a time{batch_norm_note}"
        )
    speed = (
        f"{measurement.train_seconds:,.0f} s at {measurement.images_per_second:,.0f} images/s on "
        f"{measurement.device}"
    )
    return [
        *lines,
        f"- seed {record.config.seed}; {speed}; validation scores of all epochs in `curve.csv`",
    ]


def describe_recipe(recipe: Recipe) -> list[str]:
    """What a recipe does, in sentences; what is off is not told."""
    per = "" if recipe.optimizer == "adamw" else " per 256 images of a batch"
    steps = [
        f"{pluralize(recipe.epochs, 'epoch')} in batches of {recipe.batch_size}, "
        f"{_OPTIMIZERS[recipe.optimizer]}, weight decay "
        f"{recipe.weight_decay:g}, label smoothing {recipe.label_smoothing:g}",
        f"learning rate {recipe.learning_rate:g}{per}: warm-up over {recipe.warmup_fraction:.0%} "
        "of the "
        "steps, then a cosine to zero",
    ]
    strengths = {
        "random crops": recipe.min_crop_area,
        "cutout": recipe.cutout_size,
        "RandAugment": recipe.randaugment_magnitude,
    }
    strengths |= {"mixup": recipe.mixup, "cutmix": recipe.cutmix}
    augmentations = [f"{name} {value:g}" for name, value in strengths.items() if value]
    if augmentations:
        steps.append(", ".join(augmentations))
    if recipe.initial_resolution_fraction < 1:
        steps.append(
            f"smaller images at first, from {recipe.initial_resolution_fraction:.0%} of the "
            "resolution, and "
            "milder augmentation"
        )
    if recipe.ema_fraction:
        steps.append(
            f"the weights are an average over the last {recipe.ema_fraction:.1%} of the steps"
        )
    if recipe.class_balanced_loss:
        steps.append("classes weigh alike in the loss, however many images they have")
    return steps


def _results(data: "PreparedData", measurement: Measurement, classes: Classes) -> list[str]:
    low, high = measurement.interval()
    rows = [
        ("accuracy", f"{measurement.accuracy:.2%}"),
        ("its 95% interval, for the number of test images", f"{low:.2%} to {high:.2%}"),
        ("mean accuracy of the classes", f"{measurement.mean_class_accuracy:.2%}"),
        ("right class among the best five", f"{measurement.top5:.2%}"),
        ("cross-entropy", f"{measurement.loss:.4f}"),
    ]
    rows = [row for row in rows if "five" not in row[0] or len(data.classes) > 5]
    lines = [
        "On the test split, which was opened once, after the last epoch:",
        "",
        *_markdown_table(("", "measured"), rows),
    ]
    worst = sorted(classes, key=lambda row: row[2])[:_NUM_WORST_CLASSES]
    table_rows = []
    for name, images, accuracy in worst:
        lower, upper = wilson_interval(accuracy, images)
        table_rows.append(
            (_escape_cell(name), f"{images:,}", f"{accuracy:.1%}", f"{lower:.1%} to {upper:.1%}")
        )
    header = ("worst classes", "test images", "accuracy", "95% interval")
    return [
        *lines,
        "",
        *_markdown_table(header, table_rows),
        "",
        "All classes are in `per_class_accuracy.csv`.",
    ]


def _not_measured(record: FitRecord, data: "PreparedData", measurement: Measurement) -> list[str]:
    lines = [
        "- Other images than this data set's: another camera, place or year may give another "
        "accuracy.",
        "- The luck of the seed: this is one training. Another seed may give some tenths of a "
        "point more or less, or several "
        "points where images are few.",
        "- Whether its probabilities can be taken at their word (calibration), and what it says "
        "of other things.",
        "- Harm by its errors: which ones matter is not in an accuracy.",
        "- Time and memory on the device where it is to run: `phinas describe` counts, it does "
        "not time.",
    ]
    if data.duplicates:
        duplicates_note = (
            f"{data.duplicates:,} distinct images are in more than one split, pixel by pixel"
        )
        lines.insert(
            0,
            f"- **How much of the accuracy is memory**: {duplicates_note}. Remove the copies "
            "(`phinas data` "
            "finds them).",
        )
    if record.config.data.group_by:
        lines.insert(
            0,
            "- How much too narrow the intervals are: test images of one group are right or wrong "
            "together.",
        )
    if measurement.images < 1000:
        lines.insert(
            0,
            f"- Much: {measurement.images:,} test images tell an accuracy only within the interval "
            "above.",
        )
    return lines


def _versions(measurement: Measurement, machine: dict[str, Any]) -> list[str]:
    packages = {name: machine["packages"][name] for name in ("phinas", "torch", "numpy")}
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    return [
        f"{versions}, Python {machine['python']}; trained on {measurement.device}. The settings "
        "are in "
        "`fit.yaml`."
    ]


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _escape_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _format_numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)

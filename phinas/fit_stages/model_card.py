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
from phinas.experiment.measurement import Measurement, wilson_interval
from phinas.experiment.run_dir import write_atomic
from phinas.experiment.schema.config import Recipe
from phinas.fit_stages.record import Fit
from phinas.reports.formatting import counted
from phinas.space.cost import cost
from phinas.space.yaml_io import dump_yaml

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData

_WORST = 5
_HUB = "hf:"
_OPTIMIZERS = {
    "sgd": "SGD with Nesterov momentum 0.9",
    "adamw": "AdamW",
    "rmsprop": "RMSProp as TensorFlow has it",
}
Classes = Sequence[
    tuple[str, int, float]
]  # of each class its name, test images and accuracy among them


def write_card(
    place: FitDir,
    asked: Fit,
    data: "PreparedData",
    measured: Measurement,
    *,
    classes: Classes,
    machine: dict[str, Any],
) -> None:
    name = _network_name(asked.config.spec)
    front = _front_matter(name, asked, data, measured)
    sections = {
        _cell(f"{name} on {data.name}"): [_summary(asked, data, measured)],
        "How to load it": _loading(),
        "Network": _network(asked),
        "Data": _data(asked, data),
        "Training": _training(asked, data, measured),
        "Results": _results(data, measured, classes),
        "What was not measured": _not_measured(asked, data, measured),
        "Versions": _versions(measured, machine),
    }
    parts = [f"---\n{dump_yaml(front)}---"]
    for level, (title, lines) in zip([1] + [2] * len(sections), sections.items(), strict=False):
        parts += [f"{'#' * level} {title}", "\n".join(lines)]
    write_atomic(place.card, "\n\n".join(parts) + "\n")


def _network_name(source: str) -> str:
    """A name for people: of a file its stem."""
    return Path(source).stem if source.endswith((".yaml", ".yml")) else source.rpartition(":")[2]


def _file_name(weights: str) -> str:
    return weights if weights.startswith(_HUB) else Path(weights).name


def _front_matter(
    name: str, asked: Fit, data: "PreparedData", measured: Measurement
) -> dict[str, Any]:
    source, weights = asked.config.data.source, asked.config.weights or ""
    on_hub = source.startswith(_HUB)
    kind = source.removeprefix(_HUB) if on_hub else re.sub(r"[^\w.-]+", "-", data.name)
    metrics = [
        {"type": "accuracy", "value": round(measured.accuracy, 6), "name": "accuracy"},
        {
            "type": "accuracy",
            "value": round(measured.mean_class_accuracy, 6),
            "name": "mean accuracy of the classes",
        },
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data.name, "type": kind, "split": "test"},
        "metrics": metrics,
    }
    front = {
        "library_name": "phinas",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "pytorch"],
    }
    return front | {
        **({"datasets": [kind]} if on_hub else {}),
        **(
            {"base_model": re.split("[@:]", weights.removeprefix(_HUB))[0]}
            if weights.startswith(_HUB)
            else {}
        ),
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [result]}],
    }


def _summary(asked: Fit, data: "PreparedData", measured: Measurement) -> str:
    low, high = measured.interval()
    begun = (
        f"fine-tuned from `{_file_name(asked.config.weights)}`"
        if asked.config.weights
        else "trained from random weights"
    )
    right = (
        f"**{measured.accuracy:.1%}** of {measured.images:,} test images are right (95% "
        f"interval {low:.1%} to {high:.1%})"
    )
    return (
        f"Tells {len(data.classes)} classes apart: {right}. A convolutional network of "
        f"{cost(asked.spec).params:,} parameters, "
        f"{begun} by phinas."
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


def _network(asked: Fit) -> list[str]:
    spec, price = asked.spec, cost(asked.spec)
    return [
        f"- `{_network_name(asked.config.spec)}` for these images: {spec.resolution} x "
        f"{spec.resolution} x {spec.channels}, "
        f"{spec.classes} classes (spec {spec.spec_id}; `phinas describe spec.yaml` shows all of it)",
        f"- {price.flops:,} multiply-adds per image, {price.params:,} parameters, "
        f"{price.activations:,} activations",
        f"- {price.inference_bytes() / 1e6:,.1f} MB at least in float32 for one image",
    ]


def _data(asked: Fit, data: "PreparedData") -> list[str]:
    by = "by the training images" if asked.config.mean is None else "as was asked"
    lines = [
        f"- `{data.name}`, fingerprint {data.fingerprint} (of pixels, labels and splits)",
        f"- {data.train:,} training, {data.validation:,} validation and {data.test:,} test images "
        f"of {data.side} pixels",
        f"- normalised {by}: mean {_numbers(data.mean)}, deviation {_numbers(data.std)}",
    ]
    if data.skipped:
        lines.append(f"- {len(data.skipped):,} unreadable images were left out")
    return lines


def _training(asked: Fit, data: "PreparedData", measured: Measurement) -> list[str]:
    recipe = asked.recipe
    mirrored = ", half of them mirrored" if asked.mirrors(data) else ""
    lines = [f"- {sentence}" for sentence in recipe_in_words(recipe)]
    lines.append(
        f"- images are shifted by up to {asked.config.data.shift:.1%} of their side{mirrored}"
    )
    if asked.config.weights:
        file = f"`{_file_name(asked.config.weights)}` (sha256 {asked.weights_sha256[:16]})"
        learned = (
            "only the classifier learned" if asked.config.freeze_backbone else "all of it learned"
        )
        classifier = (
            "with its classifier" if asked.classifier == "loaded" else "its classifier drawn anew"
        )
        lines.append(f"- began with {file}, {classifier}; {learned}")
    if measured.ended:
        told = (
            f"after {measured.epochs} of {recipe.epochs} epochs, its learning rate not yet fallen"
        )
        lines.append(f"- **ended early** ({measured.ended}) {told}")
    if measured.micro_batch:
        seen = "" if asked.config.freeze_backbone else ": batch norm saw these, not the batch"
        lines.append(f"- memory held {measured.micro_batch} images at a time{seen}")
    pace = (
        f"{measured.train_seconds:,.0f} s at {measured.images_per_second:,.0f} images/s on "
        f"{measured.device}"
    )
    return [
        *lines,
        f"- seed {asked.config.seed}; {pace}; validation scores of all epochs in `curve.csv`",
    ]


def recipe_in_words(recipe: Recipe) -> list[str]:
    """What a recipe does, in sentences; what is off is not told."""
    per = "" if recipe.optimizer == "adamw" else " per 256 images of a batch"
    steps = [
        f"{counted(recipe.epochs, 'epoch')} in batches of {recipe.batch}, "
        f"{_OPTIMIZERS[recipe.optimizer]}, weight decay "
        f"{recipe.weight_decay:g}, label smoothing {recipe.label_smoothing:g}",
        f"learning rate {recipe.learning_rate:g}{per}: warm-up over {recipe.warmup:.0%} of the "
        "steps, then a cosine to zero",
    ]
    changes = {"random crops": recipe.crop, "cutout": recipe.cutout, "RandAugment": recipe.colour}
    changes |= {"mixup": recipe.mixup, "cutmix": recipe.cutmix}
    used = [f"{name} {value:g}" for name, value in changes.items() if value]
    if used:
        steps.append(", ".join(used))
    if recipe.progressive < 1:
        steps.append(
            f"smaller images at first, from {recipe.progressive:.0%} of the resolution, and "
            "milder augmentation"
        )
    if recipe.ema:
        steps.append(f"the weights are an average over the last {recipe.ema:.1%} of the steps")
    if recipe.balance:
        steps.append("classes weigh alike in the loss, however many images they have")
    return steps


def _results(data: "PreparedData", measured: Measurement, classes: Classes) -> list[str]:
    low, high = measured.interval()
    rows = [
        ("accuracy", f"{measured.accuracy:.2%}"),
        ("its 95% interval, for the number of test images", f"{low:.2%} to {high:.2%}"),
        ("mean accuracy of the classes", f"{measured.mean_class_accuracy:.2%}"),
        ("right class among the best five", f"{measured.top5:.2%}"),
        ("cross-entropy", f"{measured.loss:.4f}"),
    ]
    rows = [row for row in rows if "five" not in row[0] or len(data.classes) > 5]
    lines = [
        "On the test split, which was opened once, after the last epoch:",
        "",
        *_markdown(("", "measured"), rows),
    ]
    worst = sorted(classes, key=lambda row: row[2])[:_WORST]
    told = []
    for name, images, accuracy in worst:
        least, most = wilson_interval(accuracy, images)
        told.append((_cell(name), f"{images:,}", f"{accuracy:.1%}", f"{least:.1%} to {most:.1%}"))
    head = ("worst classes", "test images", "accuracy", "95% interval")
    return [*lines, "", *_markdown(head, told), "", "All classes are in `by_class.csv`."]


def _not_measured(asked: Fit, data: "PreparedData", measured: Measurement) -> list[str]:
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
        leaks = f"{data.duplicates:,} distinct images are in more than one split, pixel by pixel"
        lines.insert(
            0,
            f"- **How much of the accuracy is memory**: {leaks}. Remove the copies (`phinas data` "
            "finds them).",
        )
    if asked.config.data.group_by:
        lines.insert(
            0,
            "- How much too narrow the intervals are: test images of one group are right or wrong "
            "together.",
        )
    if measured.images < 1000:
        lines.insert(
            0,
            f"- Much: {measured.images:,} test images tell an accuracy only within the interval "
            "above.",
        )
    return lines


def _versions(measured: Measurement, machine: dict[str, Any]) -> list[str]:
    packages = {name: machine["packages"][name] for name in ("phinas", "torch", "numpy")}
    told = ", ".join(f"{name} {number}" for name, number in packages.items())
    return [
        f"{told}, Python {machine['python']}; trained on {measured.device}. The settings are in "
        "`fit.yaml`."
    ]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)

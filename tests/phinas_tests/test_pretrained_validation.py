"""`validation.pretrained_reference`: a family compared with a fine-tuned published network."""

import pytest

import phinas as front
from phinas.experiment.artifacts.validation_file import ValidationFile
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import config_from_dict
from phinas.pipeline import run_stages
from phinas.reports.sentences.pretrained import describe_pretrained
from phinas.space.search_spaces.loading import load_space

pytestmark = pytest.mark.usefixtures("restore_torch_threads")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
DATA = {"max_train_images": 100, "max_validation_images": 50}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "small.yaml"
    path.write_text(SPEC.to_yaml())
    return path


@pytest.fixture(scope="module")
def reference(network, tmp_path_factory):
    """The network, and weights that it was trained to on other images."""
    settings = {f"data.{key}": value for key, value in DATA.items()}
    settings |= {"recipe": "quick", "recipe.batch_size": 50, "threads": 1, "device": "cpu"}
    out = tmp_path_factory.mktemp("weights") / "out"
    result = front.fit(str(network), data="digits", out=out, settings=settings, seed=1, quiet=True)
    return f"{network}={result.weights}"


def make_config(network, reference, **changes):
    recipe = {"epochs": 1, "batch_size": 50}
    sections = {
        "run": {"executor": "inline", "threads": 1, "device": "cpu"},
        "data": {"source": "digits", "upsample": True, **DATA},
        "scaling": {
            "baseline": str(network),
            "coefficients": [1.2, 1.1, 1.15],
            "phi": [1.0],
            "recipe": recipe,
        },
        "validation": {
            "seeds": 2,
            "recipe": recipe,
            "controls": [],
            "pretrained_reference": reference,
        },
    }
    return config_from_dict(sections | changes, source="test")


@pytest.fixture(scope="module")
def run(network, reference, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    stages = ("scale", "validate", "report")
    run_stages(make_config(network, reference), out=out, stages=stages, quiet=True)
    return RunDir(out)


def test_the_member_nearest_in_flops_is_compared_with_the_reference(run):
    validation = ValidationFile.read(run.validation)
    comparison = validation.pretrained_reference
    b0 = validation.members[0]
    assert (comparison.member, comparison.flops) == ("b0", b0.flops)
    assert (comparison.trainings, comparison.epochs) == (2, 10)
    assert comparison.difference == pytest.approx(b0.result.score - comparison.score)
    low, high = comparison.interval
    assert low < comparison.difference < high


def test_the_page_has_the_comparison(run):
    sentence = describe_pretrained(ValidationFile.read(run.validation).pretrained_reference)
    page = (run.report / "index.html").read_text()
    assert sentence.partition(" fine-tuned from")[0] in page


def test_a_repeated_validation_does_not_train_the_reference_again(run, network, reference):
    measurement = run.pretrained_reference / "measurement.json"
    before = measurement.stat().st_mtime_ns
    run_stages(make_config(network, reference), out=run.path, stages=("validate",), quiet=True)
    assert measurement.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "macro_f1"}, "accuracies are compared, and the metric is 'macro_f1'"),
        ({"reference": "resnet_50={weights}"}, "validation.pretrained_reference: "),
        ({"reference": "efficientnet_b0=nowhere.pth"}, "nowhere.pth: the weights file does not"),
    ],
)
def test_a_wrong_reference_is_refused_before_the_run(
    changes, message, network, reference, tmp_path
):
    changes = dict(changes)
    value = changes.pop("reference", reference).format(weights=reference.partition("=")[2])
    config = make_config(network, value, **changes)
    with pytest.raises(InputError) as caught:
        run_stages(config, out=tmp_path / "out", stages=("scale", "validate"), quiet=True)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_reference_without_weights_is_refused(network):
    with pytest.raises(InputError, match="use NETWORK=WEIGHTS"):
        make_config(network, "efficientnet_b0")

"""`phinas fit --pretrained-reference`: the comparison with a fine-tuned published network."""

import json
import shutil

import pytest

import phinas as front
from phinas.experiment.artifacts.pretrained_reference import PretrainedReference
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import FitSection, validate_section
from phinas.fit_pipeline.pretrained_reference import check_reference_of_fit
from phinas.reports.sentences.pretrained import describe_pretrained
from phinas.space.field_checks import SpecError
from phinas.space.search_spaces.loading import load_space

pytestmark = pytest.mark.usefixtures("restore_torch_threads")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
ALWAYS = {
    "recipe": "quick",
    "recipe.batch_size": 32,
    "threads": 1,
    "device": "cpu",
    "data.max_train_images": 400,
}


def run_fit(spec, out, **settings):
    return front.fit(str(spec), data="digits", out=out, settings=ALWAYS | settings, quiet=True)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "small.yaml"
    path.write_text(SPEC.to_yaml())
    return path


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    return run_fit(network, tmp_path_factory.mktemp("weights") / "out", seed=1).weights


@pytest.fixture(scope="module")
def compared(network, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    return run_fit(network, out, pretrained_reference=f"{network}={weights}")


def test_the_reference_is_fine_tuned_on_the_same_images(compared):
    reference = json.loads(
        (compared.directory / "pretrained_reference" / "measurement.json").read_text()
    )
    comparison = compared.pretrained_reference
    assert comparison.epochs == 10  # of the recipe finetune
    assert comparison.score == reference["measurement"]["score"]
    assert comparison.difference == pytest.approx(compared.score - comparison.score)
    low, high = comparison.interval
    assert low < comparison.difference < high
    assert comparison.flops == SPEC.cost().flops


def test_card_and_result_have_the_same_comparison(compared):
    sentence = describe_pretrained(compared.pretrained_reference)
    assert sentence in compared.model_card.read_text()
    assert compared.to_dict()["pretrained_reference"] == compared.pretrained_reference.to_dict()


def test_the_same_call_returns_the_comparison_without_training(compared, network, weights):
    before = compared.measurement.train_seconds
    again = run_fit(network, compared.directory, pretrained_reference=f"{network}={weights}")
    assert again.pretrained_reference == compared.pretrained_reference
    assert again.measurement.train_seconds == before


def test_a_reference_with_other_test_images_is_refused(compared, network, weights, tmp_path):
    other = run_fit(network, tmp_path / "other", seed=5)
    shutil.copytree(compared.directory, tmp_path / "out")
    (tmp_path / "out" / "measurement.json").unlink()
    data = tmp_path / "out" / "pretrained_reference" / "data"
    shutil.rmtree(data)
    shutil.copytree(other.directory / "data", data)
    with pytest.raises(InputError, match="its test images are not those of"):
        run_fit(network, tmp_path / "out", pretrained_reference=f"{network}={weights}")


@pytest.mark.parametrize("value", ["efficientnet_b0", "=weights.pth", "efficientnet_b0= "])
def test_a_reference_without_network_or_weights_is_refused(value, network, tmp_path):
    with pytest.raises(InputError, match="does not name a network and its weights; use NETWORK="):
        run_fit(network, tmp_path / "out", pretrained_reference=value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("small={weights}", "pretrained_reference: 'small' is neither a file nor a preset"),
        ("{network}=nowhere.pth", "pretrained_reference: nowhere.pth: the weights file does not"),
        ("resnet_50={weights}", "pretrained_reference: "),
    ],
)
def test_a_wrong_reference_is_refused_before_the_images_are_read(
    value, message, network, weights, tmp_path
):
    value = value.format(network=network, weights=weights)
    with pytest.raises((InputError, SpecError)) as caught:
        run_fit(network, tmp_path / "out", pretrained_reference=value)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_reference_of_several_processes_is_refused():
    section = {"spec": "efficientnet_b0", "data": {"source": "digits"}}
    section |= {"pretrained_reference": "efficientnet_b0=weights.pth"}
    config = validate_section(FitSection, section, source="fit")
    with pytest.raises(InputError, match="pretrained_reference: is not possible with torchrun"):
        check_reference_of_fit(config, world_size=2)


def make_reference(interval, **changes):
    fields = {
        "network": "b0",
        "weights": "folder/w.pth",
        "flops": 1234,
        "epochs": 10,
        "score": 0.9,
        "images": 400,
        "member": "",
        "trainings": 1,
        "difference": sum(interval) / 2,
    }
    return PretrainedReference(**fields | changes, interval=interval)


@pytest.mark.parametrize(
    ("interval", "beginning"),
    [
        ((-0.02, 0.03), "The accuracy of the network is not significantly different from that of"),
        ((0.01, 0.03), "The network is significantly more accurate than b0 fine-tuned from w.pth"),
        ((-0.03, -0.01), "The network is significantly less accurate than b0 fine-tuned from"),
    ],
)
def test_a_difference_is_significant_if_its_interval_excludes_zero(interval, beginning):
    sentence = describe_pretrained(make_reference(interval))
    assert sentence.startswith(beginning)
    assert "given 400 test images" in sentence
    assert sentence.endswith("each was trained once.")


def test_a_member_of_a_family_is_named_with_its_trainings():
    sentence = describe_pretrained(make_reference((0.01, 0.03), member="b2", trainings=3))
    assert sentence.startswith("B2 is significantly more accurate than b0")
    assert sentence.endswith("B2 was trained 3 times and the other once.")

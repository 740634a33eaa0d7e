"""Tests of the moving average of a network's weights."""

import pytest
import torch
from torch import nn

from phinas.training.engine.ema import ModelEma


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("capturable", [False, True])
def test_ema_averages_weights_and_statistics_and_copies_counts(capturable):
    network = make_network()
    average = ModelEma(network, fraction=0.5, capturable=capturable)
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step, weight in enumerate((1.0, 1.0, 1 / 1.5, 1 / 2)):
        network(torch.rand(2, 3, 5, 5)).square().mean().backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.sub_(parameter.grad)
        average.set_step(step)
        average.update()
        for name, tensor in network.state_dict().items():
            expected[name] = (
                (1 - weight) * expected[name] + weight * tensor
                if tensor.is_floating_point()
                else tensor.clone()
            )
    averages = average.module.state_dict()
    assert averages["1.num_batches_tracked"] == 4
    for name, tensor in expected.items():
        assert torch.allclose(averages[name], tensor, atol=1e-6), name
        assert tensor.ndim == 0 or not torch.equal(averages[name], network.state_dict()[name]), name


@pytest.mark.parametrize("capturable", [False, True])
def test_ema_with_a_horizon_of_one_step_equals_the_network(capturable):
    network = make_network()
    average = ModelEma(network, fraction=0.1, capturable=capturable)
    average.set_step(9)
    with torch.no_grad():
        network[0].weight.add_(1)
    average.update()
    assert torch.allclose(average.module[0].weight, network[0].weight, atol=1e-6)
    assert average.module[0].weight is not network[0].weight


@pytest.mark.parametrize("capturable", [False, True])
def test_the_horizon_grows_with_the_steps_so_far(capturable):
    network = make_network()
    average = ModelEma(network, fraction=0.1, capturable=capturable)
    with torch.no_grad():
        network[0].bias.fill_(1)
        average.module[0].bias.fill_(0)
        average.set_step(99)
        average.update()
    assert average.module[0].bias.tolist() == pytest.approx([0.1] * 4)


@pytest.mark.parametrize("capturable", [False, True])
def test_ema_of_a_network_without_counts_equals_the_network_after_a_step(capturable):
    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    average = ModelEma(network, fraction=0.1, capturable=capturable)
    average.set_step(0)
    with torch.no_grad():
        network[0].weight.add_(1)
    average.update()
    assert torch.allclose(average.module[0].weight, network[0].weight, atol=1e-6)

"""Tests of the moving average of a network's weights."""

import torch
from torch import nn

from phinas.training.engine.ema import ModelEma


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_ema_averages_weights_and_statistics_and_copies_counts():
    network = make_network()
    average = ModelEma(network, horizon=4)
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for _ in range(3):
        network(torch.rand(2, 3, 5, 5)).square().mean().backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.sub_(parameter.grad)
        average.update()
        for name, tensor in network.state_dict().items():
            expected[name] = (
                0.75 * expected[name] + 0.25 * tensor
                if tensor.is_floating_point()
                else tensor.clone()
            )
    averages = average.module.state_dict()
    assert averages["1.num_batches_tracked"] == 3
    for name, tensor in expected.items():
        assert torch.allclose(averages[name], tensor, atol=1e-6), name
        assert tensor.ndim == 0 or not torch.equal(averages[name], network.state_dict()[name]), name


def test_ema_with_a_horizon_of_one_step_equals_the_network():
    network = make_network()
    average = ModelEma(network, horizon=0.3)
    with torch.no_grad():
        network[0].weight.add_(1)
    average.update()
    assert torch.equal(average.module[0].weight, network[0].weight)
    assert average.module[0].weight is not network[0].weight

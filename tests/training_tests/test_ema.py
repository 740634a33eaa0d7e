"""The running average of a network's weights."""

import torch
from torch import nn

from phinas.training.engine.ema import ModelEma


def made():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_it_follows_weights_and_statistics_and_copies_counts():
    network = made()
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
    found = average.module.state_dict()
    assert found["1.num_batches_tracked"] == 3
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name
        assert tensor.ndim == 0 or not torch.equal(found[name], network.state_dict()[name]), name


def test_a_horizon_of_a_step_or_less_is_the_network_itself():
    network = made()
    average = ModelEma(network, horizon=0.3)
    with torch.no_grad():
        network[0].weight.add_(1)
    average.update()
    assert torch.equal(average.module[0].weight, network[0].weight)
    assert average.module[0].weight is not network[0].weight

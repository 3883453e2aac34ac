"""Networks and images for the tests of the models."""

import torch
from torch import nn


def images(n=2, side=64, seed=0):
    return torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def lively(network):
    """Parameters that are not the neutral ones of a new network, so that a wrong order, padding or shortcut shows."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.3, 0.3, generator=generator)
        elif isinstance(module, nn.Linear):
            module.weight.data.normal_(0, 0.05, generator=generator)
    return network.eval()

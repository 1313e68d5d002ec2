import torch
from tests.small import Net
from torch import nn

from gradbook.batchnorm import synchronized


def test_batchnorm_layers_are_synchronized_while_a_training_lasts():
    net = Net(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = net.net[1]
    with synchronized(net, 2, True, torch.device("cuda")):
        assert isinstance(net.net[1], nn.SyncBatchNorm)
        assert net.net[1].weight is before.weight
        assert net.net[1].running_mean is before.running_mean
    assert net.net[1] is before

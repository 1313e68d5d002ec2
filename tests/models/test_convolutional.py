"""Convolutional networks: against PyTorch's own layers and written-out sums."""

import copy

import pytest
import torch
from torch import nn

from gradbook import Trainer
from gradbook.data import GivenData
from gradbook.datasets import fashion_mnist, read_idx
from gradbook.errors import ConfigError, ShapeError
from gradbook.models.convolutional import (
    LeNet,
    Residual,
    ResNeXtBlock,
    corr2d,
    init_cnn,
    resnet18,
)


def test_corr2d_sums_the_products_in_each_window():
    X, K = torch.randn(6, 8, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    by_hand = [[(X[i : i + 3, j : j + 2] * K).sum() for j in range(7)] for i in range(4)]
    torch.testing.assert_close(corr2d(X, K), torch.tensor(by_hand))


def test_corr2d_of_integers_is_floating_point():
    X = torch.ones((6, 8), dtype=torch.int64)
    X[:, 2:6] = 0
    edges = corr2d(X, torch.tensor([[1.0, -1.0]]))
    assert edges.dtype == torch.float32
    assert edges[0].tolist() == [0, 1, 0, 0, 0, -1, 0]
    assert corr2d(X, torch.tensor([[1, -1]])).equal(edges)


def test_corr2d_passes_gradients_to_input_and_kernel():
    X = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    K = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(corr2d, (X, K))


def test_corr2d_refuses_a_kernel_that_does_not_fit():
    with pytest.raises(ShapeError, match=r"the input has the shape \(4, 4\) and the kernel"):
        corr2d(torch.zeros(4, 4), torch.zeros(5, 2))


def test_init_cnn_draws_from_xaviers_uniform_distribution():
    for layer in (nn.Linear(300, 100), nn.Conv2d(20, 30, 3)):
        bias = layer.bias.clone()
        init_cnn(layer)
        receptive = layer.weight[0, 0].numel()
        bound = (6 / (sum(layer.weight.shape[:2]) * receptive)) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert layer.bias.equal(bias)


@pytest.mark.parametrize("layer", [nn.LazyLinear(100), nn.LazyConv2d(100, 1)])
def test_init_cnn_of_a_lazy_layer_draws_once_the_shape_is_known(layer):
    init_cnn(layer)
    init_cnn(layer)
    layer = copy.deepcopy(layer)
    layer(torch.zeros(300, 1, 1) if isinstance(layer, nn.Conv2d) else torch.zeros(2, 300))
    bound = (6 / 400) ** 0.5  # PyTorch's own is sqrt(1 / 300), half of it
    assert 0.98 * bound < layer.weight.abs().max() <= bound
    assert type(layer) in (nn.Linear, nn.Conv2d)


def test_weights_that_are_loaded_into_a_lazy_layer_stay():
    layer = nn.LazyLinear(3)
    init_cnn(layer)
    layer.load_state_dict(nn.Linear(2, 3).state_dict())
    weight = layer.weight.clone()
    layer(torch.zeros(1, 2))
    assert layer.weight.equal(weight)


def test_lenet_is_the_network_of_its_layers():
    model = LeNet(num_classes=7)
    X = torch.rand(3, 1, 28, 28)
    Y = model(X)
    conv1, conv2, *linear = [
        layer for layer in model.net if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    H = torch.sigmoid(nn.functional.conv2d(X, conv1.weight, conv1.bias, padding=2))
    H = torch.sigmoid(nn.functional.conv2d(pooled(H), conv2.weight, conv2.bias))
    H = pooled(H).flatten(1)
    for layer in linear[:-1]:
        H = torch.sigmoid(H @ layer.weight.T + layer.bias)
    torch.testing.assert_close(Y, H @ linear[-1].weight.T + linear[-1].bias)
    assert [layer.out_features for layer in linear] == [120, 84, 7]


def pooled(H):
    return H.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))


def test_lenet_has_as_many_parameters_as_the_original_of_its_size():
    model = LeNet()
    model(torch.zeros(1, 1, 28, 28))
    assert sum(param.numel() for param in model.parameters()) == 61_706


def test_lenet_begins_with_the_weights_that_init_cnn_draws():
    model = LeNet()
    model(torch.zeros(1, 1, 28, 28))
    # PyTorch's own bound is 1 / sqrt(400) = 0.05, Xavier's sqrt(6 / 520) = 0.107.
    assert 0.1 < model.net[7].weight.abs().max() < 0.108
    assert type(model.net[7]) is nn.Linear


def test_a_residual_block_adds_its_input():
    block = Residual(3).eval()
    X = torch.rand(2, 3, 6, 6)
    block(X)
    nn.init.zeros_(block.bn2.weight)
    assert block(X).equal(X)


def test_a_residual_block_with_a_1x1_convolution_changes_channels_and_size():
    block = Residual(6, use_1x1conv=True, strides=2).eval()
    X = torch.rand(2, 3, 8, 8)
    Y = block(X)
    nn.init.zeros_(block.bn2.weight)
    torch.testing.assert_close(block(X), torch.relu(block.conv3(X)))
    assert Y.shape == (2, 6, 4, 4)


@pytest.mark.parametrize("block", [Residual(4), ResNeXtBlock(4, 2, 1), Residual(1, strides=2)])
def test_a_block_whose_input_does_not_fit_asks_for_a_1x1_convolution(block):
    with pytest.raises(ShapeError, match="Give `use_1x1conv=True`"):
        block(torch.zeros(2, 1, 8, 8))


def test_a_resnext_block_has_groups_of_so_many_channels():
    block = ResNeXtBlock(32, 8, 0.5)
    assert (block.conv2.out_channels, block.conv2.groups) == (16, 2)
    assert block(torch.zeros(2, 32, 5, 5)).shape == (2, 32, 5, 5)
    block = ResNeXtBlock(16, 4, 1, use_1x1conv=True, strides=2)
    assert block(torch.zeros(2, 32, 6, 6)).shape == (2, 16, 3, 3)


def test_a_resnext_block_in_one_group_equals_the_bottleneck_of_plain_convolutions():
    block = ResNeXtBlock(4, 4, 1).eval()
    X = torch.rand(2, 4, 5, 5)
    block(X)
    plain = nn.Sequential(
        block.conv1, block.bn1, nn.ReLU(), block.conv2, block.bn2, nn.ReLU(), block.conv3, block.bn3
    )
    torch.testing.assert_close(block(X), torch.relu(plain(X) + X))


def test_a_resnext_block_refuses_groups_that_do_not_divide_its_channels():
    with pytest.raises(ConfigError, match="make 16 channels, which are no groups of 3"):
        ResNeXtBlock(32, 3, 0.5)


def test_resnet18_knows_every_shape_at_once():
    net = resnet18(10, 3)
    assert net.training
    assert not any(isinstance(param, nn.UninitializedParameter) for param in net.parameters())
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    # 18 layers with weights: 17 convolutions and a linear one, without those of 1 x 1.
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sum(getattr(layer, "kernel_size", None) != (1, 1) for layer in layers) == 18


def test_resnet18_has_seen_nothing_when_it_is_made():
    fresh = [m for m in resnet18(2).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(fresh) == 17
    assert all(not m.running_mean.any() and m.num_batches_tracked == 0 for m in fresh)


@pytest.mark.slow
def test_lenet_learns_clothes_from_a_small_sample():
    folder = fashion_mnist.SAMPLE_FOLDER
    X = read_idx(folder / "train-images-idx3-ubyte.gz", num_dims=3)[:600, None] / 255
    y = read_idx(folder / "train-labels-idx1-ubyte.gz", num_dims=1)[:600].long()
    data = GivenData((X[:480], y[:480]), (X[480:], y[480:]), batch_size=16)
    trainer = Trainer(max_epochs=6, optimizer="adam")
    trainer.fit(LeNet(lr=0.005), data)
    assert trainer.history[-1]["val_acc"] > 0.4

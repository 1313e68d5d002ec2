import copy

import pytest
import torch
from torch import nn

from gradbook.book.adversarial import update_D, update_G


def nets():
    net_G = nn.Sequential(nn.Linear(2, 2))
    net_D = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1))
    return net_D, net_G


def test_the_discriminator_takes_the_step_of_the_written_out_loss():
    net_D, net_G = nets()
    plain = copy.deepcopy(net_D)
    X, Z = torch.randn(8, 2), torch.randn(8, 2)
    loss = nn.BCEWithLogitsLoss(reduction="sum")
    value = update_D(X, Z, net_D, net_G, loss, torch.optim.SGD(net_D.parameters(), lr=0.1))

    real, fake = plain(X).sigmoid(), plain(net_G(Z).detach()).sigmoid()
    expected = -(real.log().sum() + (1 - fake).log().sum()) / 2
    expected.backward()
    torch.testing.assert_close(value, expected)
    with torch.no_grad():
        for param, other in zip(net_D.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(param, other - 0.1 * other.grad)
    assert all(param.grad is None for param in net_G.parameters())


def test_the_generator_takes_the_step_of_the_written_out_loss():
    net_D, net_G = nets()
    plain, before = copy.deepcopy(net_G), copy.deepcopy(net_D.state_dict())
    Z = torch.randn(8, 2)
    loss = nn.BCEWithLogitsLoss(reduction="sum")
    value = update_G(Z, net_D, net_G, loss, torch.optim.SGD(net_G.parameters(), lr=0.1))

    expected = -net_D(plain(Z)).sigmoid().log().sum()
    expected.backward()
    torch.testing.assert_close(value, expected)
    with torch.no_grad():
        for param, other in zip(net_G.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(param, other - 0.1 * other.grad)
    torch.testing.assert_close(net_D.state_dict(), before)


def test_scores_may_have_the_shape_of_images():
    net_G = nn.Sequential(nn.ConvTranspose2d(4, 3, 4))
    net_D = nn.Sequential(nn.Conv2d(3, 1, 4))
    loss = nn.BCEWithLogitsLoss(reduction="sum")
    X, Z = torch.randn(5, 3, 4, 4), torch.randn(5, 4, 1, 1)
    update_D(X, Z, net_D, net_G, loss, torch.optim.Adam(net_D.parameters()))
    update_G(Z, net_D, net_G, loss, torch.optim.Adam(net_G.parameters()))


@pytest.mark.slow
def test_the_gan_of_the_book_learns_the_mean_and_the_covariance_of_its_data():
    A, b = torch.tensor([[1, 2], [-0.1, 0.5]]), torch.tensor([1.0, 2.0])
    data = torch.randn(1000, 2) @ A + b
    net_D, net_G = nets()
    for param in (*net_D.parameters(), *net_G.parameters()):
        nn.init.normal_(param, 0, 0.02)
    trainer_D = torch.optim.Adam(net_D.parameters(), lr=0.05, fused=True)
    trainer_G = torch.optim.Adam(net_G.parameters(), lr=0.005, fused=True)
    loss = nn.BCEWithLogitsLoss(reduction="sum")
    for _ in range(20):
        for X in data.split(8):
            Z = torch.randn(len(X), 2)
            update_D(X, Z, net_D, net_G, loss, trainer_D)
            update_G(Z, net_D, net_G, loss, trainer_G)

    weight, bias = net_G[0].weight.detach(), net_G[0].bias.detach()
    torch.testing.assert_close(bias, data.mean(0), atol=0.4, rtol=0)
    torch.testing.assert_close(weight @ weight.T, data.T.cov(), atol=1.2, rtol=0)

import numpy as np
import pytest
import torch

from gradbook.book import tensors

X = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (tensors.reshape(X, 3, 2), X.reshape(3, 2)),
        (tensors.reshape(X, (3, -1)), X.reshape(3, 2)),
        (tensors.to(X, torch.float64), X.double()),
        (tensors.reduce_sum(X), X.sum()),
        (tensors.reduce_sum(X, 1, keepdim=True), X.sum(1, keepdim=True)),
        (tensors.reduce_sum(X, axis=0), X.sum(0)),
        (tensors.reduce_mean(X, axis=1), X.mean(1)),
        (tensors.argmax(X, axis=1), torch.tensor([2, 2])),
        (tensors.astype(X, torch.int32), X.to(torch.int32)),
        (tensors.transpose(X), X.T),
        (tensors.expand_dims(X, 1), X.unsqueeze(1)),
        (tensors.swapaxes(X, 0, 1), X.T),
        (tensors.repeat(X, 2, 1), torch.cat((X, X))),
    ],
)
def test_agrees_with_torch(result, expected):
    assert result.dtype == expected.dtype
    assert torch.equal(result, expected)


def test_size_counts_elements():
    assert tensors.size(X) == 6


def test_numpy_leaves_the_graph():
    x = torch.ones(2, requires_grad=True) * 2
    assert isinstance(tensors.numpy(x), np.ndarray)
    assert tensors.numpy(x).tolist() == [2.0, 2.0]


def test_meshgrid_has_rows_first_and_does_not_warn():
    rows, columns = tensors.meshgrid(torch.arange(2), torch.arange(3))
    assert rows.tolist() == [[0, 0, 0], [1, 1, 1]]
    assert columns.tolist() == [[0, 1, 2], [0, 1, 2]]

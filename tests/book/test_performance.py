import re
import time

import pytest
import torch

from gradbook.book.performance import Benchmark, split_batch
from gradbook.errors import ConfigError, ShapeError


def test_a_benchmark_prints_its_description_and_the_seconds(capsys):
    with Benchmark("Without torchscript") as benchmark:
        time.sleep(0.01)
    assert re.fullmatch(r"Without torchscript: 0\.\d{4} sec\n", capsys.readouterr().out)
    assert len(benchmark.timer.times) == 1


def test_a_benchmark_passes_an_error_on(capsys):
    with pytest.raises(ZeroDivisionError), Benchmark():
        1 / 0  # noqa: B018
    assert capsys.readouterr().out.startswith("Done: ")


def test_a_batch_is_split_into_equal_parts_in_order():
    X, y = torch.arange(12.0).reshape(6, 2), torch.arange(6)
    X_parts, y_parts = split_batch(X, y, [torch.device("cpu")] * 3)
    assert [part.shape for part in X_parts] == [(2, 2)] * 3
    assert torch.equal(torch.cat(X_parts), X)
    assert torch.equal(torch.cat(y_parts), y)


def test_the_last_part_is_the_smallest_and_a_device_may_get_none():
    X = torch.arange(10)
    assert [len(part) for part in split_batch(X, X, ["cpu"] * 4)[0]] == [3, 3, 3, 1]
    assert [len(part) for part in split_batch(X[:5], X[:5], ["cpu"] * 4)[0]] == [2, 2, 1]


@pytest.mark.parametrize(
    ("X", "y", "devices", "error"),
    [
        (torch.zeros(4, 2), torch.zeros(3), ["cpu"], ShapeError),
        (torch.zeros(4, 2), torch.zeros(4), [], ConfigError),
    ],
)
def test_what_cannot_be_split_is_refused(X, y, devices, error):
    with pytest.raises(error):
        split_batch(X, y, devices)

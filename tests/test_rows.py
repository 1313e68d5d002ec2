import pytest
import torch

from gradbook.rows import cut, has_rows


def test_rows_are_cut_of_whatever_has_one_for_each_example():
    X, y = torch.arange(8).reshape(4, 2), torch.arange(4)
    batch = {"X": (X, [X]), "text": ["a", "b", "c", "d"], "scale": torch.tensor(2.0), "unit": "m"}
    assert has_rows((batch, y), 4)
    part, labels = cut((batch, y), 1, 3)
    assert labels.tolist() == [1, 2]
    assert part["X"][0].tolist() == part["X"][1][0].tolist() == [[2, 3], [4, 5]]
    assert part["text"] == ["b", "c"]
    assert part["scale"] == 2
    assert part["unit"] == "m"


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(5, 4), torch.zeros(4)),  # steps first
        ([torch.zeros(3), torch.zeros(2)], torch.zeros(4)),  # a list of what differs in size
        (object(), torch.zeros(4)),
        (torch.zeros(4, 2).to_sparse(), torch.zeros(4)),
    ],
)
def test_what_has_not_a_row_for_each_example_is_not_cut(batch):
    assert not has_rows(batch, 4)

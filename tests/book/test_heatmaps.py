import pytest
import torch
from matplotlib import pyplot as plt

from gradbook.book.figures import show_heatmaps, show_list_len_pair_hist
from gradbook.errors import ConfigError


def test_each_matrix_has_its_place_with_one_scale_of_colors():
    matrices = torch.arange(24.0, requires_grad=True).reshape(2, 3, 2, 2)
    show_heatmaps(matrices, "keys", "queries", titles=["a", "b", "c"], cmap="Blues")
    *grid, _ = plt.gcf().axes
    assert len(grid) == 6
    for ax, matrix in zip(grid, matrices.detach().reshape(6, 2, 2), strict=True):
        (image,) = ax.images
        assert image.get_array().tolist() == matrix.tolist()
        assert image.get_clim() == (0, 23)
        assert image.get_cmap().name == "Blues"
    assert [ax.get_title() for ax in grid] == ["a", "b", "c"] * 2
    assert [ax.get_xlabel() for ax in grid] == [""] * 3 + ["keys"] * 3
    assert [ax.get_ylabel() for ax in grid] == ["queries", "", ""] * 2


def test_the_colors_have_a_legend_and_the_figure_its_size():
    show_heatmaps(torch.eye(3)[None, None], "x", "y", figsize=(3, 4))
    assert plt.gcf().get_size_inches().tolist() == [3, 4]
    assert len(plt.gcf().axes) == 2


def test_what_is_no_number_leaves_the_colors_of_the_others_alone():
    show_heatmaps(torch.tensor([[[[0.0, float("nan")], [float("inf"), 2.0]]]]), "x", "y")
    assert plt.gcf().axes[0].images[0].get_clim() == (0, 2)


def test_one_matrix_is_told_how_to_be_given():
    with pytest.raises(ConfigError, match=r"matrix.reshape\(1, 1"):
        show_heatmaps(torch.eye(3), "x", "y")
    with pytest.raises(ConfigError, match="1 titles for 2 columns"):
        show_heatmaps(torch.rand(1, 2, 2, 2), "x", "y", titles=["a"])


def test_the_lengths_of_two_lists_are_counted_beside_each_other():
    show_list_len_pair_hist(["source", "target"], "tokens", "count", ["a", "b"], ["abc"] * 3)
    ax = plt.gca()
    source, target = ax.containers
    assert [sum(bar.get_height() for bar in bars) for bars in (source, target)] == [2, 3]
    assert source[0].get_height() == 2
    assert target[-1].get_height() == 3
    assert {bar.get_hatch() for bar in target} == {"/"}
    assert ax.get_xlabel() == "tokens"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["source", "target"]


def test_the_lengths_of_nothing_are_refused():
    with pytest.raises(ConfigError, match="empty"):
        show_list_len_pair_hist(["a", "b"], "x", "y", [], [[1]])

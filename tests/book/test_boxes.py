"""Boxes: against loops over single boxes, written out as the book tells them."""

import math

import matplotlib.pyplot as plt
import pytest
import torch

from gradbook.book import boxes
from gradbook.errors import ConfigError, ShapeError


def random_boxes(*shape):
    """Boxes with an area, in the unit square."""
    corner = torch.rand(*shape, 2) * 0.6
    return torch.cat([corner, corner + 0.05 + 0.35 * torch.rand(*shape, 2)], -1)


def iou(a, b):
    """The intersection over union of two boxes, as numbers."""
    a, b = a.tolist(), b.tolist()
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def kept_one_by_one(given, scores, threshold):
    """Non-maximum suppression, each box compared with each that is kept."""
    kept = []
    for i in sorted(range(len(given)), key=lambda i: -scores[i].item()):
        if all(iou(given[i], given[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def test_center_and_corners_are_inverse_of_each_other():
    given = random_boxes(3, 5)
    centers = boxes.box_corner_to_center(given)
    torch.testing.assert_close(boxes.box_center_to_corner(centers), given)
    assert boxes.box_corner_to_center(torch.tensor([0.0, 1.0, 4.0, 3.0])).tolist() == [2, 2, 4, 2]


def test_what_is_no_box_is_refused():
    with pytest.raises(ShapeError, match=r"shape \(\.\.\., 4\), but it is \(3, 5\)"):
        boxes.box_corner_to_center(torch.zeros(3, 5))


def test_anchors_come_pixel_by_pixel_first_the_sizes_then_the_ratios():
    height, width = 3, 4
    given = boxes.multibox_prior(torch.zeros(1, 3, height, width), [0.75, 0.5], [1, 2, 0.5])
    assert given.shape == (1, 3 * 4 * 4, 4)
    shapes = [(0.75, 1), (0.5, 1), (0.75, 2), (0.75, 0.5)]
    expected = []
    for i in range(height):
        for j in range(width):
            x, y = (j + 0.5) / width, (i + 0.5) / height
            for size, ratio in shapes:
                w = size * math.sqrt(ratio) * height / width / 2
                h = size / math.sqrt(ratio) / 2
                expected.append([x - w, y - h, x + w, y + h])
    torch.testing.assert_close(given[0], torch.tensor(expected))


def test_an_anchor_of_ratio_one_is_a_square_in_pixels():
    given = boxes.multibox_prior(torch.zeros(2, 1, 20, 50), sizes=[0.5], ratios=[1])
    sizes = boxes.box_corner_to_center(given)[0, :, 2:] * torch.tensor([50, 20])
    torch.testing.assert_close(sizes, torch.full((1000, 2), 10.0))


@pytest.mark.parametrize(
    ("sizes", "ratios", "told"),
    [
        ([], [1], "list of sizes"),
        ([0.5], [], "list of ratios"),
        (0.5, [1], r"list of sizes, such as sizes=\[0\.5\], but it is 0\.5"),
        ([0.5, 0], [1], "Each of sizes must be above 0"),
        ([0.5], ["1"], "Each of ratios must be a finite number"),
    ],
)
def test_anchors_need_lists_of_sizes_and_ratios_above_zero(sizes, ratios, told):
    with pytest.raises(ConfigError, match=told):
        boxes.multibox_prior(torch.zeros(1, 1, 2, 2), sizes, ratios)


def test_sizes_and_ratios_may_be_tensors():
    data = torch.zeros(1, 1, 2, 2)
    given = boxes.multibox_prior(data, torch.tensor([0.5, 0.2]), torch.tensor([1.0, 2.0]))
    assert torch.equal(given, boxes.multibox_prior(data, [0.5, 0.2], [1, 2]))


def test_iou_is_that_of_each_pair():
    first, second = random_boxes(7), random_boxes(5)
    expected = torch.tensor([[iou(a, b) for b in second] for a in first])
    torch.testing.assert_close(boxes.box_iou(first, second), expected)
    batch = boxes.box_iou(first, torch.stack([second, second + 0.1]))
    torch.testing.assert_close(batch[0], expected)
    assert batch.shape == (2, 7, 5)


def test_iou_of_boxes_without_an_area_is_zero():
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert boxes.box_iou(point, point).item() == 0


def test_anchors_stand_for_objects_as_one_by_one():
    for seed in range(20):
        torch.manual_seed(seed)
        truth, anchors = random_boxes(1 + seed % 6), random_boxes(4 + seed)
        table = [[iou(a, b) for b in truth] for a in anchors]
        expected = [
            row.index(max(row)) if max(row) >= 0.3 else -1 for row in table
        ]  # then each object gets its own
        for _ in truth[: len(anchors)]:
            best = max(max(row) for row in table)
            i = next(i for i, row in enumerate(table) if max(row) == best)
            j = table[i].index(best)
            expected[i] = j
            table[i] = [-1.0] * len(truth)
            for row in table:
                row[j] = -1.0
        found = boxes.assign_anchor_to_bbox(truth, anchors, "cpu", iou_threshold=0.3)
        assert found.tolist() == expected, seed


def test_with_fewer_anchors_than_objects_no_anchor_is_taken_twice():
    truth = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]])
    assert boxes.assign_anchor_to_bbox(truth, truth[1:], None).tolist() == [1]


def test_offsets_are_those_of_the_formula_and_lead_back():
    anchors, truth = random_boxes(2, 6), random_boxes(2, 6)
    offsets = boxes.offset_boxes(anchors, truth, eps=0)
    a, b = boxes.box_corner_to_center(anchors[1, 2]), boxes.box_corner_to_center(truth[1, 2])
    expected = [
        10 * (b[0] - a[0]) / a[2],
        10 * (b[1] - a[1]) / a[3],
        5 * math.log(b[2] / a[2]),
        5 * math.log(b[3] / a[3]),
    ]
    torch.testing.assert_close(offsets[1, 2], torch.tensor(expected))
    torch.testing.assert_close(boxes.offset_inverse(anchors, offsets), truth)


def test_the_books_dog_and_cat_get_their_anchors():
    truth = torch.tensor([[0, 0.1, 0.08, 0.52, 0.92], [1, 0.55, 0.2, 0.9, 0.88]])
    anchors = torch.tensor(
        [
            [0, 0.1, 0.2, 0.3],
            [0.15, 0.2, 0.4, 0.4],
            [0.63, 0.05, 0.88, 0.98],
            [0.66, 0.45, 0.8, 0.8],
            [0.57, 0.3, 0.92, 0.9],
        ]
    )
    offset, mask, labels = boxes.multibox_target(anchors.unsqueeze(0), truth.unsqueeze(0))
    assert labels.tolist() == [[0, 1, 2, 0, 2]]
    assert mask.reshape(5, 4)[:, 0].tolist() == [0, 1, 1, 0, 1]
    expected = [[1.4, 10, 2.5940, 7.1754], [-1.2, 0.26882, 1.6824, -1.5655]]
    torch.testing.assert_close(
        offset.reshape(5, 4)[1:3], torch.tensor(expected), atol=1e-3, rtol=1e-4
    )


def test_each_image_of_a_batch_gets_its_own_labels():
    anchors = random_boxes(1, 40)
    labels = torch.cat([torch.randint(0, 5, (3, 4, 1)).float(), random_boxes(3, 4)], -1)
    together = boxes.multibox_target(anchors, labels)
    for i in range(3):
        alone = boxes.multibox_target(anchors, labels[i : i + 1])
        assert all(whole[i].equal(part[0]) for whole, part in zip(together, alone, strict=True))


def test_rows_that_fill_up_a_batch_are_no_objects():
    anchors = random_boxes(1, 40)
    one = torch.cat([torch.tensor([[[2.0]]]), random_boxes(1, 1)], -1)
    filled = torch.cat([one, torch.full((1, 3, 5), -1.0)], 1)
    plain, padded = (boxes.multibox_target(anchors, labels) for labels in (one, filled))
    assert all(a.equal(b) for a, b in zip(plain, padded, strict=True))


@pytest.mark.parametrize("num_rows", [0, 2])
def test_an_image_without_objects_is_all_background(num_rows):
    labels = torch.full((2, num_rows, 5), -1.0)
    offset, mask, classes = boxes.multibox_target(random_boxes(1, 6), labels)
    assert not offset.any()
    assert not mask.any()
    assert classes.tolist() == [[0] * 6] * 2


def test_labels_and_anchors_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"labels must be a tensor of shape \(B, m, 5\)"):
        boxes.multibox_target(random_boxes(1, 6), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match=r"anchors must be a tensor of shape \(1, n, 4\)"):
        boxes.multibox_target(random_boxes(2, 6), torch.zeros(2, 1, 5))


@pytest.mark.parametrize("num_boxes", [0, 1, 30, 300])  # more than are compared at once
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8])
def test_nms_keeps_what_the_comparison_one_by_one_keeps(num_boxes, threshold):
    given = random_boxes(num_boxes).double()
    scores = torch.rand(num_boxes)
    found = boxes.nms(given, scores, threshold)
    assert found.dtype == torch.int64
    assert found.tolist() == kept_one_by_one(given, scores, threshold)


@pytest.mark.parametrize("num_scores", [2, 4])
def test_nms_needs_a_score_for_each_box(num_scores):
    with pytest.raises(ShapeError, match=rf"\(3, 4\) and \({num_scores},\)"):
        boxes.nms(random_boxes(3), torch.rand(num_scores), 0.5)


def test_nms_of_a_chain_keeps_every_second_box():
    """Each box leaves out the next one only if it is not left out itself."""
    left = torch.arange(300.0)
    chain = torch.stack([left, left * 0, left + 1.5, left * 0 + 1], 1)
    assert boxes.nms(chain, -left, 0.1).tolist() == list(range(0, 300, 2))


def test_nms_leaves_boxes_with_the_threshold_as_their_iou():
    pair = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert boxes.nms(pair, torch.tensor([1.0, 0.5]), 0.5).tolist() == [0, 1]
    assert boxes.nms(pair, torch.tensor([0.5, 1.0]), 0.49).tolist() == [1]


def test_detection_gives_the_rows_of_the_books_example():
    anchors = torch.tensor(
        [
            [0.1, 0.08, 0.52, 0.92],
            [0.08, 0.2, 0.56, 0.95],
            [0.15, 0.3, 0.62, 0.91],
            [0.55, 0.2, 0.9, 0.88],
        ]
    )
    probs = torch.tensor([[0.0] * 4, [0.9, 0.8, 0.7, 0.1], [0.1, 0.2, 0.3, 0.9]])
    (found,) = boxes.multibox_detection(probs[None], torch.zeros(1, 16), anchors[None])
    torch.testing.assert_close(found[:, 0], torch.tensor([0.0, 1, -1, -1]))
    torch.testing.assert_close(found[:, 1], torch.tensor([0.9, 0.9, 0.8, 0.7]))
    torch.testing.assert_close(found[:, 2:], anchors[[0, 3, 1, 2]])


def test_detection_is_that_of_a_loop_over_images_and_anchors():
    batch_size, num_anchors = 2, 25
    anchors = random_boxes(1, num_anchors)
    probs = torch.rand(batch_size, 4, num_anchors).softmax(1)
    offsets = torch.randn(batch_size, num_anchors * 4)
    found = boxes.multibox_detection(probs, offsets, anchors, 0.3, pos_threshold=0.3)
    for i in range(batch_size):
        moved = boxes.offset_inverse(anchors[0], offsets[i].reshape(-1, 4))
        best, which = probs[i, 1:].max(0)
        kept = kept_one_by_one(moved, best, 0.3)
        rows = []
        for j in [*kept, *(j for j in range(num_anchors) if j not in kept)]:
            unsure = best[j] < 0.3
            label = -1 if unsure or j not in kept else which[j].item()
            rows.append([label, 1 - best[j] if unsure else best[j], *moved[j].tolist()])
        torch.testing.assert_close(found[i], torch.tensor(rows))


def test_boxes_are_drawn_with_their_labels_in_turn_of_the_colors():
    axes = plt.figure().add_subplot()
    given = torch.tensor([[1.0, 2.0, 5.0, 9.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    boxes.show_bboxes(axes, given.requires_grad_(), ["dog", "cat"], ["w", "r"])
    first, second, third = axes.patches
    assert (first.get_xy(), first.get_width(), first.get_height()) == ((1, 2), 4, 7)
    assert first.get_edgecolor() == third.get_edgecolor() == (1, 1, 1, 1)
    assert second.get_edgecolor() == (1, 0, 0, 1)
    assert [text.get_text() for text in axes.texts] == ["dog", "cat"]
    assert [text.get_color() for text in axes.texts] == ["k", "w"]


def test_one_label_and_one_color_need_no_list():
    axes = plt.figure().add_subplot()
    boxes.show_bboxes(axes, [[1, 2, 5, 9], [0, 0, 1, 1]], "dog", "k")
    assert [text.get_text() for text in axes.texts] == ["dog"]
    assert {patch.get_edgecolor() for patch in axes.patches} == {(0, 0, 0, 1)}

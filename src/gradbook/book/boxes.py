"""Bounding boxes: anchors, their labels, and what a detector predicts from them.

A box is (left, top, right, bottom); x grows to the right, y downwards. Anchors and labels are in
fractions of the image's width and height.

Book: 14.3 (sec_bbox), 14.4 (sec_anchor).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from gradbook.checks import check_positive, check_tensor
from gradbook.errors import ConfigError, ShapeError, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

#: What offsets are divided by, so that they vary as widely as other labels.
_SPREAD_XY, _SPREAD_WH = 0.1, 0.2
#: Boxes that `nms` compares with each other at once.
_BLOCK = 256


def box_corner_to_center(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes as (center x, center y, width, height), of (left, top, right, bottom).

    Args:
        boxes: A tensor (..., 4).

    Book: 14.3.1.

    >>> box_corner_to_center(torch.tensor([[60.0, 45.0, 378.0, 516.0]]))
    tensor([[219.0000, 280.5000, 318.0000, 471.0000]])
    """
    corner, opposite = _halves(boxes)
    return torch.cat([(corner + opposite) / 2, opposite - corner], -1)


def box_center_to_corner(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes as (left, top, right, bottom), of (center x, center y, width, height).

    Args:
        boxes: A tensor (..., 4).

    Book: 14.3.1.
    """
    center, size = _halves(boxes)
    return torch.cat([center - size / 2, center + size / 2], -1)


def _halves(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    check_tensor(boxes, "boxes", "...", 4)
    return boxes[..., :2], boxes[..., 2:]


def bbox_to_rect(bbox: Any, color: str) -> "Rectangle":
    """A box as a rectangle of Matplotlib, for `axes.add_patch`.

    Args:
        bbox: (left, top, right, bottom) in the axes' units: a list, an array or a tensor (4,).
        color: The color of its edge.

    Raises:
        ShapeError: If these are not four numbers.

    Book: 14.3.1.
    """
    from matplotlib.patches import Rectangle

    values = bbox.tolist() if hasattr(bbox, "tolist") else bbox  # a tensor may require a gradient
    try:
        left, top, right, bottom = map(float, values)
    except (TypeError, ValueError):
        raise ShapeError(f"A box is four numbers, but this one is {shown(bbox)}.") from None
    return Rectangle(
        (left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=2
    )


def show_bboxes(
    axes: "Axes",
    bboxes: Any,
    labels: str | Sequence[str] | None = None,
    colors: str | Sequence[str] | None = None,
) -> None:
    """Draws boxes on axes that show an image. Book: 14.4.1.

    Args:
        axes: Matplotlib axes.
        bboxes: Boxes (left, top, right, bottom) in pixels: a tensor (n, 4) or a list of boxes.
        labels: A text at the upper left corner of each box; there may be fewer.
        colors: One color for all, or several that are used in turn.

    Raises:
        ShapeError: If a box is not four numbers.
    """
    if getattr(bboxes, "ndim", 2) != 2:
        raise ShapeError(
            f"Boxes have the shape (n, 4), but these have {tuple(bboxes.shape)}. Of one box make "
            f"a list: `[bbox]`."
        )
    labels = [labels] if isinstance(labels, str) else list(labels or [])
    colors = [colors] if isinstance(colors, str) else list(colors or "bgrmc")
    for i, bbox in enumerate(bboxes):
        color = colors[i % len(colors)]
        rect = bbox_to_rect(bbox, color)
        axes.add_patch(rect)
        if i < len(labels):
            axes.text(
                *rect.get_xy(),
                labels[i],
                va="center",
                ha="center",
                fontsize=9,
                color="k" if color in ("w", "white") else "w",
                bbox={"facecolor": color, "linewidth": 0},
            )


def multibox_prior(
    data: torch.Tensor, sizes: Sequence[float], ratios: Sequence[float]
) -> torch.Tensor:
    """Anchors of several shapes around each pixel.

    Around a pixel there are those of every size with the first ratio, then those of the first
    size with every other ratio. An anchor of size s and ratio r has the height s / sqrt(r) and the
    width s * sqrt(r) of an image that is square, in fractions of the image's height; in one that
    is not, the width is in the same unit.

    Args:
        data: Images or feature maps (..., H, W), of which only the shape counts.
        sizes: Sizes above 0, in fractions of the height.
        ratios: Ratios of width to height, above 0.

    Returns:
        A float32 tensor (1, H * W * (len(sizes) + len(ratios) - 1), 4), row by row of the pixels.

    Raises:
        ConfigError: If these are no lists of sizes and ratios above 0.
        ShapeError: If `data` has no height and width.

    Book: 14.4.1.
    """
    check_tensor(data, "data", "...", "height", "width")
    for name, given in (("sizes", sizes), ("ratios", ratios)):
        if not hasattr(given, "__len__") or not len(given):
            raise ConfigError(
                f"Anchors need a list of {name}, such as {name}=[0.5], but it is {shown(given)}."
            )
        for value in given:
            check_positive(value, f"Each of {name}")
    height, width = data.shape[-2:]
    device = data.device
    s, r = (
        torch.as_tensor(values, dtype=torch.float32, device=device) for values in (sizes, ratios)
    )
    s, r = torch.cat([s, s[:1].expand(len(r) - 1)]), torch.cat([r[:1].expand(len(s)), r[1:]])
    half = torch.stack([s * r.sqrt() * height / width, s / r.sqrt()], 1) / 2
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    center = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 1, 2)
    return torch.cat([center - half, center + half], -1).reshape(1, -1, 4)


def _check_alike(a: torch.Tensor, b: torch.Tensor, what: str, up_to: int | None = None) -> None:
    """Raises ShapeError unless the shapes, up to an axis, are the same, or one can be repeated."""
    try:
        torch.broadcast_shapes(a.shape[:up_to], b.shape[:up_to])  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise ShapeError(
            f"The shapes of {what} do not fit together: {tuple(a.shape)} and {tuple(b.shape)}."
        ) from None


def box_iou(boxes1: torch.Tensor, boxes2: torch.Tensor) -> torch.Tensor:
    """The intersection over union of each box of one list with each of another.

    Args:
        boxes1: Boxes (..., n, 4).
        boxes2: Boxes (..., m, 4).

    Returns:
        A tensor (..., n, m) of values from 0 to 1; 0 where neither box has an area.

    Raises:
        ShapeError: If these are no lists of boxes, or of different batches.

    Book: 14.4.2.

    >>> box_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
    tensor([[0.3333]])
    """
    check_tensor(boxes1, "boxes1", "...", "n", 4)
    check_tensor(boxes2, "boxes2", "...", "m", 4)
    _check_alike(boxes1, boxes2, "batches of boxes", up_to=-2)
    (corner1, opposite1), (corner2, opposite2) = _halves(boxes1), _halves(boxes2)
    area1, area2 = (opposite1 - corner1).prod(-1), (opposite2 - corner2).prod(-1)
    corner = torch.maximum(corner1.unsqueeze(-2), corner2.unsqueeze(-3))
    opposite = torch.minimum(opposite1.unsqueeze(-2), opposite2.unsqueeze(-3))
    shared = (opposite - corner).clamp(min=0).prod(-1)
    union = area1.unsqueeze(-1) + area2.unsqueeze(-2) - shared
    return torch.where(union == 0, 0.0, shared / union)


def assign_anchor_to_bbox(
    ground_truth: torch.Tensor,
    anchors: torch.Tensor,
    device: torch.device | str | None = None,
    iou_threshold: float = 0.5,
) -> torch.Tensor:
    """The object that each anchor stands for, or -1.

    First every object gets an anchor of its own: of all pairs the one with the largest IoU, then
    the next among the anchors and objects that are left. Every other anchor stands for the object
    with which its IoU is largest, if that is at least `iou_threshold`.

    Args:
        ground_truth: The objects' boxes (m, 4).
        anchors: Boxes (n, 4).
        device: Where the result is to be; None leaves it where the anchors are.
        iou_threshold: See above.

    Returns:
        An int64 tensor (n,) of indices into `ground_truth`.

    Raises:
        ShapeError: If these are no boxes (m, 4) and (n, 4).

    Book: 14.4.3.
    """
    check_tensor(ground_truth, "ground_truth", "m", 4)
    check_tensor(anchors, "anchors", "n", 4)
    iou = box_iou(anchors, ground_truth)
    is_object = torch.ones(1, len(ground_truth), dtype=torch.bool, device=iou.device)
    return _assign(iou.unsqueeze(0), is_object, iou_threshold)[0].to(device)


def _assign(iou: torch.Tensor, is_object: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """The same for a batch: IoU (B, n, m) and which objects count (B, m), as int64 (B, n)."""
    batch_size, num_anchors, num_objects = iou.shape
    if num_objects == 0:
        return iou.new_full((batch_size, num_anchors), -1, dtype=torch.int64)
    left = torch.where(is_object.unsqueeze(1), iou, -1.0)  # -1 is no IoU: it is taken, or none
    largest, which = left.max(dim=2)
    assigned = torch.where(largest >= iou_threshold, which, -1)
    rows = torch.arange(batch_size, device=iou.device)
    for _ in range(min(num_objects, num_anchors)):
        value, place = left.flatten(1).max(dim=1)
        anchor, number = place // num_objects, place % num_objects
        assigned[rows, anchor] = torch.where(value >= 0, number, assigned[rows, anchor])
        left[rows, anchor, :] = -1
        left[rows, :, number] = -1
    return assigned


def offset_boxes(
    anchors: torch.Tensor, assigned_bb: torch.Tensor, eps: float = 1e-6
) -> torch.Tensor:
    """What a detector learns: how far boxes are from their anchors.

    The distances of the centers in widths and heights of the anchor, divided by 0.1; and the
    logarithms of the quotients of widths and heights, divided by 0.2.

    Args:
        anchors: Boxes (..., n, 4).
        assigned_bb: The box that each anchor stands for, (..., n, 4).
        eps: Added to the quotients, so that the logarithm of 0 is finite.

    Returns:
        A tensor (..., n, 4).

    Raises:
        ShapeError: If there is not one box for each anchor.

    Book: 14.4.3.
    """
    _check_alike(anchors, assigned_bb, "anchors and their boxes")
    center, size = _halves(box_corner_to_center(anchors))
    true_center, true_size = _halves(box_corner_to_center(assigned_bb))
    xy = (true_center - center) / size / _SPREAD_XY
    wh = torch.log(eps + true_size / size) / _SPREAD_WH
    return torch.cat([xy, wh], -1)


def offset_inverse(anchors: torch.Tensor, offset_preds: torch.Tensor) -> torch.Tensor:
    """The boxes that predicted offsets make of anchors: the inverse of `offset_boxes`.

    Args:
        anchors: Boxes (..., n, 4).
        offset_preds: Offsets (..., n, 4).

    Returns:
        Boxes (..., n, 4).

    Raises:
        ShapeError: If there are not four offsets for each anchor.

    Book: 14.4.4.
    """
    check_tensor(offset_preds, "offset_preds", "...", 4)
    _check_alike(anchors, offset_preds, "anchors and their offsets")
    center, size = _halves(box_corner_to_center(anchors))
    xy, wh = _halves(offset_preds)
    moved = torch.cat([xy * _SPREAD_XY * size + center, torch.exp(wh * _SPREAD_WH) * size], -1)
    return box_center_to_corner(moved)


@torch.no_grad()
def multibox_target(
    anchors: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The labels of anchors: a class for each, and the offsets of the objects' boxes.

    Args:
        anchors: Boxes (1, n, 4), the same ones for each image.
        labels: Objects (B, m, 5): a class from 0, and a box. Rows with a class below 0 fill up
            images with fewer objects, and are left out.

    Returns:
        bbox_offset: Offsets, float32 (B, n * 4); 0 for an anchor of the background.
        bbox_mask: 1 for the offsets that count, 0 for the background's, float32 (B, n * 4).
        class_labels: int64 (B, n): 0 for the background, otherwise the object's class plus 1.

    Raises:
        ShapeError: If labels or anchors have another shape.

    Book: 14.4.3.
    """
    anchors = _one_set(anchors)
    check_tensor(labels, "labels", "B", "m", 5)  # a class and a box for each of m objects
    classes, boxes = labels[..., 0], labels[..., 1:]
    assigned = _assign(box_iou(anchors, boxes), classes >= 0, iou_threshold=0.5)
    is_object = assigned >= 0
    if labels.shape[1] == 0:  # there is nothing to gather from
        offset = anchors.new_zeros((len(labels), len(anchors), 4))
        class_labels = torch.zeros_like(assigned)
    else:
        index = assigned.clamp(min=0)
        truth = boxes.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
        offset = torch.where(is_object.unsqueeze(-1), offset_boxes(anchors, truth), 0.0)
        class_labels = torch.where(is_object, classes.gather(1, index).long() + 1, 0)
    mask = is_object.unsqueeze(-1).to(torch.float32).expand(-1, -1, 4)
    return offset.flatten(1).to(torch.float32), mask.flatten(1), class_labels


def _one_set(anchors: torch.Tensor) -> torch.Tensor:
    """The anchors (n, 4) of (1, n, 4), which are the same for every image."""
    if isinstance(anchors, torch.Tensor) and anchors.dim() == 2:
        anchors = anchors.unsqueeze(0)
    check_tensor(anchors, "anchors", 1, "n", 4)
    return anchors[0]


@torch.no_grad()
def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Non-maximum suppression: leaves out boxes that overlap with one of a higher score.

    Args:
        boxes: Boxes (n, 4).
        scores: Their scores (n,).
        iou_threshold: An IoU above this leaves the box of the lower score out.

    Returns:
        The indices of the boxes that stay, int64, from the highest score to the lowest.

    Raises:
        ShapeError: If there is not one score for each box.

    Book: 14.4.4.
    """
    if boxes.shape != (*scores.shape, 4) or scores.dim() != 1:
        raise ShapeError(
            f"nms needs boxes (n, 4) and their scores (n,), but their shapes are "
            f"{tuple(boxes.shape)} and {tuple(scores.shape)}."
        )
    left = torch.argsort(scores, descending=True, stable=True)
    kept = [left[:0]]
    while len(left):
        block, left = left[:_BLOCK], left[_BLOCK:]
        # overlaps[i, j]: i would leave out j, which has the lower score.
        overlaps = (box_iou(boxes[block], boxes[block]) > iou_threshold).triu(1)
        # What leaves a box out must itself stay. After k rounds the first k boxes are right.
        stays = torch.ones_like(block, dtype=torch.bool)
        while not (now := ~(overlaps & stays.unsqueeze(1)).any(0)).equal(stays):
            stays = now
        block = block[stays]
        kept.append(block)
        left = left[~(box_iou(boxes[block], boxes[left]) > iou_threshold).any(0)]
    return torch.cat(kept)


@torch.no_grad()
def multibox_detection(
    cls_probs: torch.Tensor,
    offset_preds: torch.Tensor,
    anchors: torch.Tensor,
    nms_threshold: float = 0.5,
    pos_threshold: float = 0.009999999,
) -> torch.Tensor:
    """The objects that a detector predicts, without those that are predicted twice.

    Args:
        cls_probs: Probabilities (B, 1 + num_classes, n), the background's first.
        offset_preds: Offsets (B, n * 4).
        anchors: Boxes (1, n, 4).
        nms_threshold: See `nms`; classes make no difference there.
        pos_threshold: An object whose probability is below this becomes background.

    Returns:
        A tensor (B, n, 6). Each row is an anchor's class from 0, or -1 for the background and for
        what was left out; its probability; and its box. The boxes that `nms` keeps come first,
        from the most probable on, then those that it leaves out. An object that became background
        has 1 minus its probability.

    Raises:
        ShapeError: If there are not one probability of each class and four offsets for each anchor.

    Book: 14.4.4.
    """
    anchors = _one_set(anchors)
    num_anchors = len(anchors)
    check_tensor(cls_probs, "cls_probs", "B", "1 + num_classes", num_anchors)
    if cls_probs.shape[1] < 2:
        raise ShapeError(
            f"cls_probs has the shape {tuple(cls_probs.shape)}: the probability of the background "
            f"alone. It needs one for each class besides."
        )
    check_tensor(offset_preds, "offset_preds", len(cls_probs), num_anchors * 4)
    confidence, classes = cls_probs[:, 1:].max(dim=1)
    boxes = offset_inverse(anchors, offset_preds.reshape(len(cls_probs), -1, 4))
    found = []
    for conf, class_id, box in zip(confidence, classes, boxes, strict=True):
        kept = nms(box, conf, nms_threshold)
        is_kept = torch.zeros_like(class_id, dtype=torch.bool)
        is_kept[kept] = True
        order = torch.cat([kept, (~is_kept).nonzero().flatten()])
        is_unsure = conf < pos_threshold
        shown = torch.where(is_kept & ~is_unsure, class_id, -1).to(conf.dtype)
        conf = torch.where(is_unsure, 1 - conf, conf)
        found.append(torch.cat([shown.unsqueeze(1), conf.unsqueeze(1), box], 1)[order])
    return torch.stack(found)

"""The loss: which cell is assigned to which thing, and how wrong its prediction is.

Invariants: a cell is assigned to one thing at most, and only to one that its distances can express (`REACH` strides).
The class target is the quality of the box (task-aligned), so the score shows how good the box is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BEST = 9                # at most so many cells are assigned to one thing
BETA = 6.0              # weight of the box in the assignment, relative to the class
REACH = 8.0             # strides: limits the distances, and with them the step of INT8
LEAST_HALF_PX = 5.0     # a thing smaller than the grid still gets the cells next to it
BOX_WEIGHT = 2.0


def detection_loss(logits: Tensor, ltrb: Tensor, centres: Tensor, strides: Tensor, truth: Tensor,
                   labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class loss and the box loss of a batch.

    `truth` is (batch, things, 4) in pixels, `labels` (batch, things), -1 where there is no thing.
    """
    boxes = to_boxes(ltrb, centres, strides)
    with torch.no_grad():
        owner, quality = _assign(logits.sigmoid(), boxes, centres, strides, truth, labels)
    answering = owner >= 0
    thing = owner.clamp(min=0)
    target = torch.zeros_like(logits)
    target.scatter_(2, labels.gather(1, thing).clamp(min=0)[..., None], (quality * answering)[..., None])
    weight = quality[answering]
    norm = weight.sum().clamp(min=1.0)
    focus = (target - logits.sigmoid()).abs().square().detach()
    class_loss = (focus * functional.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum() / norm
    aims = truth.gather(1, thing[..., None].expand(-1, -1, 4))[answering]
    box_loss = ((1 - _giou(boxes[answering], aims)) * weight).sum() / norm
    return class_loss, BOX_WEIGHT * box_loss


def to_boxes(ltrb: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Return xmin, ymin, xmax, ymax in pixels."""
    pixels = ltrb * strides[:, None]
    return torch.cat((centres - pixels[..., :2], centres + pixels[..., 2:]), -1)


def _assign(scores: Tensor, boxes: Tensor, centres: Tensor, strides: Tensor, truth: Tensor,
            labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each cell its assigned thing (-1: none) and the quality that its class score should show."""
    batch, cells, _ = scores.shape
    there = labels >= 0
    overlap = _iou(truth[:, :, None], boxes[:, None])                                    # batch, things, cells
    score = scores.transpose(1, 2).gather(1, labels.clamp(min=0)[..., None].expand(-1, -1, cells))
    metric = score * overlap.pow(BETA) * (_eligible(centres, strides, truth) & there[..., None])
    best = metric.topk(BEST, dim=-1)
    chosen = torch.zeros_like(metric, dtype=torch.bool).scatter_(2, best.indices, best.values > 1e-12)
    claimed = torch.where(chosen, overlap, overlap.new_tensor(-1.0))
    top, owner = claimed.max(dim=1)
    chosen &= torch.zeros_like(chosen).scatter_(1, owner[:, None], value=True)
    kept = metric * chosen
    scale = (overlap * chosen).amax(-1, keepdim=True) / kept.amax(-1, keepdim=True).clamp(min=1e-12)
    quality = (kept * scale).gather(1, owner[:, None])[:, 0]
    return torch.where(top >= 0, owner, -1), quality.reshape(batch, cells)


def _eligible(centres: Tensor, strides: Tensor, truth: Tensor) -> Tensor:
    """Return whether a cell lies in a thing and can express its distances: (batch, things, cells)."""
    middle, half = (truth[..., :2] + truth[..., 2:]) / 2, (truth[..., 2:] - truth[..., :2]) / 2
    offset = (centres - middle[:, :, None]).abs()
    inside = (offset < half.clamp(min=LEAST_HALF_PX)[:, :, None]).all(-1)
    return inside & ((offset + half[:, :, None]).amax(-1) < REACH * strides)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    shared, joined = _areas(a, b)
    return shared / joined


def _giou(a: Tensor, b: Tensor) -> Tensor:
    shared, joined = _areas(a, b)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1) + 1e-6
    return shared / joined - (hull - joined) / hull


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intersection and the union of two boxes, as areas."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    own = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (a, b)]
    return shared, own[0] + own[1] - shared + 1e-6

"""Votes in which every cell of the windows has a weight."""

import torch
from torch import Tensor

from stt_mm.ops.compactness import ONE_CELL, gathered
from stt_mm.ops.search import Part, Vote


def softmax_weights(parts: list[Part], rule: Vote) -> list[Tensor]:
    """``[n, cells, f, m]`` per part, up to their sum over cells and frames of all parts.

    Those of ``frame_topk`` are up to the number of frames: what does not vote is lost.
    """
    logits = [part.products * (1 / rule.temperature) for part in parts]
    for values, part in zip(logits, parts, strict=True):
        if part.outside is not None:
            values.masked_fill_(part.outside, -torch.inf)
    if rule.kind in ('frame_softmax', 'frame_topk'):
        weights = [values.softmax(1) for values in logits]
        if rule.kind == 'frame_topk':
            weights = [_best_of_each_frame(values, rule) for values in weights]
    else:
        top = torch.stack([values.amax((1, 2)) for values in logits]).amax(0)[:, None, None]
        weights = [values.sub_(top).exp_() for values in logits]
    for part, values in zip(parts, weights, strict=True):
        if part.repeated:
            values.mul_(part.copies[:, None])
    return weights


def _best_of_each_frame(weights: Tensor, rule: Vote) -> Tensor:
    """The ``topk`` largest along dimension 1, with all that equal the last of them if ties are kept; 0 elsewhere."""
    best, cell = weights.topk(min(rule.topk, weights.shape[1]), dim=1)
    if rule.ties == 'kept':
        return weights * (weights >= best[:, -1:])
    return torch.zeros_like(weights).scatter_(1, cell, best)


def read_compact(part: Part, weights: Tensor, mass: Tensor, total: Tensor, rule: Vote) -> Tensor:
    """``[n, m, K]``: labels of a part, where the weights of each frame are gathered around its peaks.

    Args:
        part: what was found.
        weights: ``[n, cells, f, m]``, up to the factor ``total``.
        mass: ``[n, f, m]``, sum that the weights of each frame get, up to the same factor.
        total: ``[n, m]``.
        rule: of the vote.
    """
    maps, inside = weights.unflatten(1, part.size), part.inside or (None, None)
    if rule.mass == 'peak':
        of_all = total[:, None, None, None]
        mixture = gathered(maps / of_all, *inside, rule.components, rule.sigma or ONE_CELL, normalised=False)
        best, mass = mixture.best, total[:, None]
    else:
        mixture = gathered(maps, *inside, rule.components, rule.sigma)
        best = mixture.best / total[:, None]
    mixture = mixture._replace(heights=mixture.heights * mass[:, None])
    if not rule.threshold:
        return part.labels.read_mixture(mixture)
    replaced = (best > rule.threshold)[:, None]
    read = part.labels.read_mixture(mixture._replace(heights=mixture.heights * replaced))
    return read + part.labels.read(weights * ~replaced)

"""Rules of voting, and the weights of those in which every cell of the windows has one."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stt_mm.ops.compactness import ONE_CELL, gathered
from stt_mm.ops.search import Part


@dataclass(frozen=True)
class Vote:
    """A rule of voting.

    Args:
        kind: ``topk``: the softmax over the best pairs of all frames together. ``softmax``: over all pairs.
            ``frame_softmax``: over all pairs of each frame, all frames having one weight. ``frame_topk``: the same, of
            which only the best pairs of each frame vote, with less than 1 in all (UVC). ``compact``: the softmax over
            all pairs, gathered in each frame around its highest cells (LIIR).
        temperature: divides the correlations before the softmax.
        topk: number of pairs of ``topk``, and of each frame of ``frame_topk``.
        ties: ``cut`` keeps exactly ``topk`` pairs, ``kept`` also all that are as good as the last of them.
        components: Gaussians per frame of ``compact``.
        sigma: their standard deviation in cells; ``None``: estimated.
        mass: of a frame of ``compact``: its ``share`` in the softmax over all pairs, ``equal`` ones, or what Gaussians
            have whose heights sum to 1 (``peak``, the unofficial code).
        threshold: value that the highest cell must exceed for ``compact`` to take the place of the softmax.

    Raises:
        ValueError: an unknown word, or a number out of range.
    """

    kind: Literal['topk', 'softmax', 'frame_softmax', 'frame_topk', 'compact'] = 'topk'
    temperature: float = 0.07
    topk: int = 10
    ties: Literal['cut', 'kept'] = 'cut'
    components: int = 2
    sigma: float | None = None
    mass: Literal['share', 'equal', 'peak'] = 'share'
    threshold: float = 0.0

    def __post_init__(self) -> None:
        words = dict(
            kind=('topk', 'softmax', 'frame_softmax', 'frame_topk', 'compact'),
            ties=('cut', 'kept'),
            mass=('share', 'equal', 'peak'),
        )
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} must be one of {", ".join(map(repr, allowed))}, got {getattr(self, name)!r}.')
        if min(self.topk, self.components) < 1 or self.temperature <= 0 or (self.sigma is not None and self.sigma <= 0):
            raise ValueError(f'Expected topk and components of at least 1, temperature and sigma above 0, got {self}.')


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

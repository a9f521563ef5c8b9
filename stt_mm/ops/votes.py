"""How the cells that a query may match vote for its labels."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stt_mm.ops.compactness import ONE_CELL, gathered
from stt_mm.ops.search import Part, at_least_float32


@dataclass(frozen=True)
class Vote:
    """A rule of voting.

    Args:
        kind: ``topk``: the softmax over the best pairs of all frames together. ``softmax``: over all pairs.
            ``frame_softmax``: over all pairs of each frame, all frames having one weight. ``compact``: the softmax over
            all pairs, gathered in each frame around its highest cells (LIIR).
        temperature: divides the correlations before the softmax.
        topk: number of pairs of ``topk``.
        ties: ``cut`` keeps exactly ``topk`` pairs, ``kept`` also all that are as good as the last of them.
        components: Gaussians per frame of ``compact``.
        sigma: their standard deviation in cells; ``None``: estimated.
        mass: of a frame of ``compact``: its ``share`` in the softmax over all pairs, ``equal`` ones, or what Gaussians
            have whose heights sum to 1 (``peak``, the unofficial code).
        threshold: value that the highest cell must exceed for ``compact`` to take the place of the softmax.

    Raises:
        ValueError: an unknown word, or a number out of range.
    """

    kind: Literal['topk', 'softmax', 'frame_softmax', 'compact'] = 'topk'
    temperature: float = 0.07
    topk: int = 10
    ties: Literal['cut', 'kept'] = 'cut'
    components: int = 2
    sigma: float | None = None
    mass: Literal['share', 'equal', 'peak'] = 'share'
    threshold: float = 0.0

    def __post_init__(self) -> None:
        words = dict(
            kind=('topk', 'softmax', 'frame_softmax', 'compact'), ties=('cut', 'kept'), mass=('share', 'equal', 'peak')
        )
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} must be one of {", ".join(map(repr, allowed))}, got {getattr(self, name)!r}.')
        if min(self.topk, self.components) < 1 or self.temperature <= 0 or (self.sigma is not None and self.sigma <= 0):
            raise ValueError(f'Expected topk and components of at least 1, temperature and sigma above 0, got {self}.')


def voted(parts: list[Part], block: Tensor, memory: Tensor, rule: Vote) -> Tensor:
    """Labels of the queries of a batch.

    Args:
        parts: what the ways to search found.
        block: ``[n, m, C]``, features of the queries.
        memory: ``[H, W, T, C]``.
        rule: how they vote.

    Returns:
        ``[n, m, K]``.
    """
    if rule.kind == 'topk':
        return _kept(parts, rule) if rule.ties == 'kept' else _cut(parts, block, memory, rule)
    weights = _softmax(parts, rule)
    masses = [values.sum(1) for values in weights]
    total = sum(mass.sum(1) for mass in masses)
    if rule.kind == 'compact':
        frames = sum(part.copies.sum() for part in parts)
        if rule.mass == 'equal':
            masses = [total[:, None] * (part.copies / frames)[:, None] for part in parts]
        read = [_compact(*each, total, rule) for each in zip(parts, weights, masses, strict=True)]
    else:
        read = [part.labels.read(values) for part, values in zip(parts, weights, strict=True)]
    return sum(read) / total[..., None]


def _softmax(parts: list[Part], rule: Vote) -> list[Tensor]:
    """``[n, cells, f, m]`` per part, up to their sum over cells and frames of all parts."""
    logits = [at_least_float32(part.products) * (1 / rule.temperature) for part in parts]
    for values, part in zip(logits, parts, strict=True):
        if part.outside is not None:
            values.masked_fill_(part.outside, -torch.inf)
    if rule.kind == 'frame_softmax':
        weights = [values.softmax(1) for values in logits]
    else:
        top = torch.stack([values.amax((1, 2)) for values in logits]).amax(0)[:, None, None]
        weights = [values.sub_(top).exp_() for values in logits]
    for part, values in zip(parts, weights, strict=True):
        if part.repeated:
            values.mul_(part.copies[:, None])
    return weights


def _compact(part: Part, weights: Tensor, mass: Tensor, total: Tensor, rule: Vote) -> Tensor:
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


class _Found(NamedTuple):
    """The best pairs of each query."""

    scores: Tensor  # [n, m, k]
    cells: Tensor  # [n, m, k], numbers of cells of the memory
    frames: Tensor  # [n, m, k], numbers of frames of the memory
    copies: Tensor  # [n, m, k]


def _cut(parts: list[Part], block: Tensor, memory: Tensor, rule: Vote) -> Tensor:
    """``[n, m, K]``: labels of exactly ``topk`` pairs, weighed."""
    found = _best(parts, rule.topk)
    scores = _exact(found, block, memory).flatten(0, 1)
    ordered, order = scores.sort(dim=1, descending=True)
    number = found.copies.flatten(0, 1).gather(1, order)
    number = torch.minimum(number, (rule.topk - (number.cumsum(1) - number)).clamp(min=0))
    weights = number * ((ordered - ordered[:, :1]) / rule.temperature).exp()
    weights = torch.empty_like(scores).scatter_(1, order, weights / weights.sum(1, keepdim=True))
    return _read(parts[0].labels.table, found, weights.unflatten(0, found.cells.shape[:2]))


def _kept(parts: list[Part], rule: Vote) -> Tensor:
    """``[n, m, K]``: labels of all pairs that are as good as the last of ``topk``, weighed.

    All that are exactly as good as the last have one weight, so that nobody need know which and how many they are.
    """
    found, table = _best(parts, rule.topk), parts[0].labels.table
    ordered, order = found.scores.sort(dim=2, descending=True)
    number = found.copies.gather(2, order)
    best, last = ordered[..., :1], ordered.where(number.cumsum(2) - number < rule.topk, torch.inf).amin(2, keepdim=True)
    weights = ((found.scores - best) / rule.temperature).exp().where(found.scores > last, 0) * found.copies
    voted, total = _read(table, found, weights), weights.sum(2, keepdim=True)
    weight = ((last - best) / rule.temperature).exp()
    for part in parts:
        equal = part.products == last.transpose(1, 2)[:, :, None]
        if part.outside is not None:
            equal &= ~part.outside
        equal = equal.to(table.dtype)
        if part.repeated:
            equal = equal * part.copies[:, None]
        voted, total = voted + weight * part.labels.read(equal), total + weight * equal.sum((1, 2))[..., None]
    return voted / total


def _read(table: Tensor, found: _Found, weights: Tensor) -> Tensor:
    """``[n, m, K]``: sum of the labels of the pairs ``[n, m, k]`` with these weights."""
    index = (found.cells * table.shape[1] + found.frames).flatten(0, 1)
    weights = weights.to(table.dtype).flatten(0, 1)
    read = torch.nn.functional.embedding_bag(index, table.flatten(0, 1), per_sample_weights=weights, mode='sum')
    return read.view(*found.cells.shape[:2], -1)


def _best(parts: list[Part], topk: int) -> _Found:
    """The best ``topk`` pairs of each query, of each way to search."""
    found = [_best_of(part, topk) for part in parts]
    return found[0] if len(found) == 1 else _Found(*(torch.cat(part, 2) for part in zip(*found, strict=True)))


def _best_of(part: Part, topk: int) -> _Found:
    """Without a sort of all: the ``k`` best pairs lie among the ``k`` cells whose best frame is best."""
    count, cells, frames, queries = part.products.shape
    per_cell = part.products.amax(2)
    if part.outside is not None:
        per_cell = per_cell.masked_fill_(part.outside[:, :, 0], -torch.inf)
    per_cell = per_cell.transpose(1, 2).contiguous()
    keep = min(topk, cells * frames)
    best, cell = per_cell.topk(min(keep, cells), dim=2)
    # Scores of all frames of the chosen cells.
    pairs = (cell[..., None] * frames + torch.arange(frames, device=cell.device)).flatten(2)
    scores = part.products.flatten(1, 2).gather(1, pairs.transpose(1, 2)).transpose(1, 2)
    scores = scores.masked_fill((best == -torch.inf).repeat_interleave(frames, 2), -torch.inf)
    scores, candidate = scores.topk(keep, dim=2)
    source = part.labels.cells[:, None].expand(count, queries, cells).gather(2, cell.gather(2, candidate // frames))
    chosen = candidate % frames
    return _Found(scores, source, part.labels.frames[chosen], part.copies[chosen])


def _exact(found: _Found, block: Tensor, memory: Tensor) -> Tensor:
    """Scores in float32, computed again where the products were made in half precision."""
    if found.scores.dtype not in (torch.float16, torch.bfloat16):
        return found.scores
    keys = memory.flatten(0, 1)[found.cells, found.frames]
    again = torch.einsum('nmkc,nmc->nmk', keys.float(), block.float())
    return again.masked_fill(found.scores == -torch.inf, -torch.inf)

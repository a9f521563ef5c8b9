"""AP of the part instances of VIP (AP^r_vol), as ``eval_instance2.py`` of UVC and ContrastCorr computes it.

* A predicted part takes the best overlap with the true parts of its category in its frame. It is a true positive if
  that is strictly above the threshold.
* There is no one-to-one matching: several predictions may hit one true part, and recall may exceed 1.
* Predictions of all frames are pooled by category and sorted by score. AP is the area under the precision envelope; its
  mean is over 19 categories, then over 9 thresholds. A category without true parts has AP 0 (the script gives NaN for
  it if it is predicted, which spoils the mean).
* If parts that have a score are missing from the mask, the script drops all predictions of their category in that frame
  while the true parts still count. The ancestor of the script, of ATEN, does not drop them.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from stt_mm.errors import InputError

NUM_CATEGORIES = 20
IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MAX_IDS = 256


def match_instances(
    prediction: np.ndarray,
    parts: Iterable[tuple[int, int, float]],
    truth: np.ndarray,
    categories: Mapping[int, int],
    drop_incomplete: bool = True,
) -> tuple[list[tuple[int, float, float]], np.ndarray]:
    """Best overlap of every predicted part of one frame.

    Args:
        prediction: uint8 ``[H, W]``, ids of parts, 0 the background.
        parts: (id, category, score) of the predicted parts.
        truth: uint8 ``[H, W]``, ids of the true parts, which need not be those of ``prediction``.
        categories: category by true id. Ids that are absent here or in the mask do not count.
        drop_incomplete: leave out all predictions of a category of which a part is missing from the mask (UVC), instead
            of the missing parts alone.

    Returns:
        (category, score, best intersection over union) of the predictions, in the order of ``parts``; and the number of
        true parts by category, int64 ``[20]``. Only categories 1 to 19 are evaluated.
    """
    if prediction.shape != truth.shape:
        raise InputError(
            f'Prediction and ground truth must have one shape, got {list(prediction.shape)} and {list(truth.shape)}.'
        )
    parts = [part for part in parts if _evaluated(*part[:2])]
    categories = {true_id: category for true_id, category in categories.items() if _evaluated(true_id, category)}
    largest = max(prediction.max(initial=0), truth.max(initial=0), *categories, *(part[0] for part in parts), 0)
    if largest >= MAX_IDS:
        raise InputError(f'Ids of parts must be 0 to {MAX_IDS - 1}, got {largest}.')
    pairs = prediction.astype(np.int64) * MAX_IDS + truth
    both = np.bincount(pairs.ravel(), minlength=MAX_IDS**2).reshape(MAX_IDS, MAX_IDS)
    predicted_area, true_area = both.sum(axis=1), both.sum(axis=0)

    true_ids: dict[int, list[int]] = {}
    for true_id, category in categories.items():
        if true_area[true_id]:
            true_ids.setdefault(category, []).append(true_id)
    counts = np.array([len(true_ids.get(category, ())) for category in range(NUM_CATEGORIES)])

    incomplete = {category for part_id, category, _ in parts if not predicted_area[part_id]}
    matches = []
    for part_id, category, score in parts:
        if not predicted_area[part_id] or (drop_incomplete and category in incomplete):
            continue
        candidates = true_ids.get(category, [])
        union = predicted_area[part_id] + true_area[candidates] - both[part_id, candidates]
        best = (both[part_id, candidates] / union).max(initial=0.0)
        matches.append((category, float(score), float(best)))
    return matches, counts


def instance_ap(matches: Sequence[tuple[int, float, float]], counts: np.ndarray) -> np.ndarray:
    """AP by category and threshold, from the matches of all frames of all videos.

    Args:
        matches: (category, score, best intersection over union). Equal scores keep their order.
        counts: number of true parts by category, ``[20]``.

    Returns:
        float64 ``[19, 9]``, in 0..1, for categories 1 to 19 and :data:`IOU_THRESHOLDS`; its mean is AP^r_vol.
    """
    result = np.zeros((NUM_CATEGORIES - 1, len(IOU_THRESHOLDS)))
    for category in range(1, NUM_CATEGORIES):
        ranked = np.array([match[1:] for match in matches if match[0] == category]).reshape(-1, 2)
        ranked = ranked[np.argsort(-ranked[:, 0], kind='stable')]
        if not len(ranked) or not counts[category]:
            continue
        for column, threshold in enumerate(IOU_THRESHOLDS):
            hits = np.cumsum(ranked[:, 1] > threshold)
            result[category - 1, column] = _area(hits / counts[category], hits / np.arange(1, len(hits) + 1))
    return result


def _evaluated(part_id: int, category: int) -> bool:
    return part_id > 0 and 0 < category < NUM_CATEGORIES


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Area under the envelope of a precision-recall curve, exactly (VOC 2010), up to the largest recall."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))

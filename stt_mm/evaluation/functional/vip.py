"""Mean intersection over union of the human parts of VIP, from one confusion matrix over all frames of all videos.

Equal to the scripts of ATEN, UVC, CRW and STT for predictions within the 20 categories. For values of 20 and more the
scripts do different things (STT counts 20 as category 19, the others spill into the next row of the matrix); here that
is an error.
"""

import numpy as np

from stt_mm.errors import InputError

CATEGORIES = (
    'background',
    'hat',
    'hair',
    'sun-glasses',
    'upper-clothes',
    'dress',
    'coat',
    'socks',
    'pants',
    'gloves',
    'scarf',
    'skirt',
    'torso-skin',
    'face',
    'right-arm',
    'left-arm',
    'right-leg',
    'left-leg',
    'right-shoe',
    'left-shoe',
)
NUM_CATEGORIES = len(CATEGORIES)


def confusion_matrix(predictions: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Pixels by true and predicted category.

    Args:
        predictions: integers 0..19 of any shape.
        truths: of the same shape; other values than 0..19 (255 is void) are ignored.

    Returns:
        int64 ``[20, 20]``, row the true category, column the predicted one.
    """
    if predictions.shape != truths.shape:
        raise InputError(
            f'Predictions and ground truth must have one shape, got {list(predictions.shape)} and {list(truths.shape)}.'
        )
    wrong = np.unique(predictions[(predictions < 0) | (predictions >= NUM_CATEGORIES)])
    if len(wrong):
        raise InputError(
            f'Predicted values {wrong.tolist()} are no categories of VIP, those are 0 to {NUM_CATEGORIES - 1}. Score '
            'masks made from Category_ids, not from Instance_ids or Human_ids.'
        )
    valid = (truths >= 0) & (truths < NUM_CATEGORIES)
    pairs = truths[valid].astype(np.int64) * NUM_CATEGORIES + predictions[valid]
    return np.bincount(pairs, minlength=NUM_CATEGORIES**2).reshape(NUM_CATEGORIES, NUM_CATEGORIES)


def category_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union per category; their ``nanmean`` is the mIoU.

    Args:
        confusion: ``[20, 20]``, summed over all frames of all videos.

    Returns:
        float64 ``[20]``, in 0..1, NaN for a category that occurs neither in the ground truth nor in a prediction.
    """
    both = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    return np.divide(both, union, out=np.full(len(both), np.nan), where=union > 0)


def accuracies(confusion: np.ndarray) -> tuple[float, float]:
    """The part of each category's true pixels that is predicted right, and of all pixels.

    Args:
        confusion: ``[20, 20]``, summed over all frames of all videos.

    Returns:
        The mean over the categories that occur in the ground truth, and the part of all pixels, in 0..1; NaN without
        any.
    """
    right, total = np.diag(confusion), confusion.sum(axis=1)
    if not total.any():
        return float('nan'), float('nan')
    occurs = total > 0
    return float((right[occurs] / total[occurs]).mean()), float(right.sum() / total.sum())

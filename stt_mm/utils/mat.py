"""Joint positions as JHMDB keeps them, in MATLAB files."""

from pathlib import Path

import numpy as np

from stt_mm.errors import InputError, MissingInputError


def read_joint_positions(path: str | Path) -> np.ndarray:
    """Joints of all frames of one clip.

    Args:
        path: ``joint_positions.mat`` with ``pos_img`` ``[2, J, T]``, whose (x, y) count from 1, as MATLAB does.

    Returns:
        float32 ``[T, J, 2]``, (x, y) in pixels that count from 0. Joints may lie outside the image; NaN means not
        visible.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no MATLAB file, or ``pos_img`` is missing or of another shape.
    """
    # SciPy's readers take a while to import, which other datasets need not pay for.
    from scipy.io import loadmat

    try:
        content = loadmat(str(path), appendmat=False)
    except FileNotFoundError:
        raise MissingInputError(f'Joint positions not found: {path}.') from None
    except Exception as error:  # on broken files the reader fails in many ways: zlib, struct, key, type errors
        raise InputError(
            f'{path} cannot be read as a MATLAB file ({type(error).__name__}: {error}). Copy or download it again.'
        ) from error
    if 'pos_img' not in content:
        names = ', '.join(name for name in content if not name.startswith('__')) or 'nothing'
        raise InputError(f'{path} holds {names}, but no pos_img. Expected a joint_positions.mat of JHMDB.')
    positions = np.asarray(content['pos_img'])
    if positions.ndim == 2:
        positions = positions[..., None]  # MATLAB drops the last axis of a clip with one frame
    if positions.ndim != 3 or positions.shape[0] != 2 or positions.size == 0 or positions.dtype.kind not in 'fiu':
        raise InputError(
            f'{path}: pos_img must be numbers [2, joints, frames], got {positions.dtype} {list(positions.shape)}.'
        )
    return (positions.transpose(2, 1, 0).astype(np.float64) - 1).astype(np.float32)

"""Predicted masks on disk: written as palette PNGs, and found again when a run is resumed."""

from pathlib import Path

import numpy as np

from stt_mm.errors import InputError
from stt_mm.utils.checkpoint import sha8
from stt_mm.utils.masks import write_mask
from stt_mm.utils.targets import check_apart, claim_folder, inside, owner_of


def claim_dump(folder: str | Path, run_id: str, sources: list[str], overwrite: bool = False) -> None:
    """Make a folder of masks that belongs to one run; what the same run left there stays."""
    claim_folder(folder, _owner(run_id), '.png', sources, overwrite)


def dump_masks(folder: str | Path, run_id: str, sample: dict, masks: np.ndarray) -> dict[str, str]:
    """Writes the masks of one video as ``<folder>/<video_id>/<frame>.png``.

    Args:
        folder: belongs to this run, or is free to.
        run_id: of the metric.
        sample: with ``video_id``, ``frame_names``, and perhaps ``output_frames`` (one bool per frame; without it all
            are wanted) and ``mask_paths``.
        masks: uint8 ``[T, H, W]``.

    Returns:
        First digits of the SHA-256 of each file, by the name of its frame.

    Raises:
        ValueError: the id leads out of the folder, the masks would lie among the true ones, two frames have one name,
            or the folder holds masks of another run.
    """
    names = sample['frame_names']
    target = inside(folder, sample['video_id'])
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f'two frames are named {twice}, so one mask would replace the other. Keep one image for each frame.'
        )
    check_apart(target, {str(Path(path).parent) for path in sample.get('mask_paths') or () if path is not None})
    claim_dump(folder, run_id, [])
    wanted = sample.get('output_frames') or [True] * len(masks)
    written = {}
    for name, mask, chosen in zip(names, masks, wanted, strict=True):
        if chosen:
            path = target / f'{name}.png'
            write_mask(path, mask)
            written[name] = sha8(path)
    return written


def masks_are_there(folder: str | Path, run_id: str, entry: dict) -> bool:
    """Whether the masks that :func:`dump_masks` wrote for a record are in the folder as they were."""
    if entry['masks'] is None or owner_of(folder) != _owner(run_id):
        return False
    paths = {Path(folder, entry['video_id'], f'{name}.png'): digest for name, digest in entry['masks'].items()}
    return all(path.is_file() and sha8(path) == digest for path, digest in paths.items())


def _owner(run_id: str) -> str:
    return f'masks of run {run_id!r}'

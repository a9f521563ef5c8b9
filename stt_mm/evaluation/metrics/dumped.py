"""Predictions on disk: masks as palette PNGs, points as JSON and for MATLAB; found again when a run is resumed."""

import json
from pathlib import Path
from typing import Literal

import numpy as np

from stt_mm.errors import InputError
from stt_mm.utils.checkpoint import sha8, write_atomically
from stt_mm.utils.masks import write_mask
from stt_mm.utils.mat import write_joint_positions
from stt_mm.utils.point_file import npz_bytes, to_parts
from stt_mm.utils.rle import checked_size
from stt_mm.utils.targets import check_apart, claim_folder, inside, owner_of
from stt_mm.utils.text import read_json

Kind = Literal['masks', 'points']
SUFFIXES = dict(masks=('.png',), points=('.json', '.mat', '.npz'))
# Of a video, beside each other in its folder. The second is called as in JHMDB, the third is of TAP-Vid alone.
POINTS, JOINTS, TRACKS = 'points.json', 'joint_positions.mat', 'points.npz'


def claim_dump(
    folder: str | Path, run_id: str, sources: list[str], overwrite: bool = False, kind: Kind = 'masks'
) -> None:
    """Make a folder of predictions that belongs to one run; what the same run left there stays."""
    claim_folder(folder, _owner(kind, run_id), SUFFIXES[kind], sources, overwrite)


def dump_masks(folder: str | Path, run_id: str, sample: dict, masks: np.ndarray) -> dict[str, str]:
    """Writes the masks of one video as ``<folder>/<video_id>/<frame>.png``.

    Args:
        folder: belongs to this run, or is free to.
        run_id: of the metric.
        sample: with ``video_id``, ``frame_names``, and perhaps ``output_frames`` (one bool per frame; without it all
            are wanted) and ``mask_paths``.
        masks: uint8 ``[T, H, W]``.

    Returns:
        First digits of the SHA-256 of each file, by its name.

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
            written[path.name] = sha8(path)
    return written


def dump_points(folder: str | Path, run_id: str, sample: dict, points: np.ndarray) -> dict[str, str]:
    """Writes the points of one video as ``<folder>/<video_id>/points.json`` and ``.../joint_positions.mat``.

    The one is a list with ``{"index", "name", "points"}`` per frame, a point ``[x, y]`` in pixels that count from 0, or
    ``null`` where it is lost, and ``"occluded"``, a switch per point, where it is known; the other is what JHMDB has of
    a clip, NaN where a point is lost. Queries of TAP-Vid are written as ``points.npz`` too, in the order of its public
    code: ``points`` ``[Q, T, 2]`` from (0, 0) to (1, 1), NaN where lost, and ``occluded`` ``[Q, T]``; the rows of the
    JSON file then tell the ``size`` (height, width) of the frames that were seen.

    Args:
        folder, run_id: as of :func:`dump_masks`.
        sample: with ``video_id`` and ``frame_names``, and perhaps ``pred_occluded``, bool ``[T, J]``, ``query_order``
            ``[J]`` and ``original_size``.
        points: ``[T, J, 2]``, (x, y), negative where a point is lost.

    Returns:
        As :func:`dump_masks`.
    """
    target = inside(folder, sample['video_id'])
    claim_dump(folder, run_id, [], kind='points')
    points = np.where((points < 0).any(-1, keepdims=True), np.nan, points)
    rows = [
        dict(index=t, name=name, points=[None if np.isnan(x) else [round(x, 2), round(y, 2)] for x, y in row.tolist()])
        for t, (name, row) in enumerate(zip(sample['frame_names'], points, strict=True))
    ]
    if 'pred_occluded' in sample:
        rows = [dict(row, occluded=hidden.tolist()) for row, hidden in zip(rows, sample['pred_occluded'], strict=True)]
    names = [POINTS, JOINTS]
    if 'query_order' in sample:
        rows = [dict(row, size=list(sample['original_size'])) for row in rows]
        lost = np.isnan(points).any(-1)
        hidden = np.asarray(sample['pred_occluded']) | lost if 'pred_occluded' in sample else lost
        order, parts = np.argsort(sample['query_order']), to_parts(points, sample['original_size'])
        arrays = dict(points=parts[:, order].swapaxes(0, 1), occluded=hidden[:, order].T)
        write_atomically(npz_bytes(**arrays), target / TRACKS)
        names.append(TRACKS)
    text = ',\n'.join(json.dumps(row) for row in rows)
    write_atomically(f'[\n{text}\n]\n'.encode(), target / POINTS)
    write_joint_positions(target / JOINTS, points)
    return {name: sha8(target / name) for name in names}


def read_dumped_points(path: str | Path) -> list[dict]:
    """What :func:`dump_points` wrote as JSON, or the demo.

    Returns:
        Of each frame ``name``; ``points``, float64 ``[J, 2]``, NaN where lost; ``occluded``, bool ``[J]``, where a
        point is hidden, or lost if that is not known; ``size``, (height, width) of the frames that were seen, or
        ``None``.

    Raises:
        FileNotFoundError, ValueError: it is not there, or another file.
    """

    def read(row: dict) -> dict:
        points = [(np.nan, np.nan) if point is None else point for point in row['points']]
        places = np.array([(float(x), float(y)) for x, y in points], np.float64).reshape(-1, 2)
        lost = np.isnan(places).any(axis=1)
        hidden = row.get('occluded', lost)
        if len(hidden) != len(lost):
            raise ValueError(f'{len(hidden)} switches for {len(lost)} points')
        size = None if 'size' not in row else checked_size(row['size'], str(path))
        return dict(name=str(row['name']), points=places, occluded=lost | np.array(hidden, bool), size=size)

    try:
        rows = [read(row) for row in read_json(path)]
        if not rows:
            raise ValueError('it has no frame')
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(
            f'{path} cannot be used ({error}): expected a list with name and points of each frame, as --dump-points of '
            'tools/test.py writes it.'
        ) from error
    return rows


def files_are_there(folder: str | Path, run_id: str, entry: dict) -> bool:
    """Whether what was written with a record is in the folder as it was."""
    if entry['files'] is None or owner_of(folder) not in [_owner(kind, run_id) for kind in SUFFIXES]:
        return False
    paths = {Path(folder, entry['video_id'], name): digest for name, digest in entry['files'].items()}
    return all(path.is_file() and sha8(path) == digest for path, digest in paths.items())


def _owner(kind: Kind, run_id: str) -> str:
    return f'{kind} of run {run_id!r}'

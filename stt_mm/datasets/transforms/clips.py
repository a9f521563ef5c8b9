"""A clip's frames from their files, and the clip to what a model receives."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement

from stt_mm.errors import InputError
from stt_mm.registry import TRANSFORMS
from stt_mm.utils.frames import FrameSequence


@TRANSFORMS.register_module()
class LoadFrames(BaseTransform):
    """Decodes the frames of a clip, and only those.

    Required Keys:

    - video_id (str)
    - frame_inds (list[int]): T frame numbers
    - frame_paths (list[str]), or video_path (str) and, so that it is not searched anew, frame_index (FrameIndex)

    Added Keys:

    - frames (list[np.ndarray]): T times uint8 ``[H, W, 3]``, RGB, all of one size
    """

    def transform(self, results: dict) -> dict:
        """Raises ``FileNotFoundError`` or ``FrameError``, which name the video and the file."""
        frame_inds, name = results['frame_inds'], results['video_id']
        if 'frame_paths' in results:
            sequence = FrameSequence([results['frame_paths'][t] for t in frame_inds], name=name)
            results['frames'] = [sequence[k] for k in range(len(frame_inds))]
        else:
            sequence = FrameSequence(results['video_path'], name=name, index=results.get('frame_index'))
            results['frames'] = [sequence[t] for t in frame_inds]
        return results


@TRANSFORMS.register_module()
class PackClip(BaseTransform):
    """Packs a clip as ``dict(inputs, data_samples)``, which ``default_collate`` makes a batch of.

    ``inputs`` is a uint8 tensor ``[T, 3, H, W]``, RGB; ``data_samples`` a ``BaseDataElement`` whose metainfo holds
    ``video_id``, ``sample_idx``, ``frame_inds`` and, if there was such a transform, ``crop`` and ``flip``.

    Required Keys:

    - frames
    - video_id
    - frame_inds
    - sample_idx (optional)
    - crop (optional)
    - flip (optional)
    """

    def transform(self, results: dict) -> dict:
        """Raises ``ValueError`` if the frames differ in size."""
        sizes = {frame.shape[:2] for frame in results['frames']}
        if len(sizes) != 1:
            raise InputError(
                f'PackClip: the frames of one clip of video {results["video_id"]} differ in size (height, width): '
                f'{sorted(sizes)}. Add ClipResize or ClipRandomResizedCrop to the pipeline.'
            )
        clip = np.ascontiguousarray(np.stack(results['frames']).transpose(0, 3, 1, 2))
        keys = ('video_id', 'sample_idx', 'frame_inds', 'crop', 'flip')
        metainfo = {key: results[key] for key in keys if key in results}
        return dict(inputs=torch.from_numpy(clip), data_samples=BaseDataElement(metainfo=metainfo))

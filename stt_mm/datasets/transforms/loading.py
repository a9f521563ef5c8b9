"""Reading the frames of a clip."""

from mmcv.transforms import BaseTransform

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

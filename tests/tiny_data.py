"""Small data sets in the layouts of the real ones, made on the spot."""

from pathlib import Path

import cv2
import numpy as np

from stt_mm.utils import write_mask


def texture(size, seed):
    """uint8 [H, W, 3] of smooth noise; every seed gives another picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (*[max(side // 8, 2) for side in size], 3), dtype=np.uint8)
    return cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def moving_shapes(num_frames, size, num_objects, seed=0):
    """Frames [T, H, W, 3] RGB with textured discs that move, and their ids [T, H, W]."""
    rng = np.random.default_rng(seed)
    height, width = size
    radius = max(min(size) // (2 * num_objects + 2), 2)
    centres = np.stack([rng.uniform(radius, side - radius, num_objects) for side in size], axis=1)
    speeds = rng.uniform(-2, 2, (num_objects, 2))
    yx = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing='ij'), axis=-1)
    fills = [texture(size, 1000 * seed + k + 1) for k in range(num_objects)]
    frames, masks = [], []
    for t in range(num_frames):
        frame, mask = texture(size, 1000 * seed), np.zeros(size, np.uint8)
        for k in range(num_objects):
            shift = np.round(speeds[k] * t).astype(int)
            # Later objects cover earlier ones, but for a pixel of each in a corner: no object ever vanishes.
            inside = ((yx - centres[k] - shift) ** 2).sum(-1) < radius**2
            inside[0, k] = True
            frame = np.where(inside[..., None], np.roll(fills[k], tuple(shift), (0, 1)), frame)
            mask[inside] = k + 1
        frames.append(frame)
        masks.append(mask)
    return np.stack(frames), np.stack(masks)


def write_image(path, image):
    """Writes RGB; the parent folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def write_video(path, frames, codec='mp4v'):
    """Writes RGB frames [T, H, W, 3] as a video file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (frames.shape[2], frames.shape[1]))
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def make_youtube_vos(root, num_videos=4, num_frames=6, size=(72, 128)):
    """``<root>/train/JPEGImages/video<v>/<5 t>.jpg``, as in the train split; returns ``root``."""
    for v in range(num_videos):
        frames, _ = moving_shapes(num_frames, size, 2, seed=v)
        for t, frame in enumerate(frames):
            write_image(Path(root, 'train', 'JPEGImages', f'video{v}', f'{5 * t:05d}.jpg'), frame)
    return root


def make_davis(root, num_videos=2, num_frames=5, size=(64, 96), num_objects=2):
    """The layout of DAVIS-2017, split val, 480p (whatever the size); returns ``root``."""
    names = [f'video{v}' for v in range(num_videos)]
    for v, name in enumerate(names):
        frames, masks = moving_shapes(num_frames, size, num_objects, seed=v)
        for t in range(num_frames):
            write_image(Path(root, 'JPEGImages', '480p', name, f'{t:05d}.jpg'), frames[t])
            write_mask(Path(root, 'Annotations', '480p', name, f'{t:05d}.png'), masks[t])
    listing = Path(root, 'ImageSets', '2017', 'val.txt')
    listing.parent.mkdir(parents=True)
    listing.write_text('\n'.join(names) + '\n')
    return root

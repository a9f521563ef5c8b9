"""Small data sets in the layouts of the real ones, made on the spot."""

import json
import pickle
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.io import savemat

from stt_mm.utils import write_mask
from stt_mm.utils.rle import encode_rle


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


def numbered(number, size=(48, 96)):
    """uint8 [H, W, 3] with the number in eight stripes, black for 0, white for 1."""
    bits = (number >> np.arange(8) & 1).astype(np.uint8) * 255
    return np.broadcast_to(np.repeat(bits, size[1] // 8)[None, :, None], (*size, 3)).copy()


def shown(frame):
    """The number that :func:`numbered` drew."""
    return int(
        ((frame[frame.shape[0] // 2, frame.shape[1] // 16 :: frame.shape[1] // 8, 0] > 127) << np.arange(8)).sum()
    )


def write_timed_video(path, times, codec='libx264', options=None, muxer=None, pixels='yuv420p', base=(1, 1000)):
    """Writes numbered frames that are shown at ``times``, in units of ``base`` seconds."""
    with av.open(str(path), 'w', options=muxer or {}) as file:
        stream = file.add_stream(codec, rate=30, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 96, 48, pixels
        stream.codec_context.time_base = Fraction(*base)
        stream.codec_context.thread_count = 1
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(number), format='rgb24')
            frame.pts, frame.time_base = time, Fraction(*base)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


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


def make_youtube_vos_valid(
    root, split='valid', num_videos=2, num_frames=4, size=(64, 96), births=(0, 1), annotated=False, all_frames=False
):
    """The layout of a split of YouTube-VOS; returns ``root``.

    Object k + 1 of each video appears in listed frame ``births[k]``; masks do not show it before. Listed frames are
    ``00005``, ``00010``, ... Without ``annotated`` masks are there for frames of birth only, and there are no
    categories. With ``all_frames`` there is ``<split>_all_frames`` with images ``00003`` to 2 after the last listed.
    """
    meta = {}
    for v in range(num_videos):
        frames, masks = moving_shapes(5 * num_frames + 3, size, len(births), seed=v)
        listed = [5 * (t + 1) for t in range(num_frames)]
        for t in range(3, len(frames)) if all_frames else ():
            write_image(Path(root, f'{split}_all_frames', 'JPEGImages', f'video{v}', f'{t:05d}.jpg'), frames[t])
        for position, t in enumerate(listed):
            write_image(Path(root, split, 'JPEGImages', f'video{v}', f'{t:05d}.jpg'), frames[t])
            if annotated or position in births:
                unborn = [k + 1 for k, birth in enumerate(births) if birth > position]
                mask = np.where(np.isin(masks[t], unborn), 0, masks[t]).astype(np.uint8)
                write_mask(Path(root, split, 'Annotations', f'video{v}', f'{t:05d}.png'), mask)
        meta[f'video{v}'] = {
            'objects': {
                str(k + 1): {
                    **({'category': ('dog', 'person')[k % 2]} if annotated else {}),
                    'frames': [f'{t:05d}' for t in listed[birth:]],
                }
                for k, birth in enumerate(births)
            }
        }
    Path(root, split, 'meta.json').write_text(json.dumps({'videos': meta}))
    return root


def make_object_videos(root, split='valid', num_videos=2, num_frames=6, size=(60, 80), every=1, births=(0, 1)):
    """The layout of MOSE, and with ``<split>_meta.json`` that of LVOS; returns ``root``.

    Frame t is called 5 t + 1 in eight digits, as in LVOS; every so many have a mask. Object k + 1 is not shown before
    frame ``births[k]``.
    """
    meta = {}
    for v in range(num_videos):
        frames, masks = moving_shapes(num_frames, size, len(births), seed=v)
        names = [f'{5 * t + 1:08d}' for t in range(num_frames)]
        for t, name in enumerate(names):
            write_image(Path(root, split, 'JPEGImages', f'video{v}', f'{name}.jpg'), frames[t])
            if t % every == 0:
                unborn = [k + 1 for k, birth in enumerate(births) if birth > t]
                mask = np.where(np.isin(masks[t], unborn), 0, masks[t])
                write_mask(Path(root, split, 'Annotations', f'video{v}', f'{name}.png'), mask)
        spans = [(names[-(-birth // every) * every], names[-1]) for birth in births]
        meta[f'video{v}'] = {
            'objects': {
                str(k + 1): {'frame_range': {'start': start, 'end': end, 'frame_nums': '1'}}
                for k, (start, end) in enumerate(spans)
            }
        }
    Path(root, split, f'{split}_meta.json').write_text(json.dumps({'videos': meta}))
    return root


def make_sav(root, split='val', num_videos=2, num_frames=13, size=(60, 80), train=False):
    """The layout of SA-V val, or of train with ``train``; two overlapping objects, the second shown from frame 4 on."""
    for v in range(num_videos):
        frames, masks = moving_shapes(num_frames, size, 2, seed=v)
        name = f'sav_{v:06d}'
        objects = [[masks[t] > 0, (masks[t] == 2) & (t >= 4)] for t in range(0, num_frames, 4)]
        if train:
            folder = Path(root, 'sav_train', 'sav_000')
            write_video(folder / f'{name}.mp4', frames)
            content = dict(
                video_id=name,
                video_frame_count=float(num_frames),
                video_height=float(size[0]),
                video_width=float(size[1]),
                masklet=[[encode_rle(mask) for mask in row] for row in objects],
            )
            (folder / f'{name}_manual.json').write_text(json.dumps(content))
            continue
        folder = Path(root, f'sav_{split}')
        for t, frame in enumerate(frames):
            write_image(folder / 'JPEGImages_24fps' / name / f'{t:05d}.jpg', frame)
        for t, row in zip(range(0, num_frames, 4), objects, strict=True):
            for k, mask in enumerate(row):
                write_mask(folder / 'Annotations_6fps' / name / f'{k:03d}' / f'{t:05d}.png', mask)
        with open(folder / f'sav_{split}.txt', 'a') as file:
            file.write(f'{name}\n')
    return root


def make_vip(root, num_videos=2, num_frames=3, size=(64, 96), categories=(2, 13, 2)):
    """The layout of VIP_Fine, list ``val``; instance k + 1 has ``categories[k]``; returns ``root``."""
    names = [f'videos{v + 1}' for v in range(num_videos)]
    for v, name in enumerate(names):
        frames, ids = moving_shapes(num_frames, size, len(categories), seed=v)
        for t in range(num_frames):
            stem = f'{25 * t + 1:012d}'
            write_image(Path(root, 'Images', name, f'{stem}.jpg'), frames[t])
            write_mask(
                Path(root, 'Annotations', 'Category_ids', name, f'{stem}.png'),
                np.array([0, *categories], np.uint8)[ids[t]],
            )
            write_mask(Path(root, 'Annotations', 'Instance_ids', name, f'{stem}.png'), ids[t])
            lines = [f'{k + 1} {category}\n' for k, category in enumerate(categories)]
            Path(root, 'Annotations', 'Instance_ids', name, f'{stem}.txt').write_text(''.join(lines))
    listing = Path(root, 'lists', 'val_videos.txt')
    listing.parent.mkdir(parents=True)
    listing.write_text('\n'.join(names) + '\n')
    return root


def make_jhmdb(root, num_videos=2, num_frames=4, size=(60, 80), num_joints=15):
    """The layout of JHMDB, with ``splits`` (of which the last clip is for training) and ``val_list.txt`` of all clips;
    returns ``root``. Joint j is at (x, y) = (3 j + t + 2, 2 j + t + 1) in frame t, in pixels that count from 0."""
    joints, frames = np.meshgrid(np.arange(num_joints), np.arange(num_frames), indexing='ij')
    positions = np.stack([3 * joints + frames + 2, 2 * joints + frames + 1]).astype(np.float64)
    listing = Path(root, 'val_list.txt')
    listing.parent.mkdir(parents=True, exist_ok=True)
    Path(root, 'splits').mkdir()
    for v in range(num_videos + 1):
        clip = f'walk/clip{v}'
        for t, frame in enumerate(moving_shapes(num_frames, size, 2, seed=v)[0]):
            write_image(Path(root, 'Rename_Images', clip, f'{t + 1:05d}.png'), frame)
        path = Path(root, 'joint_positions', clip, 'joint_positions.mat')
        path.parent.mkdir(parents=True)
        savemat(path, {'pos_img': positions + 1})
        with open(listing, 'a') as file:
            file.write(f'JHMDB/joint_positions/{clip}/joint_positions.mat JHMDB/Rename_Images/{clip}\n')
        with open(Path(root, 'splits', 'walk_test_split1.txt'), 'a') as file:
            file.write(f'clip{v}.avi {2 if v < num_videos else 1}\n')
    return root


def make_tap_vid(root, num_videos=2, num_frames=6, size=(60, 80), folders=False):
    """``points.pkl`` as TAP-Vid's, or its videos as folders; returns the pickle, or ``root``.

    Track n begins at (x, y) = (0.2 + 0.1 n, 0.3) of the picture, moves by (0.02, 0.01) per frame, and is seen from
    frame n on, of 4 tracks; but for the last, which is never seen.
    """
    videos = {}
    for v in range(num_videos):
        tracks, times = np.meshgrid(np.arange(4), np.arange(num_frames), indexing='ij')
        points = np.stack([0.2 + 0.1 * tracks + 0.02 * times, 0.3 + 0.01 * times], axis=-1).astype(np.float32)
        occluded = (times < tracks) | (tracks == 3)
        videos[f'video{v}'] = dict(
            video=moving_shapes(num_frames, size, 2, seed=v)[0], points=points, occluded=occluded
        )
    Path(root).mkdir(parents=True, exist_ok=True)
    if not folders:
        Path(root, 'points.pkl').write_bytes(pickle.dumps(videos))
        return Path(root, 'points.pkl')
    for name, video in videos.items():
        for t, frame in enumerate(video['video']):
            write_image(Path(root, name, 'frames', f'{t:05d}.png'), frame)
        np.savez(Path(root, name, 'points.npz'), points=video['points'], occluded=video['occluded'])
    return root


def make_badja(root, num_videos=2, num_frames=6, size=(60, 80)):
    """The layout of BADJA with ``DAVIS`` in it, and an animal that is elsewhere; returns ``root``.

    Of the frames 0 to ``num_frames``, 1, 3, 5 ... and the last are annotated. Joint j of
    37 is at (x, y) = (2 j + t, j + t) in frame t; joint 10 is hidden in the first of them, joint 12 in all others.
    """
    Path(root, 'joint_annotations').mkdir(parents=True)
    for name in [*(f'video{v}' for v in range(num_videos)), 'tiger']:
        kind = 'extra_videos' if name == 'tiger' else 'DAVIS'
        frames, masks = moving_shapes(num_frames + 1, size, 2, seed=len(name))
        entries = []
        for t in range(num_frames + 1):
            stem = f'Full-Resolution/{name}/{t:05d}'
            write_image(Path(root, kind, 'JPEGImages', f'{stem}.jpg'), frames[t])
            write_mask(Path(root, kind, 'Annotations', f'{stem}.png'), masks[t])
            if t % 2 or t == num_frames:
                shown = [j != (10 if t == 1 else 12) for j in range(37)]
                joints = [[j + t, 2 * j + t] for j in range(37)]
                paths = f'{kind}/JPEGImages/{stem}.jpg', f'{kind}/Annotations/{stem}.png'
                entry = dict(zip(('image_path', 'segmentation_path'), paths, strict=True))
                entries.append(dict(entry, visibility=shown, joints=joints))
        Path(root, 'joint_annotations', f'{name}.json').write_text(json.dumps(entries))
    return root

"""Damaged files against every reader: each ends in a result or in one of our own errors that names the file.

    python tests/fuzz_readers.py --count 300                        (300 files per reader; a table at the end)
    python tests/fuzz_readers.py --only mat pth --seed 7 --keep out (files that failed are kept)

A child process reads. Failures are a crash, an error that is not derived from SttMMError or names no file, more than 5
seconds, and more than 1 GiB above what the process held before. The first 20 of each reader are listed.
"""

import argparse
import collections
import contextlib
import gc
import io
import json
import multiprocessing
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import av
import cv2
import mutants
import numpy as np
import torch
from PIL import Image
from scipy.io import savemat
from tiny_data import (
    make_badja,
    make_davis,
    make_jhmdb,
    make_object_videos,
    make_tap_vid,
    make_vip,
    make_youtube_vos,
    make_youtube_vos_valid,
    moving_shapes,
    texture,
)

from stt_mm.apis.labels import collect_given
from stt_mm.datasets import BADJA, DAVIS, JHMDB, LVOS, VIP, TAPVid, YouTubeVOS, YouTubeVOSBenchmark
from stt_mm.errors import SttMMError
from stt_mm.utils import VideoReader, read_image, read_mask, read_object_ids, write_mask
from stt_mm.utils.checkpoint import read_checkpoint
from stt_mm.utils.mask_file import MaskFileWriter, read_mask_file
from stt_mm.utils.mask_folder import ExpectedMasks, check_zip
from stt_mm.utils.mat import read_joint_positions
from stt_mm.utils.rle import encode_rle
from stt_mm.utils.text import read_instance_categories
from stt_mm.utils.video import open_video
from stt_mm.utils.weights import load_backbone

SECONDS = 5.0
MEMORY = 2**30
# The system's limit stands above ours, so that a child is measured, not stopped by it; it guards the machine.
ADDRESS_SPACE = 6 * 2**30


@dataclass(frozen=True)
class Reader:
    """What is read: whole files by name, how they are damaged, and the call that reads the file at a path.

    ``prepare`` makes what the reader needs beside the file, in an empty folder; the files go where their names say.
    """

    samples: Callable[[], dict[str, bytes]]
    read: Callable[[Path], object]
    damage: mutants.Mutator = mutants.any_bytes
    crafted: Callable[[], dict[str, bytes]] = dict  # files that are worse than chance
    prepare: Callable[[Path], object] = lambda folder: None


def encoded(image: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def png_frames() -> dict[str, bytes]:
    colour = texture((48, 64), 1)
    deep = cv2.imencode('.png', colour.astype(np.uint16) * 257)[1].tobytes()
    return {
        'rgb.png': encoded(colour, 'PNG'),
        'grey.png': encoded(colour[..., 0], 'PNG'),
        'deep.png': deep,
        'alpha.png': encoded(np.dstack([colour, colour[..., :1]]), 'PNG'),
    }


def huge_pngs() -> dict[str, bytes]:
    """30,000 x 30,000 pixels of one bit and 20,000 x 20,000 of three bytes, all there, in a few hundred KB."""
    files = {}
    for name, side, kind in (('bits.png', 30000, '1'), ('colours.png', 20000, 'RGB')):
        row = bytes(1 + ((side + 7) // 8 if kind == '1' else 3 * side))
        packer = zlib.compressobj(1)
        pixels = b''.join(packer.compress(row) for _ in range(side)) + packer.flush()
        head = struct.pack('>IIBBBBB', side, side, 1 if kind == '1' else 8, 0 if kind == '1' else 2, 0, 0, 0)
        files[name] = mutants.join_png([(b'IHDR', head), (b'IDAT', pixels), (b'IEND', b'')])
    return files


def other_frames() -> dict[str, bytes]:
    colour = texture((48, 64), 3)
    kinds = {'tif': 'TIFF', 'bmp': 'BMP', 'webp': 'WEBP', 'ppm': 'PPM'}
    packed = encoded(colour, 'TIFF', compression='tiff_lzw')
    return {**{f'rgb.{suffix}': encoded(colour, kind) for suffix, kind in kinds.items()}, 'packed.tif': packed}


def jpegs() -> dict[str, bytes]:
    colour = texture((48, 64), 2)
    return {
        'baseline.jpg': encoded(colour, 'JPEG'),
        'grey.jpg': encoded(colour[..., 0], 'JPEG'),
        'progressive.jpg': encoded(colour, 'JPEG', progressive=True),
        'restarts.jpg': encoded(colour, 'JPEG', restart_marker_blocks=4),
    }


def png_masks() -> dict[str, bytes]:
    mask = moving_shapes(1, (48, 64), 3)[1][0]
    with tempfile.TemporaryDirectory() as folder:
        write_mask(Path(folder, 'mask.png'), mask)
        palette = Path(folder, 'mask.png').read_bytes()
    images = dict(
        grey=mask,
        bits=mask > 0,
        black_and_white=np.where(mask, 255, 0).astype(np.uint8),
        labels=mask.astype(np.uint16) * 300,
        rgb=np.dstack([mask] * 3),
    )
    files = {'palette.png': palette, **{f'{name}.png': encoded(image, 'PNG') for name, image in images.items()}}
    for name, kind, image, options in (
        ('plain.tif', 'TIFF', mask, {}),
        ('packed.tif', 'TIFF', mask, dict(compression='tiff_adobe_deflate')),
        ('deep.tif', 'TIFF', mask.astype(np.int32), dict(compression='tiff_lzw')),
        ('ids.gif', 'GIF', mask, {}),
        ('ids.bmp', 'BMP', mask, {}),
    ):
        files[name] = encoded(image, kind, **options)
    buffer = io.BytesIO()
    np.save(buffer, mask.astype(np.int64))
    return {**files, 'ids.npy': buffer.getvalue(), 'shapes.json': b'{"shapes": [{"points": [[1, 2]]}]}'}


def huge_masks() -> dict[str, bytes]:
    head = b"{'descr': '<i8', 'fortran_order': False, 'shape': (2000000, 2000000), }".ljust(117) + b'\n'
    npy = b'\x93NUMPY\1\0' + struct.pack('<H', len(head)) + head + bytes(64)
    tif = encoded(np.zeros((30000, 30000), np.uint8), 'TIFF', compression='tiff_adobe_deflate')
    return {
        **huge_pngs(),
        'huge.npy': npy,
        'huge.tif': tif,
        'huge.gif': b'GIF89a' + struct.pack('<HH', 65535, 65535) + png_masks()['ids.gif'][10:],
    }


def read_as_mask(path: Path) -> None:
    for read in (read_mask, lambda path: collect_given(path, None)):
        with contextlib.suppress(SttMMError):
            read(path)
    read_object_ids(path)


def videos() -> dict[str, bytes]:
    frames = moving_shapes(12, (48, 64), 2)[0]
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, codec in (
            ('h264.mp4', 'libx264'),
            ('mpeg4.avi', 'mpeg4'),
            ('vp9.webm', 'libvpx-vp9'),
            ('h264.mkv', 'libx264'),
        ):
            with av.open(str(Path(folder, name)), 'w') as container:
                stream = container.add_stream(codec, rate=10)
                stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
                for frame in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
                container.mux(stream.encode())
            files[name] = Path(folder, name).read_bytes()
    return files


def read_video(path: Path) -> None:
    errors = []
    try:
        reader = VideoReader(path)
        for number in (*range(0, min(len(reader), 40), 3), max(len(reader) - 1, 0), 0):
            reader.read(number)
    except SttMMError as error:
        errors.append(error)
    try:
        for _, (_, frame, *_) in zip(range(100), open_video(path).frames, strict=False):
            assert frame.dtype == np.uint8
    except SttMMError as error:
        errors.append(error)
    if errors:
        raise errors[0]


def mats() -> dict[str, bytes]:
    files = {}
    for compressed in (False, True):
        buffer = io.BytesIO()
        positions = np.random.default_rng(0).random((2, 15, 4)) * 99
        savemat(buffer, dict(viewpoint='N', scale=np.ones((1, 4)), pos_img=positions), do_compression=compressed)
        files[f'joint_positions_{compressed}.mat'] = buffer.getvalue()
    return files


def saved(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))


def checkpoints() -> dict[str, bytes]:
    torch.manual_seed(0)
    weights = network().state_dict()
    training = dict(
        meta=dict(iter=3),
        state_dict={f'backbone.{key}': value for key, value in weights.items()},
        optimizer=dict(state={0: dict(step=3)}, param_groups=[dict(lr=0.1, params=[0])]),
    )
    head, values = {}, b''
    for key, value in weights.items():
        if value.is_floating_point():
            end = len(values) + 4 * value.numel()
            head[key] = dict(dtype='F32', shape=list(value.shape), data_offsets=[len(values), end])
            values += value.numpy().tobytes()
    text = json.dumps(head).encode()
    return {
        'plain.pth': saved(weights),
        'training.pth': saved(training),
        'legacy.pth': saved(weights, _use_new_zipfile_serialization=False),
        'model.safetensors': struct.pack('<Q', len(text)) + text + values,
    }


def absurd_checkpoints() -> dict[str, bytes]:
    """Members that unpack to 1.5 GiB, and a weight of 6 GiB whose rows are all the same four bytes."""
    weights = network().state_dict()
    files = {
        'expanded.pth': saved({**weights, '0.weight': torch.zeros(1).expand(40000, 40000)}),
        'no_number.pth': saved({**weights, '0.weight': torch.full((4, 3, 3, 3), float('nan'))}),
    }
    for member in ('data/0', 'data.pkl', 'version'):
        files[f'bomb_{member.replace("/", "_")}.pth'] = mutants.zip_bomb(saved(weights), member)
    return files


def read_weights(path: Path) -> None:
    read_checkpoint(path)
    load_backbone(network(), path)


def damage_checkpoint(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((mutants.any_bytes, mutants.zip_members))(data, rng)


def both(general: mutants.Mutator, special: mutants.Mutator, *others: mutants.Mutator) -> mutants.Mutator:
    return lambda data, rng: rng.choice((general, special, special, *others))(data, rng)


def in_tree(make: Callable[[Path], object], name: str, open_dataset: Callable[[Path], object]) -> dict[str, Callable]:
    """A data set one of whose files, ``name`` below its folder, is damaged, and the call that reads its samples."""

    def samples() -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            return {name: Path(folder, name).read_bytes()}

    def read(path: Path) -> None:
        dataset = open_dataset(path.parents[len(Path(name).parts) - 1])
        for index in range(min(len(dataset), 4)):
            _ = dataset[index]

    return dict(samples=samples, read=read, prepare=make)


def zipped_masks() -> dict[str, bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        for number in range(3):
            file.writestr(f'video/{number:05d}.png', png_masks()['palette.png'])
    return {'masks.zip': buffer.getvalue()}


def read_zip(path: Path) -> None:
    expected = ExpectedMasks((48, 64), {f'{number:05d}': frozenset({1, 2, 3}) for number in range(3)})
    with tempfile.TemporaryDirectory() as folder:
        check_zip(path, dict(video=expected), folder)


def mask_files() -> dict[str, bytes]:
    """COCO with run lengths, outlines and painted masks, the brush of Label Studio, and SA-V."""
    _, masks = moving_shapes(3, (24, 32), 2)
    with tempfile.TemporaryDirectory() as folder:
        with MaskFileWriter(Path(folder, 'a.json')) as file:
            for t, mask in enumerate(masks):
                file.add(f'{t:05d}.jpg', mask, t)
        coco = json.loads(Path(folder, 'a.json').read_text())
    first, second, *_ = coco['annotations']
    drawn = dict(coco, annotations=[dict(first, segmentation=[[3, 4, 20, 5, 11, 22.5]]), second])
    second['segmentation'] = dict(size=[24, 32], counts=[5, 10, 753])
    strokes = json.loads(Path(__file__).with_name('data').joinpath('rle', 'label_studio.json').read_text())['brush'][0]
    sides = dict(zip(('original_height', 'original_width'), strokes['size'], strict=True))
    value = dict(format='rle', rle=strokes['rle'], brushlabels=['a'])
    task = dict(
        data=dict(image='00001.jpg'), annotations=[dict(result=[dict(type='brushlabels', value=value, **sides)])]
    )
    masklet = [[encode_rle(mask == k) for k in (1, 2)] for mask in masks]
    sav = dict(video_frame_count=9.0, video_height=24.0, video_width=32.0, masklet=masklet)
    contents = dict(coco=coco, drawn=drawn, studio=[task], sav=sav)
    return {f'{name}.json': json.dumps(content).encode() for name, content in contents.items()}


def train_tree(root: Path) -> None:
    make_youtube_vos(root)
    names = {f'video{v}': dict(objects={'1': dict(category='dog', frames=['00000'])}) for v in range(4)}
    Path(root, 'train', 'meta.json').write_text(json.dumps(dict(videos=names)))


json_damage = both(mutants.any_bytes, mutants.json_values)
list_damage = both(mutants.any_bytes, mutants.list_lines)
png_damage = both(mutants.any_bytes, mutants.png_chunks, mutants.png_pixels)


def mask_damage(data: bytes, rng: random.Random) -> bytes:
    return (png_damage if data.startswith(b'\x89PNG') else mutants.any_bytes)(data, rng)


READERS = {
    'png': Reader(png_frames, read_image, png_damage, huge_pngs),
    'frame': Reader(other_frames, read_image),
    'mask': Reader(png_masks, read_as_mask, mask_damage, huge_masks),
    'jpeg': Reader(jpegs, read_image, both(mutants.any_bytes, mutants.jpeg_segments)),
    'video': Reader(videos, read_video, both(mutants.any_bytes, mutants.mp4_boxes)),
    'mat': Reader(mats, read_joint_positions, both(mutants.any_bytes, mutants.mat_elements)),
    'pth': Reader(checkpoints, read_weights, damage_checkpoint, absurd_checkpoints),
    'meta': Reader(
        damage=json_damage,
        **in_tree(make_youtube_vos_valid, 'valid/meta.json', lambda root: YouTubeVOSBenchmark(str(root))),
    ),
    'train_list': Reader(
        damage=json_damage,
        **in_tree(train_tree, 'train/meta.json', lambda root: YouTubeVOS(str(root), video_list='train/meta.json')),
    ),
    'davis_list': Reader(
        damage=list_damage, **in_tree(make_davis, 'ImageSets/2017/val.txt', lambda root: DAVIS(str(root)))
    ),
    'vip_list': Reader(damage=list_damage, **in_tree(make_vip, 'lists/val_videos.txt', lambda root: VIP(str(root)))),
    'jhmdb_list': Reader(
        damage=list_damage,
        **in_tree(make_jhmdb, 'val_list.txt', lambda root: JHMDB(str(root), video_list='val_list.txt')),
    ),
    'tap_vid': Reader(
        **in_tree(partial(make_tap_vid, size=(12, 16)), 'points.pkl', lambda root: TAPVid(str(root / 'points.pkl'))),
    ),
    'points': Reader(
        damage=both(mutants.any_bytes, mutants.zip_members),
        **in_tree(partial(make_tap_vid, folders=True), 'video1/points.npz', lambda root: TAPVid(str(root))),
    ),
    'mask_file': Reader(mask_files, lambda path: read_mask_file(path).given(), json_damage),
    'lvos_meta': Reader(
        damage=json_damage,
        **in_tree(make_object_videos, 'valid/valid_meta.json', lambda root: LVOS(str(root))),
    ),
    'badja': Reader(
        damage=json_damage,
        **in_tree(make_badja, 'joint_annotations/video1.json', lambda root: BADJA(str(root))),
    ),
    'instances': Reader(lambda: {'0.txt': b'1 2\n2 13\n3 2\n'}, read_instance_categories, list_damage),
    'zip': Reader(
        zipped_masks,
        read_zip,
        both(mutants.any_bytes, mutants.zip_members),
        lambda: {'masks.zip': mutants.zip_bomb(zipped_masks()['masks.zip'], '1.png')},
    ),
}


def files(reader: Reader, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Whole files first, which must be read, then the crafted ones, then ``count`` damaged ones: (name, content)."""
    samples = reader.samples()
    yield from samples.items()
    yield from reader.crafted().items()
    rng = random.Random(seed)
    for _ in range(count):
        name = rng.choice(list(samples))
        data = reader.damage(samples[name], rng)
        yield name, mutants.any_bytes(data, rng) if data and rng.random() < 0.2 else data


def outcome(reader: Reader, path: Path, root: Path) -> tuple[str, str]:
    """``read``, ``refused`` or what is wrong, and the message, which must name the file or one that the file names."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            reader.read(path)
        return 'read', ''
    except SttMMError as error:
        named = path.name in str(error) or str(root) in str(error)
        return ('refused' if named else 'file not named'), f'{type(error).__name__}: {error}'
    except Exception as error:
        return 'undocumented error', f'{type(error).__name__}: {error}'


def memory(name: str) -> int:
    """``VmRSS``, ``VmHWM`` or ``VmSize`` of this process in bytes."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024
    return 0


def serve(reader: Reader, root: Path, connection: Connection) -> None:
    """Read the files whose paths come, and answer with outcome, message and the peak of memory."""
    with open(os.devnull, 'w') as devnull:
        os.dup2(devnull.fileno(), 1)
        os.dup2(devnull.fileno(), 2)
    gc.freeze()  # data sets collect garbage, which takes half a second with all that is imported here
    limit = memory('VmSize') + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        path = connection.recv()
        before = memory('VmRSS')
        with contextlib.suppress(OSError):
            Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
        answer = outcome(reader, path, root)
        connection.send((*answer, memory('VmHWM') - before))


class Child:
    """A process that reads, started anew after a crash or a hang."""

    def __init__(self, reader: Reader, root: Path) -> None:
        self.reader, self.root, self.process = reader, root, None

    def ask(self, path: Path) -> tuple[str, str]:
        """As :func:`outcome`, with ``crash``, ``hang`` and ``memory`` beside its verdicts."""
        if self.process is None:
            context = multiprocessing.get_context('fork')
            self.connection, other = context.Pipe()
            self.process = context.Process(target=serve, args=(self.reader, self.root, other), daemon=True)
            self.process.start()
            other.close()
        start = time.monotonic()
        self.connection.send(path)
        try:
            # What takes longer than allowed is waited for a little, to tell slow from endless.
            if not self.connection.poll(3 * SECONDS):
                self.stop()
                return 'hang', f'more than {3 * SECONDS:.0f} s'
            verdict, text, peak = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            self.process = None
            return 'crash', signal.Signals(-code).name if code < 0 else f'exit code {code}'
        took = time.monotonic() - start
        if took > SECONDS:
            return 'slow', f'{took:.1f} s; {verdict} {text}'
        if peak > MEMORY:
            return 'memory', f'{peak / 2**20:.0f} MiB; {verdict} {text}'
        return verdict, text

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def fuzz(name: str, count: int, seed: int = 0, keep: Path | None = None) -> tuple[collections.Counter, list[str]]:
    """Reads whole, crafted and damaged files of one reader.

    Returns:
        How often each verdict was given, and a line per failure.
    """
    reader = READERS[name]
    whole = len(reader.samples())
    verdicts, failures = collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        child = Child(reader, Path(folder))
        reader.prepare(Path(folder))
        for number, (file, data) in enumerate(files(reader, count, seed)):
            path = Path(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            verdict, text = child.ask(path)
            verdicts[verdict] += 1
            if number < whole:
                if verdict == 'read' or (verdict == 'refused' and name in ('mask', 'pth')):
                    continue  # not every kind of mask and weights is taken, but the refusal is one of ours
            elif verdict in ('read', 'refused'):
                continue
            failures.append(f'{name} {number} ({file}): {verdict}: {text}')
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f'{name}_{number}_{path.name}').write_bytes(data)
        child.stop()
    return verdicts, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=300, help='damaged files per reader (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the damage (default: %(default)s)')
    parser.add_argument('--only', nargs='+', choices=READERS, default=list(READERS), help='readers (default: all)')
    parser.add_argument('--keep', type=Path, help='folder for the files that failed')
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    failed = []
    for name in args.only:
        start = time.monotonic()
        verdicts, failures = fuzz(name, args.count, args.seed, args.keep)
        failed += failures
        print(
            f'{name:12} {", ".join(f"{verdict} {count}" for verdict, count in sorted(verdicts.items()))} '
            f'({time.monotonic() - start:.0f} s)',
            flush=True,
        )
        for line in failures[:20]:
            print(f'    {line[:300]}', flush=True)
    print(f'{len(failed)} failures')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()

"""The command line on videos made on the spot: what it writes, how it ends, and each error in one line."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import moving_shapes, write_image, write_video

from stt_mm.apis import Edits, VideoPropagator, arguments
from stt_mm.models import Correspondence
from stt_mm.utils import VideoReader, read_mask, write_mask
from stt_mm.utils.mask_file import MaskFileWriter, read_mask_file
from stt_mm.utils.point_file import read_point_file, to_pixels

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'demo' / 'propagate.py'
DAVIS = ROOT / 'demo' / 'data' / 'davis'
SMALL = (
    '--config',
    'eval/davis_color',
    '--checkpoint',
    'none',
    '--device',
    'cpu',
    '--cfg-options',
    'model.propagator.protocol.short_side=64',
)


def load():
    spec = importlib.util.spec_from_file_location('demo_propagate', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


propagate = load()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a video as file and as frames, and masks of its two objects."""
    monkeypatch.chdir(tmp_path)
    frames, masks = moving_shapes(12, (64, 96), 2)
    write_video('video.mp4', frames)
    for t, frame in enumerate(frames):
        write_image(f'frames/{t:05d}.png', frame)
    write_mask('first.png', np.where(masks[0] == 1, 1, 0))
    write_mask('second.png', np.where(masks[5] == 2, 2, 0))
    return tmp_path


def error_of(capfd, *args):
    """The one line with which the command gives up."""
    with pytest.raises(SystemExit) as stop:
        propagate.main([*map(str, args), *SMALL])
    assert stop.value.code == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if 'frames/s' not in line and line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith('error: ')
    return lines[0]


def test_a_fresh_clone_needs_no_more_than_a_video_and_a_mask(tmp_path):
    """The defaults are found from any folder, and the result is the one of Python."""
    frames, truths = (DAVIS / kind / '480p' / 'soccer' for kind in ('JPEGImages', 'Annotations'))
    first = truths / '00000.png'
    output = subprocess.run(
        [
            sys.executable,
            SCRIPT,
            frames,
            '--mask',
            first,
            '--out',
            'out.mp4',
            '--mask-dir',
            'masks',
            '--max-frames',
            '2',
            '--device',
            'cpu',
        ],
        cwd=tmp_path,
        check=True,
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert len(VideoReader(tmp_path / 'out.mp4')) == len(list((tmp_path / 'masks').glob('*.png'))) == 2
    lines = output.stdout.splitlines()
    assert lines[0].startswith('2 frames in ')
    assert 'frames/s), protocol stt_davis_s8 v1, device cpu' in lines[0]
    assert lines[1].startswith('most in doubt (confidence): frame 1 (0.')
    assert lines[2:] == ['out: out.mp4', 'mask_dir: masks']
    assert ' 2/2 ' in output.stderr
    assert 'frames/s' in output.stderr
    found = VideoPropagator(ROOT / 'configs' / 'eval' / 'davis_r18_s8.py', 'stt_r18_demo', 'cpu').stream(
        frames, first, max_frames=2
    )
    for t, result in enumerate(found):
        assert (read_mask(tmp_path / 'masks' / f'{t:05d}.png') == result.mask).mean() > 0.999
    assert (result.mask == read_mask(truths / '00001.png')).mean() > 0.9


def test_objects_and_points_of_several_frames(place, capfd):
    propagate.main(
        [
            'frames',
            '--mask',
            'first.png',
            '5:second.png',
            '--points',
            '20,20',
            '3:40,30.5',
            '30,30',
            '--mask-dir',
            'masks',
            '--points-json',
            'points.json',
            '--out',
            'out.mov',
            *SMALL,
        ]
    )
    expected = VideoPropagator('eval/davis_color', None, 'cpu', {'model.propagator.protocol.short_side': 64}).stream(
        'frames', {0: 'first.png', 5: 'second.png'}, {0: [[20, 20], [30, 30]], 3: [[40, 30.5]]}
    )
    rows = json.loads(Path('points.json').read_text())
    for result, row in zip(expected, rows, strict=True):
        np.testing.assert_array_equal(read_mask(f'masks/{result.name}.png'), result.mask)
        assert row['points'] == [None if x < 0 else [round(x, 2), round(y, 2)] for x, y in result.points.tolist()]
    assert [len(row['points']) for row in rows] == [2] * 3 + [3] * 9
    assert rows[3]['points'][2] == [40, 30.5]
    with Image.open('masks/00007.png') as image:
        assert image.mode == 'P'
    assert len(VideoReader('out.mov')) == 12
    assert '12/12 ' in capfd.readouterr().err


def test_first_frames_of_a_file(place, capfd):
    propagate.main(['video.mp4', '--mask', 'first.png', '--out', 'out.mp4', '--fps', '4', '--max-frames', '5', *SMALL])
    with av.open('out.mp4') as file:
        assert (file.streams.video[0].frames, file.streams.video[0].average_rate) == (5, 4)
    assert ' 5/5 ' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['none.mp4', '--points', '1,1'], 'Video not found: none.mp4. Expected a video file, a folder of images or'),
        (['first.png.txt', '--points', '1,1'], 'first.png.txt cannot be opened (8 bytes)'),
        (['98', '--points', '1,1'], 'Camera 98 cannot be opened: there is none of that number'),
        (['frames', '--mask', 'none.png'], 'Mask not found: none.png'),
        (['frames', '--mask', 'deep.png'], 'Mask deep.png holds ids 300 to 300. Number the objects 1 to 255'),
        (['frames', '--mask', 'colours.png'], 'Mask colours.png is an image of mode RGB'),
        (['frames', '--mask', 'empty.png'], 'empty.png for frame 0 is empty: all its ids are 0'),
        (['frames', '--mask', 'small.png'], 'small.png for frame 0 is 32x48 (height x width), the frames are 64x96'),
        (['frames', '--mask', 'first.png', '--delete', '5:9'], 'Object 9 to delete at frame 5 is not followed there'),
        (['frames', '--points', '1,1', '5:3=2,2'], 'Point 3 to correct at frame 5 is not followed there, but only: 0'),
        (['0', '--mask', 'first.png', '--direction', 'both'], 'amera 0'),
        (['frames', '--mask', 'first.png', '12:second.png'], 'given for frame 12, but frames has 12 frames, 0 to 11'),
        (['video.mp4', '--mask', 'first.png', '12:second.png'], 'but video.mp4 ended after 12 frames, 0 to 11. The'),
        (['video.mp4', '--points', '3:1,1', '--max-frames', '3'], 'frame 3, but only the first 3 are to be read'),
        (['frames', '--points', '0:-1,3'], 'Point -1,3 for frame 0 lies outside of the frame, where x is 0 to 95'),
        (['mixed', '--points', '1,1'], 'Frame 1 (00001) of mixed is 32x48 (height x width), the first is 64x96'),
        (['frames', '--points', '1,1', '--mask-dir', 'masks'], 'mask_dir masks is for masks, but none are given'),
    ],
)
def test_errors_are_one_line(place, capfd, args, message):
    Path('first.png.txt').write_text('no video')
    for name, array in (
        ('deep', np.full((64, 96), 300, np.uint16)),
        ('colours', np.zeros((64, 96, 3), np.uint8)),
        ('empty', np.zeros((64, 96), np.uint8)),
        ('small', np.ones((32, 48), np.uint8)),
    ):
        Image.fromarray(array).save(f'{name}.png')
    for t, size in enumerate([(64, 96), (32, 48)]):
        write_image(f'mixed/{t:05d}.png', np.zeros((*size, 3), np.uint8))
    assert message in error_of(capfd, *args, '--out', 'out.mp4')


def test_what_is_wrong_from_the_start_is_told_without_a_bar(place, capfd):
    for args in (['none.mp4', '--points', '1,1'], ['frames', '--mask', 'none.png'], ['frames', '--points', '0:-1,3']):
        with pytest.raises(SystemExit):
            propagate.main([*args, '--points-json', 'points.json', *SMALL])
        assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs a device without room')
def test_a_full_disk_is_told_with_the_name_of_the_file(place, capfd):
    message = error_of(capfd, 'frames', '--points', '1,1', '--points-json', '/dev/full')
    assert message == 'error: /dev/full cannot be written: No space left on device.'


@pytest.mark.parametrize('option', ['--out', '--mask-dir', '--points-json'])
def test_folder_that_cannot_be_written(place, capfd, option):
    path = 'video.mp4/a' if option == '--mask-dir' else f'video.mp4/a/b.{"mp4" if option == "--out" else "json"}'
    message = error_of(capfd, 'frames', '--mask', 'first.png', '--points', '1,1', option, path)
    assert 'Results cannot be written to the folder video.mp4/a (' in message


@pytest.mark.parametrize('fps', ['66.667', '105.611', '196.263', '211.222'])
def test_the_recording_of_a_laboratory_camera_is_left_alone(place, fps):
    """At such a rate the result goes to the path that was asked for, and to no other of that stem."""
    frames, _ = moving_shapes(3, (64, 96), 2)
    with av.open('mouse.avi', 'w') as file:
        stream = file.add_stream('mjpeg', rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuvj420p'
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        file.mux(stream.encode(None))
    before = Path('mouse.avi').read_bytes()
    propagate.main(['mouse.avi', '--mask', 'first.png', '--out', 'mouse.mp4', *SMALL])
    assert Path('mouse.avi').read_bytes() == before
    with av.open('mouse.mp4') as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate, stream.frames) == ('h264', Fraction(fps), 3)


def test_an_output_of_another_kind_is_refused(place, capfd):
    assert 'written as .mp4, .m4v, .mov, .mkv, .webm, got out.avi' in error_of(
        capfd, 'frames', '--mask', 'first.png', '--out', 'out.avi'
    )
    assert not Path('out.avi').exists()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['frames', '--out', 'a.mp4'], 'nothing to follow: give --mask or --points'),
        (['frames', '--points', '1,1'], 'say where the results go'),
        (['frames', '--mask', 'a.png', 'b.png', '--out', 'a.mp4'], 'two masks are for one frame'),
        (['frames', '--points', '1;1', '--out', 'a.mp4'], "'1;1' is no point; expected x,y or FRAME:x,y"),
        (['frames', '--points', 'x:1,1', '--out', 'a.mp4'], "'x:1,1' is no point"),
        (['frames', '--mask', 'a.png', 'x:b.png', '--out', 'a.mp4'], "'x' is no frame number"),
        (['frames', '--points', '1,1', '--points-json', 'a.json', '--fps', '9'], '--fps is that of the video to write'),
        *[
            (['frames', '--points', '1,1', '--out', 'a.mp4', '--fps', fps], '--fps: must be 0.001 to 100000, got')
            for fps in ('0', '-1', '1e9', 'nan', 'inf')
        ],
        (['frames', '--points', '1,1', '--out', 'a.mp4', '--fps', 'fast'], 'argument --fps'),
    ],
)
def test_arguments_that_do_not_go_together(args, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        propagate.parse_args(args)
    assert message in ' '.join(capsys.readouterr().err.split())


def test_a_window_needs_a_screen(monkeypatch, capsys):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, 'platform', 'linux')
    with pytest.raises(SystemExit, match='2'):
        propagate.parse_args(['0', '--points', '1,1', '--show'])
    assert '--show needs a screen' in capsys.readouterr().err


def test_q_in_the_window_ends_the_run_of_a_camera(place, monkeypatch, capfd):
    """The camera and the window stand in for hardware: the camera never ends, q is pressed at the sixth frame."""
    frames, _ = moving_shapes(12, (64, 96), 2)
    shown = []

    class Camera:
        def __init__(self, number):
            self.count = 0

        def isOpened(self):
            return True

        def get(self, key):
            return 0.0

        def set(self, key, value):
            return True

        def read(self):
            self.count += 1
            return True, frames[self.count % 12]

        def release(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(cv2, 'VideoCapture', Camera)
        patch.setattr(cv2, 'imshow', lambda title, picture: shown.append(picture.copy()))
        patch.setattr(cv2, 'waitKey', lambda wait: ord('q') if len(shown) == 6 else -1)
        patch.setenv('DISPLAY', ':0')
        propagate.main(['0', '--points', '30,30', '--points-json', 'points.json', '--show', *SMALL])
    assert len(shown) == len(json.loads(Path('points.json').read_text())) == 6
    assert 'ended early, as asked\n6 frames' in capfd.readouterr().out
    # The dot of the first point is dark red, and the window takes blue first.
    assert shown[0][30, 30].tolist() == [0, 0, 128]


@pytest.mark.skipif(os.name != 'posix', reason='sends SIGINT')
def test_sigterm_ends_the_run_with_whole_files(place):
    frames, _ = moving_shapes(12, (64, 96), 2)
    write_video('long.mp4', np.concatenate([frames] * 100))
    process = subprocess.Popen(
        [
            sys.executable,
            SCRIPT,
            'long.mp4',
            '--mask',
            'first.png',
            '--points',
            '9,9',
            '--out',
            'out.mp4',
            '--points-json',
            'points.json',
            '--mask-dir',
            'masks',
            *SMALL,
        ],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + 60
    while len(list(Path().glob('masks/*.png'))) < 5:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert stdout.startswith('ended early, as asked\n')
    count = len(list(Path('masks').glob('*.png')))
    assert 5 <= count < 1200
    assert len(VideoReader('out.mp4')) == len(json.loads(Path('points.json').read_text())) == count
    assert f'{count} frames in' in stdout


SIGNALS = [name for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]


@pytest.mark.parametrize('name', SIGNALS)
@pytest.mark.parametrize('count', [1, 2])
def test_signals_end_the_run_with_whole_files(place, monkeypatch, capfd, name, count):
    """The first lets the frame in work finish, the second ends at once; after the run they are what they were."""
    number, on_frame = getattr(signal, name), propagate.Run.on_frame

    def raise_signals(run, result):
        for _ in range(count if result.frame_index == 3 else 0):
            signal.raise_signal(number)
        return on_frame(run, result)

    def not_mine(number, frame):
        raise AssertionError('the signal was not taken')

    monkeypatch.setattr(propagate.Run, 'on_frame', raise_signals)
    before = signal.signal(number, not_mine)
    try:
        with pytest.raises(SystemExit) as stop:
            propagate.main(
                [
                    'video.mp4',
                    '--mask',
                    'first.png',
                    '--points',
                    '9,9',
                    '--out',
                    'out.mp4',
                    '--mask-dir',
                    'masks',
                    '--points-json',
                    'points.json',
                    *SMALL,
                ]
            )
        assert stop.value.code == 128 + (number if count == 1 else signal.SIGINT)
        assert signal.getsignal(number) is not_mine
    finally:
        signal.signal(number, before)
    assert len(VideoReader('out.mp4')) == len(list(Path('masks').glob('*.png'))) == 4
    assert len(json.loads(Path('points.json').read_text())) == 4
    assert ('ended early, as asked' in capfd.readouterr().out) is (count == 1)


def test_a_signal_that_is_ignored_stays_so(place, monkeypatch):
    """As SIGHUP is under nohup."""
    number = getattr(signal, SIGNALS[-1])
    monkeypatch.setattr(propagate.Run, 'on_frame', lambda run, result: signal.raise_signal(number))
    before = signal.signal(number, signal.SIG_IGN)
    try:
        propagate.main(['video.mp4', '--mask', 'first.png', '--out', 'out.mp4', *SMALL])
    finally:
        signal.signal(number, before)
    assert len(VideoReader('out.mp4')) == 12


class Propagator:
    """Stands in for the network: remembers what it is asked for, shows two frames, and sums up."""

    calls: list = []
    protocol = dict(name='a protocol', version=3)

    def __init__(self, *args):
        self.calls.append(args)
        self.model = SimpleNamespace(data_preprocessor=SimpleNamespace(device='cuda:7'))

    def __call__(self, stream, mask, points, **options):
        self.calls.append((stream, mask, points, options))
        for number in range(2):
            self.on_frame(options['on_frame'], number)
        paths = {kind: options[kind] for kind in ('out', 'mask_dir', 'points_json')}
        return dict(frames=2, seconds=0.8, doubtful=[(1, 0.25), (7, 0.5)], protocol=self.protocol, **paths)

    def on_frame(self, call, number):
        assert call(SimpleNamespace(frame_index=number)) is False


@pytest.fixture
def asked(monkeypatch):
    """The calls of the network that stands in for another."""
    monkeypatch.setattr(Propagator, 'calls', [])
    monkeypatch.setattr(arguments, 'VideoPropagator', Propagator)
    monkeypatch.setattr(propagate, 'open_video', lambda name: SimpleNamespace(name=name, num_frames=None))
    return Propagator.calls


def test_every_argument_reaches_the_propagator(asked, capfd, monkeypatch):
    levels = []
    monkeypatch.setattr(propagate.cv2, 'setLogLevel', lambda level: levels.append(('4', level)), raising=False)
    monkeypatch.setattr(propagate.cv2, '__version__', '4.9.0')
    line = (
        'v.mp4 --mask a.png 3:b.png --points 1,2 4:5,6 3,4 5:1=7,8 --out o.mp4 --fps 12.5 --alpha 0.25 --end 11 '
        '--start 2 --direction both --delete 5:3 6:4 --delete-points 6:0 '
        '--mask-dir m --overwrite --config c.py --checkpoint w.pth --protocol dino_davis_p8 --device cpu '
        '--cfg-options a=1 --trust-checkpoint --prefix net --allow-other-geometry'
    )
    propagate.main(line.split())
    made, (stream, mask, points, options) = asked
    changed = {'a': 1, 'model.propagator.protocol.name': 'dino_davis_p8'}
    assert made == ('c.py', 'w.pth', 'cpu', changed, True, False, 'net', True)
    assert (stream.name, mask) == ('v.mp4', {0: 'a.png', 3: 'b.png'})
    assert {frame: positions.tolist() for frame, positions in points.items()} == {0: [[1, 2], [3, 4]], 4: [[5, 6]]}
    run = options.pop('on_frame').__self__
    assert options.pop('progress') == run.on_pass
    assert (run.alpha, run.show, run.total) == (0.25, False, 9)
    assert options.pop('edits') == {5: Edits({1: (7, 8)}, [3], []), 6: Edits({}, [4], [0])}
    assert options == dict(
        out=Path('o.mp4'),
        mask_dir=Path('m'),
        points_json=None,
        fps=12.5,
        alpha=0.25,
        max_frames=9,
        start=2,
        direction='both',
        overwrite=True,
    )
    assert capfd.readouterr().out == (
        '2 frames in 0.8 s (2.5 frames/s), protocol a protocol v3, device cuda:7\n'
        'most in doubt (confidence): frame 1 (0.25), 7 (0.50)\nout: o.mp4\nmask_dir: m\n'
    )
    assert levels == [('4', 0)]


def test_what_is_not_given_is_left_to_the_propagator(asked, capfd, monkeypatch):
    levels = []
    monkeypatch.setattr(propagate.cv2, '__version__', '5.0.0')
    logging = SimpleNamespace(setLogLevel=levels.append)
    monkeypatch.setattr(propagate.cv2.utils, 'logging', logging, raising=False)  # OpenCV 4 has no such module
    propagate.main(['0', '--points', '1,2', '--points-json', 'p.json', '--checkpoint', 'none', '--allow-partial'])
    made, (_, mask, points, options) = asked
    assert made == ('eval/davis_r18_s8', None, None, {}, False, True, None, False)
    assert (mask, list(points)) == (None, [0])
    for name in ('on_frame', 'progress'):
        options.pop(name)
    assert options == dict(
        out=None,
        mask_dir=None,
        points_json=Path('p.json'),
        fps=None,
        alpha=0.5,
        max_frames=None,
        edits={},
        start=0,
        direction='forward',
        overwrite=False,
    )
    captured = capfd.readouterr()
    assert captured.out.endswith('7 (0.50)\npoints_json: p.json\n')
    assert ' 2/? ' in captured.err
    assert levels == [0]
    propagate.main(['0', '--mask', 'a.png', '--mask-dir', 'm'])
    assert asked[3][1:3] == ({0: 'a.png'}, None)


@pytest.mark.parametrize(
    ('frames', 'limit', 'total'), [(None, None, None), (5, None, 5), (None, 7, 7), (5, 7, 5), (7, 5, 5)]
)
def test_the_end_of_the_bar(frames, limit, total):
    run = propagate.Run(SimpleNamespace(num_frames=frames), limit, False, 0.5)
    assert run.total == total
    assert (run.interrupted, run.signal) == (False, 0)


def test_the_bar_begins_with_the_first_frame_and_ends_with_the_run(capfd):
    run = propagate.Run(SimpleNamespace(num_frames=3), None, False, 0.5)
    with run.ended_by_signals():
        pass
    assert capfd.readouterr().err == ''
    with run.ended_by_signals():
        for _ in range(2):
            assert run.on_frame(None) is False
    (line,) = capfd.readouterr().err.splitlines()
    assert ' 2/3 ' in line
    assert line.rstrip().endswith(' frames/s')


@pytest.mark.parametrize(
    ('key', 'before', 'ended'),
    [
        (-1, False, False),
        (ord('q'), False, True),
        (0x100000 | ord('q'), False, True),
        (ord('p'), False, False),
        (ord('q') + 128, False, False),
        (-1, True, True),
    ],
)
def test_a_key_in_the_window(monkeypatch, key, before, ended):
    """A run that a signal ends goes on to end, whatever is pressed."""
    shown, waited = [], []
    monkeypatch.setattr(propagate.cv2, 'imshow', lambda title, picture: shown.append((title, picture.tolist())))
    monkeypatch.setattr(propagate.cv2, 'waitKey', lambda wait: waited.append(wait) or key)
    run = propagate.Run(SimpleNamespace(num_frames=3), None, True, 0.25)
    run.interrupted = before
    with run.ended_by_signals():
        picture = np.array([[[1, 2, 3]]], np.uint8)
        assert run.on_frame(SimpleNamespace(picture=lambda alpha: picture if alpha == 0.25 else None)) is ended
    assert (shown, waited) == ([('stt_mm (q ends)', [[[3, 2, 1]]])], [1])


def test_masks_and_points_may_name_their_frame(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert propagate.mask('12:a:b.png') == (12, 'a:b.png')
    Path('x:y.png').touch()
    assert propagate.mask('x:y.png') == (0, 'x:y.png')
    assert propagate.point('12:1.5,-2') == (12, None, (1.5, -2))
    assert propagate.point('12:3=1.5,-2') == (12, 3, (1.5, -2))
    found = propagate.by_frame(
        [propagate.Point(*row) for row in ((3, None, (1, 2)), (0, None, (3, 4)), (3, None, (5, 6)), (4, 0, (7, 8)))]
    )
    assert list(found) == [0, 3]
    assert found[3].tolist() == [[1, 2], [5, 6]]
    assert propagate.by_frame([]) == {}


def test_masks_and_points_travel_in_files_of_others(place, capfd):
    """What is written as COCO and TAP-Vid is the result, and given again it carries on from there."""
    propagate.main(
        [
            'frames',
            *('--mask', 'first.png', '5:second.png', '--points', '10,20', '3:30,8', '--mask-dir', 'masks'),
            *('--points-json', 'points.json', '--masks-json', 'new/masks.json', '--points-npz', 'points.npz', *SMALL),
        ]
    )
    assert 'masks_json: new/masks.json\npoints_npz: points.npz' in capfd.readouterr().out
    found = read_mask_file('new/masks.json')
    assert json.loads(Path('new/masks.json').read_text())['images'][3]['file_name'] == '00003.png'
    for t, frame in found.numbered().items():
        np.testing.assert_array_equal(frame.ids(), read_mask(f'masks/{t:05d}.png'))
    rows = json.loads(Path('points.json').read_text())
    points, occluded = read_point_file('points.npz', 12)
    assert occluded.tolist() == [[False] * 12, [True] * 3 + [False] * 9]
    expected = np.array([row['points'][0] for row in rows])
    np.testing.assert_allclose(to_pixels(points[0], (64, 96)), expected, atol=0.006)

    # Each object and point is given in the first frame that shows it.
    propagate.main(
        [
            'frames',
            '--mask',
            'new/masks.json',
            '--points',
            'points.npz',
            '--mask-dir',
            'again',
            '--points-json',
            'b.json',
            *SMALL,
        ]
    )
    for t in range(12):
        np.testing.assert_array_equal(read_mask(f'again/{t:05d}.png'), read_mask(f'masks/{t:05d}.png'))
    again = json.loads(Path('b.json').read_text())
    assert [len(row['points']) for row in again] == [len(row['points']) for row in rows]
    np.testing.assert_allclose([row['points'][0] for row in again], expected, atol=0.02)


def test_a_json_file_for_one_frame_may_be_for_another(place):
    with MaskFileWriter('one.json') as file:
        file.add('00000.png', read_mask('first.png'))
    propagate.main(['video.mp4', '--mask', '2:one.json', '--mask-dir', 'masks', '--max-frames', '4', *SMALL])
    assert [read_mask(f'masks/{t:05d}.png').any() for t in range(4)] == [False, False, True, True]


def test_what_travels_badly_is_named_in_one_line(place, capfd):
    with MaskFileWriter('two.json') as file:
        for t in range(2):
            file.add(f'{t:05d}.png', read_mask('first.png'))
    np.savez('points.npz', points=np.zeros((1, 2, 2)), occluded=np.ones((1, 2), bool))
    Path('broken.json').write_text('{}')
    for args, message in (
        (('--mask', '3:two.json', '--masks-json', 'o.json'), 'has masks of 2 frames, so that 3: cannot'),
        (('--mask', 'broken.json', '--masks-json', 'o.json'), 'holds no masks that are known'),
        (('--mask', 'absent.json', '--masks-json', 'o.json'), 'No such file: absent.json'),
        (('--mask', 'two.json', '--masks-json', 'two.json'), 'two.json is read here and would be replaced'),
        (('--mask', 'two.json', '--points', '1,1', '--points-json', 'two.json'), 'two.json is read here'),
        (('--points', 'points.npz', '--points-npz', 'o.npz'), 'shows no point'),
        (('--points', '1,1', '--points-npz', 'o.json'), 'Points are written as .npz'),
        (('--points', '1,1', '--points-json', 'a.npz', '--points-npz', 'a.npz'), 'would both be written to'),
    ):
        assert message in error_of(capfd, 'frames', *args)
    assert not Path('o.json').exists()
    for args, message in (
        (('--mask', 'two.json', '5:second.png', '--show'), 'no other label can stand beside it'),
        (('--points', 'points.npz', '1,1', '--show'), 'no other label can stand beside it'),
        (('--points', '1,1', '--masks-json', 'o.json'), '--masks-json needs --mask'),
        (('--mask', 'first.png', '--points-npz', 'o.npz'), '--points-npz needs --points'),
    ):
        with pytest.raises(SystemExit):
            propagate.parse_args(['frames', *args])
        assert message in capfd.readouterr().err


def test_a_checkpoint_that_states_its_network_needs_no_config(place, capfd):
    """Another geometry and protocol than those of the default config, which knows what a file says nothing of."""
    backbone = dict(type='CorrespondenceResNet', depth=18, geometry='stride4', out_indices=(1,))
    protocol = dict(name='stt_davis_s4', radius=6, short_side=64)
    network = Correspondence(backbone, None, dict(type='LabelPropagator', protocol=protocol), 'res3')
    weights = {f'backbone.{name}': value for name, value in network.backbone.state_dict().items()}
    said = dict(geometry=network.geometry, protocol=network.propagator.protocol.settings)
    torch.save(dict(state_dict=weights, meta=said), 'stated.pth')
    arguments = ['frames', '--mask', 'first.png', '--mask-dir', 'masks', '--max-frames', '2', '--device', 'cpu']
    propagate.main([*arguments, '--checkpoint', 'stated.pth'])
    assert 'protocol stt_davis_s4 v1, device cpu' in capfd.readouterr().out
    with pytest.raises(SystemExit):
        propagate.main([*arguments, '--checkpoint', 'stated.pth', '--config', 'eval/davis_r18_s8'])
    assert 'stated.pth was trained in another geometry' in capfd.readouterr().err


def test_a_correction_from_the_command_line_goes_both_ways(place):
    """What the options mean is what the same says from Python."""
    mask = read_mask('first.png')
    write_mask('again.png', np.roll(mask, 3, 1))
    options = ['--mask', 'first.png', '6:again.png', '--direction', 'both', '--end', '9', '--device', 'cpu']
    propagate.main(
        ['frames', *options, '--mask-dir', 'both', '--cfg-options', 'model.propagator.protocol.short_side=64']
    )
    propagator = VideoPropagator(
        ROOT / 'configs' / 'eval' / 'davis_r18_s8.py',
        'stt_r18_demo',
        'cpu',
        {'model.propagator.protocol.short_side': 64},
    )
    given = {0: 'first.png', 6: 'again.png'}
    expected = list(propagator.stream('frames', given, max_frames=9, direction='both'))
    found = sorted(Path('both').glob('*.png'))
    assert len(found) == 9
    assert all(np.array_equal(read_mask(path), result.mask) for path, result in zip(found, expected, strict=True))
    assert np.array_equal(np.where(read_mask('again.png'), expected[6].mask, 0), read_mask('again.png'))

import argparse
import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_data import moving_shapes, shown, write_timed_video, write_video

from stt_mm.utils import VideoReader

TOOL = Path(__file__).parents[2] / 'tools' / 'extract_frames.py'


def load_tool():
    spec = importlib.util.spec_from_file_location('extract_frames', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(every, short_side, max_frames, quality, overwrite=False):
    return argparse.Namespace(
        every=every, short_side=short_side, max_frames=max_frames, quality=quality, overwrite=overwrite
    )


def extract(capfd, *args):
    """Exit code and what is printed."""
    try:
        load_tool().main(list(map(str, args)))
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, capfd.readouterr()


def test_every_second_frame_at_a_smaller_size(tmp_path, capfd):
    frames, _ = moving_shapes(9, (64, 96), 1)
    write_video(tmp_path / 'clip.mp4', frames)
    options = ['--every', 2, '--short-side', 32, '--max-frames', 4]
    write_video(tmp_path / 'other.mp4', frames[:3])
    code, printed = extract(capfd, tmp_path / 'clip.mp4', tmp_path / 'other.mp4', '--out', tmp_path / 'out', *options)
    assert code == 0, printed.err
    assert printed.out == f'6 frames of 2 videos in {tmp_path}/out\n'
    assert ' 2/2 ' in printed.err
    files = sorted((tmp_path / 'out' / 'clip').glob('*.jpg'))
    assert [path.name for path in files] == ['00000.jpg', '00001.jpg', '00002.jpg', '00003.jpg']
    third = cv2.cvtColor(cv2.imread(str(files[2])), cv2.COLOR_BGR2RGB).astype(int)
    assert third.shape == (32, 48, 3)
    errors = [np.abs(third - cv2.resize(frame, (48, 32), interpolation=cv2.INTER_AREA)).mean() for frame in frames]
    assert np.argmin(errors) == 4


@pytest.mark.parametrize(
    ('short_side', 'shape'),
    [(256, (48, 64, 3)), (60, (48, 64, 3)), (48, (48, 64, 3)), (36, (36, 48, 3)), (24, (24, 32, 3))],
)
def test_only_larger_frames_are_made_smaller(tmp_path, short_side, shape):
    write_video(tmp_path / 'clip.avi', moving_shapes(2, (48, 64), 1)[0], 'MJPG')
    assert load_tool().extract(tmp_path / 'clip.avi', tmp_path / 'out', settings(1, short_side, None, 90)) == 2
    assert cv2.imread(str(tmp_path / 'out' / '00000.jpg')).shape == shape


def test_frames_of_a_varying_rate_are_the_ones_asked_for(tmp_path):
    tool = load_tool()
    write_timed_video(tmp_path / 'phone.mp4', np.cumsum(np.random.default_rng(0).integers(15, 90, 130)).tolist())
    assert tool.extract(tmp_path / 'phone.mp4', tmp_path / 'out', settings(40, 48, None, 90)) == 4
    assert [shown(cv2.imread(str(path))) for path in sorted((tmp_path / 'out').glob('*.jpg'))] == [0, 40, 80, 120]


def test_a_file_that_is_cut_off_keeps_no_other_from_its_frames(tmp_path, capfd):
    out, names = tmp_path / 'out', 'abcd'
    for name in names:
        write_video(tmp_path / f'{name}.avi', moving_shapes(20, (64, 96), 1)[0], 'MJPG')
    data = (tmp_path / 'b.avi').read_bytes()
    (tmp_path / 'b.avi').write_bytes(data[: len(data) // 2])
    (tmp_path / 'c.avi').write_bytes(b'no video')

    def count():
        return {name: len(list((out / name).glob('*.jpg'))) for name in names if (out / name).exists()}

    code, printed = extract(capfd, *(tmp_path / f'{name}.avi' for name in names), '--out', out)
    assert code == 1
    assert printed.out == f'40 frames of 2 videos in {out}\n'
    # Of the damaged file nothing passes for a whole video; the way out touches no other.
    assert count() == dict(a=20, d=20)
    assert sorted(path.name for path in out.iterdir()) == ['a', 'd']
    assert 'c.avi cannot be opened' in printed.err
    fault = re.search(
        r'b\.avi is cut off or damaged after (\d+) frames.*name this file alone, with --max-frames \1\.', printed.err
    )
    held = int(fault[1])
    assert 5 < held < 15
    code, printed = extract(capfd, tmp_path / 'b.avi', '--out', out, '--max-frames', held)
    assert code == 0, printed.err
    assert count() == dict(a=20, b=held, d=20)


@pytest.mark.parametrize('before', [None, 'same', 'other', 'other and hidden'])
def test_frames_are_there_when_all_of_them_are(tmp_path, monkeypatch, before):
    tool, out, seen = load_tool(), tmp_path / 'out', []
    write_video(tmp_path / 'clip.avi', moving_shapes(4, (48, 64), 1)[0], 'MJPG')
    if before:
        tool.extract(tmp_path / 'clip.avi', out, settings(1 if before == 'same' else 2, 48, None, 90))
    if before == 'other and hidden':
        (out / '.note').write_text('mine')
    number = {None: 0, 'same': 4}.get(before, 2)
    write = tool.cv2.imwrite

    def stopped(path, *rest):
        seen.append(len(list(out.glob('*.jpg'))))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return write(path, *rest)

    monkeypatch.setattr(tool.cv2, 'imwrite', stopped)
    with pytest.raises(KeyboardInterrupt):
        tool.extract(tmp_path / 'clip.avi', out, settings(1, 48, None, 90, overwrite=True))
    assert seen == [number] * 3
    assert len(list(out.glob('*.jpg'))) == number
    assert {path.name for path in tmp_path.iterdir()} <= {'clip.avi', 'out'}
    # What a kill leaves is hidden, and belongs to the next run.
    (tmp_path / '.out.part').mkdir()
    (tmp_path / '.out.part' / '00009.jpg').touch()
    tool.extract(tmp_path / 'clip.avi', out, settings(1, 48, None, 90, overwrite=True))
    assert [path.name for path in sorted(out.glob('*.jpg'))] == [f'{number:05d}.jpg' for number in range(4)]
    assert not (tmp_path / '.out.part').exists()
    assert (out / '.note').exists() == (before == 'other and hidden')
    # The folder is known as theirs.
    tool.extract(tmp_path / 'clip.avi', out, settings(1, 48, None, 90))


def test_a_file_that_is_no_video_is_named_in_one_line(tmp_path, capfd):
    (tmp_path / 'talk.mp4').write_bytes(b'no video')
    code, printed = extract(capfd, tmp_path / 'talk.mp4', '--out', tmp_path / 'out')
    assert code == 1
    assert 'talk.mp4 cannot be opened' in printed.err


@pytest.mark.parametrize(('size', 'smaller'), [((64, 96), (32, 48)), ((96, 64), (48, 32))])
@pytest.mark.parametrize('quality', [1, 60, 100])
def test_files_are_the_frames_averaged_to_the_size_in_the_quality(tmp_path, size, smaller, quality):
    noise = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    write_video(tmp_path / 'clip.avi', noise, 'MJPG')
    frame = cv2.cvtColor(VideoReader(tmp_path / 'clip.avi').read(1), cv2.COLOR_RGB2BGR)
    load_tool().extract(tmp_path / 'clip.avi', tmp_path / 'out', settings(1, 32, None, quality))
    expected = cv2.imencode(
        '.jpg', cv2.resize(frame, smaller[::-1], interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )[1]
    assert (tmp_path / 'out' / '00001.jpg').read_bytes() == expected.tobytes()


def test_a_folder_of_other_frames_is_refused_unless_said(tmp_path):
    tool = load_tool()
    write_video(tmp_path / 'clip.avi', moving_shapes(2, (48, 64), 1)[0], 'MJPG')
    tool.extract(tmp_path / 'clip.avi', tmp_path / 'out', settings(1, 48, None, 90))
    with pytest.raises(ValueError, match=r'every 1, short side 48, quality 90, and the results would mix'):
        tool.extract(tmp_path / 'clip.avi', tmp_path / 'out', settings(2, 48, 1, 90))
    tool.extract(tmp_path / 'clip.avi', tmp_path / 'out', settings(2, 48, 1, 90, overwrite=True))
    with pytest.raises(ValueError, match=r'every 2, short side 48, quality 90, 1 files, and the results would mix'):
        tool.extract(tmp_path / 'clip.avi', tmp_path / 'out', settings(1, 48, None, 90))


def test_a_frame_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    tool = load_tool()
    write_video(tmp_path / 'clip.avi', moving_shapes(2, (48, 64), 1)[0], 'MJPG')
    monkeypatch.setattr(tool.cv2, 'imwrite', lambda *_: False)
    with pytest.raises(OSError, match=r'Cannot write .*out\.part/00000\.jpg'):
        tool.extract(tmp_path / 'clip.avi', tmp_path / 'out', settings(1, 48, None, 90))


def test_a_folder_in_place_of_a_video_is_told_without_a_bar(tmp_path, capfd):
    with pytest.raises(SystemExit):
        load_tool().main([str(tmp_path), '--out', str(tmp_path / 'out')])
    assert capfd.readouterr().err == f'error: Video: {tmp_path} is a folder, no file.\n'

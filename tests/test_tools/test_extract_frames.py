import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_data import moving_shapes, shown, write_timed_video, write_video

from stt_mm.utils import FrameError

TOOL = Path(__file__).parents[2] / 'tools' / 'extract_frames.py'


def load_tool():
    spec = importlib.util.spec_from_file_location('extract_frames', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def extract(*args):
    return subprocess.run([sys.executable, str(TOOL), *map(str, args)], capture_output=True, text=True, timeout=120)


def test_every_second_frame_at_a_smaller_size(tmp_path):
    frames, _ = moving_shapes(9, (64, 96), 1)
    write_video(tmp_path / 'clip.mp4', frames)
    options = ['--every', 2, '--short-side', 32, '--max-frames', 4]
    done = extract(tmp_path / 'clip.mp4', '--out', tmp_path / 'out', *options)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / 'out' / 'clip').glob('*.jpg'))
    assert [path.name for path in files] == ['00000.jpg', '00001.jpg', '00002.jpg', '00003.jpg']
    third = cv2.cvtColor(cv2.imread(str(files[2])), cv2.COLOR_BGR2RGB).astype(int)
    assert third.shape == (32, 48, 3)
    errors = [np.abs(third - cv2.resize(frame, (48, 32), interpolation=cv2.INTER_AREA)).mean() for frame in frames]
    assert np.argmin(errors) == 4


@pytest.mark.parametrize(('short_side', 'shape'), [
    (256, (48, 64, 3)), (60, (48, 64, 3)), (48, (48, 64, 3)), (36, (36, 48, 3)), (24, (24, 32, 3))])
def test_only_larger_frames_are_made_smaller(tmp_path, short_side, shape):
    write_video(tmp_path / 'clip.avi', moving_shapes(2, (48, 64), 1)[0], 'MJPG')
    assert load_tool().extract(tmp_path / 'clip.avi', tmp_path / 'out', 1, short_side, None, 90) == 2
    assert cv2.imread(str(tmp_path / 'out' / '00000.jpg')).shape == shape


def test_frames_of_a_varying_rate_are_the_ones_asked_for(tmp_path):
    tool = load_tool()
    write_timed_video(tmp_path / 'phone.mp4', np.cumsum(np.random.default_rng(0).integers(15, 90, 130)).tolist())
    assert tool.extract(tmp_path / 'phone.mp4', tmp_path / 'out', 40, 48, None, 90) == 4
    assert [shown(cv2.imread(str(path))) for path in sorted((tmp_path / 'out').glob('*.jpg'))] == [0, 40, 80, 120]


def test_what_a_file_holds_that_is_cut_off_is_written_and_said(tmp_path):
    tool = load_tool()
    write_video(tmp_path / 'a.avi', moving_shapes(20, (64, 96), 1)[0], 'MJPG')
    data = (tmp_path / 'a.avi').read_bytes()
    (tmp_path / 'a.avi').write_bytes(data[:len(data) // 2])
    with pytest.raises(FrameError, match=r'a\.avi is cut off or damaged after \d+ frames.*--max-frames') as error:
        tool.extract(tmp_path / 'a.avi', tmp_path / 'out', 1, 64, None, 90)
    count = len(list((tmp_path / 'out').glob('*.jpg')))
    assert 5 < count < 15
    assert f'--max-frames {count} --overwrite' in str(error.value)
    assert tool.extract(tmp_path / 'a.avi', tmp_path / 'out', 1, 64, count, 90, overwrite=True) == count


def test_a_file_that_is_no_video_is_named_in_one_line(tmp_path):
    (tmp_path / 'talk.mp4').write_bytes(b'no video')
    done = extract(tmp_path / 'talk.mp4', '--out', tmp_path / 'out')
    assert done.returncode == 1
    assert 'talk.mp4 cannot be opened' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_folder_in_place_of_a_video_is_told_without_a_bar(tmp_path, capfd):
    with pytest.raises(SystemExit):
        load_tool().main([str(tmp_path), '--out', str(tmp_path / 'out')])
    assert capfd.readouterr().err == f'error: Video: {tmp_path} is a folder, no file.\n'

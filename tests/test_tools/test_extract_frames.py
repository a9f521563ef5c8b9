import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from tiny_data import moving_shapes, write_video

TOOL = Path(__file__).parents[2] / 'tools' / 'extract_frames.py'


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


def test_a_file_that_is_no_video_is_named_in_one_line(tmp_path):
    (tmp_path / 'talk.mp4').write_bytes(b'no video')
    done = extract(tmp_path / 'talk.mp4', '--out', tmp_path / 'out')
    assert done.returncode == 1
    assert 'talk.mp4 cannot be opened' in done.stderr
    assert 'Traceback' not in done.stderr

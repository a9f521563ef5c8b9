"""Every config of joint and continual learning and of STT's variants trains two steps and resumes bit by bit."""

import shutil
from pathlib import Path

import pytest
from continual_data import check_trains_and_resumes, set_files

TESTS = Path(__file__).parent
CONFIGS = sorted(
    path.stem
    for kind in ('joint', 'stt', 'temporal_then_spatial')
    for path in (TESTS.parents[1] / 'configs').rglob(f'{kind}_*.py')
    if 'demo' not in path.stem and '_base_' not in path.parts
)
# Checked by the tests of their method.
ELSEWHERE = {
    'joint_r50_ytv': 'test_joint.py',
    'stt_r18_ytv_ewc': 'test_ewc.py',
    'stt_r18_ytv_lwf': 'test_lwf.py',
    'stt_r50_ytv_ewc': 'test_ewc.py',
    'stt_r50_ytv_lwf': 'test_lwf.py',
    'temporal_then_spatial_r18': 'test_ewc.py',
    'temporal_then_spatial_r18_ewc': 'test_ewc.py',
    'temporal_then_spatial_r18_first': 'test_ewc.py',
}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Data and the files of stage 1 for both depths, in the variables that the configs read."""
    with pytest.MonkeyPatch.context() as patch:
        for depth in (18, 50):
            set_files(patch, tmp_path_factory.mktemp(f'r{depth}'), depth)
        yield


@pytest.mark.parametrize(('name', 'file'), ELSEWHERE.items())
def test_what_is_left_out_here_is_checked_elsewhere(name, file):
    assert name in CONFIGS
    text = (TESTS / file).read_text(encoding='utf-8')
    assert f"'{name}'" in text
    assert 'check_trains_and_resumes(' in text


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in CONFIGS if name not in ELSEWHERE])
def test_config_trains_and_resumes(name, files, tmp_path):
    check_trains_and_resumes(name, tmp_path)
    shutil.rmtree(tmp_path)

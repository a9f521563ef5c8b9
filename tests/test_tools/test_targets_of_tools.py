"""No tool writes onto what it reads, out of its folder, or among the results of something else."""

import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_engine.toy_project import write_config
from test_tools.test_command_line import call, error_of, tool
from tiny_data import make_davis, make_vip, make_youtube_vos_valid, moving_shapes, write_video

from stt_mm.utils import VideoReader

ROOT = Path(__file__).parents[2]
DAVIS = ROOT / 'configs' / 'eval' / 'davis_color.py'


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A DAVIS tree, which is the same afterwards."""
    monkeypatch.chdir(tmp_path)
    root = make_davis(tmp_path / 'DAVIS')
    before = contents(root)
    yield root
    assert contents(root) == before


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def masks(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob('*.png'))}


def arguments(*args, data='DAVIS', config=DAVIS, checkpoint='none', **options):
    """Of tools/test.py, with changed fields of the protocol."""
    changes = [f'model.propagator.protocol.{key}={value}' for key, value in dict(short_side=48, **options).items()]
    return [
        'test',
        config,
        checkpoint,
        '--work-dir',
        'work',
        *args,
        '--cfg-options',
        f'test_dataloader.dataset.data_root={data}',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
        *changes,
    ]


@pytest.mark.parametrize(
    'target',
    [
        'DAVIS/Annotations/480p',
        'DAVIS/Annotations',
        'DAVIS',
        'DAVIS/results',
        'DAVIS/Annotations/480p/new',
        'link',
        'link/new',
        'DAVIS/../DAVIS/JPEGImages/480p',
    ],
)
def test_masks_are_not_dumped_into_the_data(root, capfd, target):
    Path('link').symlink_to('DAVIS/Annotations/480p')
    line = error_of(capfd, *arguments('--dump-masks', target, '--overwrite'))
    assert f'{target} is, or lies in, DAVIS, which is read' in line
    assert not Path('work').exists()


@pytest.mark.parametrize('target', ['elsewhere/480p', 'elsewhere', 'elsewhere/480p/video0/new'])
def test_masks_are_not_dumped_where_the_links_of_the_data_lead(root, capfd, target):
    shutil.copytree('DAVIS', 'linked')
    shutil.move('linked/Annotations', 'elsewhere')
    Path('linked/Annotations').symlink_to('../elsewhere')
    before = masks('elsewhere')
    line = error_of(capfd, *arguments('--dump-masks', target, '--overwrite', data='linked'))
    assert 'which is read' in line
    assert masks('elsewhere') == before
    assert not Path('work/videos').exists()


def test_a_copy_of_hard_links_is_not_written_through(root, capfd):
    for path in root.glob('Annotations/480p/*/*.png'):
        target = Path('masks', path.parent.name, path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    assert 'masks holds 10 other files' in error_of(capfd, *arguments('--dump-masks', 'masks'))
    call(*arguments('--dump-masks', 'masks', '--overwrite'))
    assert len(masks('masks')) == 10


@pytest.mark.parametrize(
    ('name', 'make'),
    [('vip_r18_s8', make_vip), ('vip_instance_r18_s8', make_vip), ('ytv_r18_s8', make_youtube_vos_valid)],
)
def test_the_data_of_every_benchmark_is_safe(name, make, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = contents(make(tmp_path / 'data'))
    for target in ('data', 'data/valid/Annotations', 'data/Annotations/Category_ids'):
        args = [
            'test',
            f'eval/{name}',
            'none',
            '--dump-masks',
            target,
            '--overwrite',
            '--work-dir',
            'work',
            '--cfg-options',
            'test_dataloader.dataset.data_root=data',
        ]
        assert 'is, or lies in, data, which is read' in error_of(capfd, *args)
    assert contents(tmp_path / 'data') == before


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--out', 'weights.pth'], 'weights.pth is read here'),
        (['--out', 'my_config.py'], 'my_config.py is read here'),
        (['--out', 'DAVIS/ImageSets/2017/val.txt'], 'val.txt lies in DAVIS, whose files are read here'),
        (['--out', 'work/davis_results.json'], '--out and the results of davis would both be written to'),
        (['--work-dir', 'DAVIS'], 'DAVIS is, or lies in, DAVIS, which is read'),
        (['--work-dir', 'DAVIS/work'], 'DAVIS/work is, or lies in, DAVIS'),
    ],
)
def test_results_do_not_replace_what_is_read(root, capfd, args, message):
    torch.save(dict(state_dict={}), 'weights.pth')
    Path('my_config.py').write_text(f'_base_ = {str(DAVIS)!r}\n')
    before = contents(Path.cwd())
    assert message in error_of(capfd, *arguments(*args, config='my_config.py', checkpoint='weights.pth'))
    assert contents(Path.cwd()) == before


def test_masks_of_two_evaluations_do_not_mix(root, capfd):
    call(*arguments('--dump-masks', 'masks'))
    first = masks('masks')
    assert len(first) == 10
    call(*arguments('--dump-masks', 'masks'))
    assert masks('masks') == first
    other = ['--dump-masks', 'masks', '--work-dir', 'other']
    assert "masks holds masks of run '" in error_of(capfd, *arguments(*other, topk=1))
    assert "masks holds masks of run '" in error_of(capfd, *arguments(*other, '--skip-done', topk=1))
    assert masks('masks') == first
    Path('masks/video0/extra.png').write_bytes(b'')
    call(*arguments(*other, '--overwrite', topk=1))
    assert sorted(masks('masks')) == sorted(first)
    assert masks('masks') != first


def test_done_is_a_video_whose_masks_are_there(root, capfd):
    call(*arguments())
    scores = contents(Path('work/videos'))
    dump = arguments('--skip-done', '--dump-masks', 'masks')
    call(*dump)
    whole = masks('masks')
    assert len(whole) == 10
    assert '2 finished videos have no files, or not those of this run, in masks (video0, video1)' in ''.join(
        capfd.readouterr()
    )
    results = Path('work/davis_results.json').read_bytes()
    for damage in (
        lambda: shutil.rmtree('masks'),
        Path('masks/video1/00003.png').unlink,
        lambda: Path('masks/video1/00002.png').write_bytes(b''),
        lambda: shutil.copy('masks/video0/00001.png', 'masks/video1/00001.png'),
    ):
        damage()
        stamp = Path('work/videos/davis/video0.json').stat().st_mtime_ns
        call(*dump)
        assert masks('masks') == whole
        assert Path('work/davis_results.json').read_bytes() == results
    assert Path('work/videos/davis/video0.json').stat().st_mtime_ns == stamp
    assert [json.loads(text)['record'] for text in scores.values()] == [
        json.loads(text)['record'] for text in contents(Path('work/videos')).values()
    ]


def test_a_fresh_evaluation_forgets_the_one_before(root):
    call(*arguments())
    notes = Path('work/videos/davis/notes.json')
    notes.write_text('{"of": "the user"}')
    call(*arguments(), 'test_dataloader.dataset.indices=1')
    assert sorted(path.name for path in Path('work/videos/davis').iterdir()) == ['notes.json', 'video0.json']


def test_the_config_of_a_work_directory_is_kept(tmp_path, monkeypatch):
    """One that is read from there, and that of a training when its network is tested in the same folder."""
    monkeypatch.chdir(tmp_path)
    Path('work').mkdir()
    config = write_config(
        tmp_path / 'work', "# By hand.\ntrain_cfg['max_iters'] = 1\ndel val_cfg, val_dataloader, val_evaluator\n"
    )
    text = config.read_text()
    call('train', config, '--work-dir', 'work')
    call('test', config, 'none', '--work-dir', 'work')
    assert config.read_text() == text
    call('train', config, '--work-dir', 'other')
    dumped = Path('other/toy.py').read_text()
    assert 'max_iters=1' in dumped
    call('test', config, 'none', '--work-dir', 'other')
    assert Path('other/toy.py').read_text() == dumped
    call('train', config, '--work-dir', 'other', '--overwrite', '--cfg-options', 'model.noise=0.7')
    assert 'noise=0.7' in Path('other/toy.py').read_text()
    call('test', config, 'none', '--work-dir', 'third')
    assert 'test_cfg' in Path('third/toy.py').read_text()
    assert len(list(Path('other').glob('*/vis_data/config.py'))) == 3


def test_training_stays_out_of_its_data(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path('clips').mkdir()
    for target in ('clips', 'clips/work'):
        line = error_of(
            capfd,
            'train',
            'stt_r18_demo',
            '--work-dir',
            target,
            '--cfg-options',
            'train_dataloader.dataset.data_root=clips',
        )
        assert f'{target} is, or lies in, clips, which is read' in line
    assert not list(Path('clips').iterdir())


@pytest.mark.parametrize(
    ('name', 'args'),
    [
        ('convert_checkpoint', ['source.pth', 'link.pth', '--overwrite']),
        ('convert_checkpoint', ['source.pth', 'source.pth', '--overwrite']),
        ('estimate_fisher', ['pretrain/mocov2_r18_demo', 'source.pth', '--out', 'link.pth', '--overwrite']),
        ('estimate_fisher', ['pretrain/mocov2_r18_demo', 'fisher.pth.part0', '--out', 'fisher.pth']),
        ('make_submission', ['DAVIS', 'DAVIS', '--task', 'davis17-test-dev', '--out', 'DAVIS/old.zip']),
        ('make_submission', ['run', 'DAVIS', '--task', 'davis17-test-dev', '--out', 'run/new.zip']),
        (
            'estimate_fisher',
            [
                'pretrain/mocov2_r18_demo',
                'source.pth',
                '--overwrite',
                '--out',
                'DAVIS/JPEGImages/480p/video0/00001.jpg',
                '--cfg-options',
                'train_dataloader.dataset.data_root=DAVIS/JPEGImages',
            ],
        ),
        ('eval_folder', ['DAVIS/Annotations/480p', 'DAVIS', '--task', 'davis17']),
        ('eval_folder', ['DAVIS/Annotations/480p', 'DAVIS/Annotations/480p', '--task', 'davis17']),
        (
            'analysis/run_ablation',
            [
                'stt_r18_demo',
                '--data',
                'DAVIS/JPEGImages/480p',
                '--eval-data',
                'DAVIS',
                '--work-dir',
                'DAVIS/JPEGImages/480p/ablation',
            ],
        ),
        ('eval_folder', ['DAVIS/Annotations/480p', 'DAVIS', '--task', 'davis17', '--out', 'DAVIS/Annotations']),
        ('eval_folder', ['DAVIS/Annotations/480p', 'DAVIS', '--task', 'davis17', '--out', 'DAVIS/Annotations/480p']),
        ('analysis/plot_losses', ['run', '--out', 'run/losses.png']),
    ],
)
def test_tools_do_not_write_onto_their_sources(root, capfd, monkeypatch, name, args):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'analysis')
    torch.save(dict(state_dict={'backbone.conv1.weight': torch.ones(2)}), 'source.pth')
    Path('link.pth').symlink_to('source.pth')
    shutil.copy('source.pth', 'fisher.pth.part0')
    Path('run/1/vis_data').mkdir(parents=True)
    Path('run/1/vis_data/scalars.json').write_text('{"iter": 1, "loss": 2.0}\n')
    Path('run/losses.png').symlink_to('1/vis_data/scalars.json')
    before = contents(Path.cwd())
    if name == 'make_submission':
        (root / 'old.zip').write_bytes(b'zip')
    line = error_of(capfd, name, *args)
    assert 'read' in line or 'would be compared with itself' in line
    assert re.search('replaced|is, or lies in|is a mask of the truth', line)
    (root / 'old.zip').unlink(missing_ok=True)
    assert contents(Path.cwd()) == before


def videos(*names):
    """Videos of 6 frames at several places."""
    for seed, name in enumerate(names):
        write_video(name, moving_shapes(6, (32, 48), 1, seed=seed)[0])


def frames(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob('*.jpg'))}


def test_extraction_keeps_videos_apart(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    videos('a/v.mp4', 'b/v.mp4', 'b/w.mp4')
    line = error_of(capfd, 'extract_frames', 'a/v.mp4', 'b/w.mp4', 'b/v.mp4', '--out', 'f')
    assert 'a/v.mp4 and b/v.mp4 would both be written to f/v' in line
    assert not Path('f').exists()
    call('extract_frames', 'a/v.mp4', '--out', 'f')
    whole = frames('f/v')
    capfd.readouterr()
    line = error_of(capfd, 'extract_frames', 'b/w.mp4', 'b/v.mp4', '--out', 'f')
    assert re.search(rf'f/v holds frames of {tmp_path}/a/v.mp4 \(state \w+\), .*, and the results would mix', line)
    assert not Path('f/w').exists()
    for option in (['--every', 2], ['--short-side', 16], ['--quality', 50], ['--max-frames', 3]):
        assert 'would mix' in error_of(capfd, 'extract_frames', 'a/v.mp4', '--out', 'f', *option)
    call('extract_frames', 'a/v.mp4', '--out', 'f')
    assert frames('f/v') == whole
    call('extract_frames', 'a/v.mp4', 'b/w.mp4', '--out', 'f', '--every', 2, '--overwrite')
    assert list(frames('f/v')) == list(frames('f/w')) == ['00000.jpg', '00001.jpg', '00002.jpg']
    assert frames('f/v').items() - whole.items()
    call('extract_frames', 'b/v.mp4', '--out', 'f', '--every', 3, '--overwrite')
    assert sorted(frames('f/v')) == ['00000.jpg', '00001.jpg']
    Path('f/v/00000.jpg').rename('f/v/holiday.heic')
    capfd.readouterr()
    assert 'holds holiday.heic, which is no .jpg' in error_of(
        capfd, 'extract_frames', 'a/v.mp4', '--out', 'f', '--overwrite'
    )


def test_frames_of_a_video_that_was_replaced_do_not_stay_among_the_new_ones(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    videos('v.mp4')
    call('extract_frames', 'v.mp4', '--out', 'f')
    before = frames('f/v')
    write_video('v.mp4', moving_shapes(2, (32, 48), 1, seed=5)[0])
    assert 'would mix' in error_of(capfd, 'extract_frames', 'v.mp4', '--out', 'f')
    assert frames('f/v') == before
    call('extract_frames', 'v.mp4', '--out', 'f', '--overwrite')
    assert list(frames('f/v')) == ['00000.jpg', '00001.jpg']


def test_pictures_of_a_dataset_stay_out_of_it(root, monkeypatch):
    module = tool('browse_dataset')

    def browse(*args):
        monkeypatch.setattr(
            'sys.argv',
            ['browse', str(DAVIS), '-p', 'test', *args, '--cfg-options', f'test_dataloader.dataset.data_root={root}'],
        )
        module.browse(module.parse_args())

    for target in (root, root / 'Annotations' / '480p', root / 'new'):
        with pytest.raises(ValueError, match='is, or lies in, .*DAVIS, which is read'):
            browse('-o', str(target))
    Path('mine').mkdir()
    assert cv2.imwrite('mine/photo.png', np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r'mine holds 1 other files, such as photo\.png'):
        browse('-o', 'mine')
    browse('-o', 'pictures')
    browse('-o', 'pictures')
    for changes in (['-n', '1'], ['--cfg-options', 'test_dataloader.dataset.max_frames=4']):
        with pytest.raises(ValueError, match='pictures holds 10 pictures of .*and the results would mix'):
            browse('-o', 'pictures', *changes)
    browse('-o', 'pictures', '-n', '1', '--overwrite')
    assert [path.name for path in Path('pictures').glob('*.png')] == ['0000_video0.png']


def test_frames_of_another_size_are_not_extracted(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    videos('v.mp4')
    read = VideoReader.read
    monkeypatch.setattr(VideoReader, 'read', lambda self, number: read(self, number)[:, : 48 - 8 * (number > 3)])
    line = error_of(capfd, 'extract_frames', 'v.mp4', '--out', 'f')
    assert 'v.mp4 is 32x40 (height x width) at frame 4, the frames read before it are 32x48' in line
    assert 'To accept the frames before, name this file alone, with --max-frames 4.' in line
    assert not Path('f/v').exists()
    call('extract_frames', 'v.mp4', '--out', 'f', '--max-frames', 4)
    assert len(frames('f/v')) == 4

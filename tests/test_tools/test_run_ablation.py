"""Ablations at a small scale: settings, table, and a run that is killed and goes on."""

import csv
import importlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from pretrain_runs import make_images
from tiny_data import make_davis, make_youtube_vos

from stt_mm.engine import load_config
from stt_mm.registry import DATASETS

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools' / 'analysis'
TABLE1 = [
    *(ROOT / 'configs' / 'ablations' / f'table1_{name}_r18.py' for name in ('reconstruction', 'pyramid', 'local')),
    ROOT / 'configs' / 'stt' / 'stt_r18_ytv_temporal.py',
]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module('run_ablation')


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module('ablation_report')


def arguments(tool, tmp_path, *more):
    return tool.parse_args(
        ['x.py', '--data', str(tmp_path), '--eval-data', str(tmp_path), '--work-dir', str(tmp_path / 'work'), *more]
    )


def measures(score):
    return {'J&F-Mean': score, 'J-Mean': score - 0.02, 'F-Mean': score + 0.02}


def test_rows_are_those_of_the_paper(report):
    rows = [report.described(path) for path in TABLE1]
    assert [row.paper for row in rows] == [64.9, 65.6, 68.4, 69.3]
    assert [row.label for row in rows] == [
        'frame reconstruction at res4 alone',
        '+ pyramid frame reconstruction',
        '+ local correlation distillation, every query',
        '+ entropy-based selection',
    ]
    other = report.described(ROOT / 'configs' / 'eval' / 'davis_color.py')
    assert (other.label, other.paper) == ('Raw Lab colour', None)


def test_the_table_has_mean_deviation_and_paired_steps(report):
    rows = [
        report.Row('one', 'first', 64.9, {0: measures(0.50), 1: measures(0.54)}),
        report.Row('two', 'second', None, {0: measures(0.51), 1: measures(0.57)}),
    ]
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in report.table(rows).splitlines()]
    assert lines[0] == ['#', 'configuration', 'config', 'J&F', 'J', 'F', 'step', 'paper, J&F']
    assert lines[1] == ['---'] * 8
    # The deviation of 50 and 54 is 4 / sqrt(2) = 2.83; the steps are 1 and 3, 2.0 and 1.41.
    assert lines[2] == ['1', 'first', '`one`', '52.0 ± 2.8', '50.0 ± 2.8', '54.0 ± 2.8', '', '64.9']
    assert lines[3] == ['2', 'second', '`two`', '54.0 ± 4.2', '52.0 ± 4.2', '56.0 ± 4.2', '+2.0 ± 1.4', '']
    assert report.spread([51.04]) == '51.0'


def test_files_hold_every_run(report, tmp_path):
    rows = [
        report.Row('one', 'first', 64.9, {0: measures(0.5), 1: measures(0.6)}),
        report.Row('two', 'second', None, {0: measures(0.7)}),
    ]
    report.write_files(tmp_path, rows, dict(eval_data='here', iters=3))
    content = json.loads((tmp_path / 'ablation.json').read_text())
    assert content['settings'] == dict(eval_data='here', iters=3)
    assert (tmp_path / 'ablation.json').read_text() == json.dumps(content, indent=2) + '\n'
    assert {key: content['rows'][0][key] for key in ('name', 'label', 'paper', 'runs')} == dict(
        name='one', label='first', paper=64.9, runs={'0': measures(0.5), '1': measures(0.6)}
    )
    assert content['rows'][1]['paper'] is None
    assert (tmp_path / 'table.md').read_text() == report.table(rows) + '\n'
    assert content['rows'][0]['mean']['J-Mean'] == pytest.approx(53)
    assert content['rows'][0]['deviation']['F-Mean'] == pytest.approx(statistics.stdev([52, 62]))
    assert content['rows'][1]['deviation']['F-Mean'] is None
    lines = list(csv.reader((tmp_path / 'runs.csv').open()))
    assert lines[0] == ['config', 'seed', 'J&F-Mean', 'J-Mean', 'F-Mean']
    assert [(line[0], line[1], [round(float(text), 6) for text in line[2:]]) for line in lines[1:]] == [
        ('one', '0', [0.5, 0.48, 0.52]),
        ('one', '1', [0.6, 0.58, 0.62]),
        ('two', '0', [0.7, 0.68, 0.72]),
    ]


def test_the_picture_has_a_dot_per_run_and_a_mean_with_its_deviation(report, tmp_path, monkeypatch):
    kept, savefig = [], Figure.savefig
    monkeypatch.setattr(
        Figure, 'savefig', lambda self, *args, **options: kept.append(self) or savefig(self, *args, **options)
    )
    rows = [
        report.Row('one', 'a label that is quite long', None, {0: measures(0.5), 1: measures(0.6)}),
        report.Row('two', 'second', None, {0: measures(0.7)}),
        report.Row('three', 'third', None, {2: measures(0.3), 1: measures(0.4)}),
    ]
    with rc_context({'savefig.format': 'pdf', 'savefig.dpi': 50, 'axes.grid': False}):
        report.write_files(tmp_path, rows, dict(eval_data='here'))
    (figure,), (axes,) = kept, kept[0].axes
    assert figure.get_size_inches() == pytest.approx([8, 1.2 + 3 * 0.55])
    assert axes.get_xlabel() == 'J&F on here, percent'
    assert [text.get_text() for text in axes.get_yticklabels()] == [row.label for row in rows]
    # The first row is the upper one.
    assert axes.get_ylim() == (2.5, -0.5)
    dots = [line for line in axes.get_lines() if line.get_marker() == 'o']
    expected = [[[50, -0.12], [60, -0.12]], [[70, 0.88]], [[40, 1.88], [30, 1.88]]]
    for line, xy in zip(dots, expected, strict=True):
        assert line.get_xydata() == pytest.approx(np.array(xy))
        assert (line.get_linestyle(), line.get_color(), line.get_markersize()) == ('None', '0.6', 4)
    for (mean, caps, bars), xy, deviation in zip(
        axes.containers, ([55, 0.12], [70, 1.12], [35, 2.12]), (50**0.5, None, 50**0.5), strict=True
    ):
        assert (mean.get_marker(), mean.get_color()) == ('D', 'C0')
        assert mean.get_xydata() == pytest.approx(np.array([xy]))
        assert len(caps) == len(bars) * 2 == (0 if deviation is None else 2)
        for bar in bars:
            assert bar.get_segments()[0] == pytest.approx(
                np.array([[xy[0] - deviation, xy[1]], [xy[0] + deviation, xy[1]]])
            )
        assert all(cap.get_markersize() == 2 * 4 for cap in caps)
    visible = [axis.get_major_ticks()[0].gridline.get_visible() for axis in (axes.xaxis, axes.yaxis)]
    assert visible == [True, False]
    assert {line.get_alpha() for line in axes.get_xgridlines()} == {0.4}
    assert axes.get_tightbbox().x0 >= 0, 'the labels are cut off'
    with Image.open(tmp_path / 'ablation.png') as picture:
        assert (picture.format, picture.size) == ('PNG', (880, 313))
        assert 'Software' not in picture.info


@pytest.mark.parametrize('path', TABLE1, ids=lambda path: path.stem)
def test_scaling_leaves_the_model_alone(tool, tmp_path, path):
    args = arguments(tool, tmp_path, '--iters', '40', '--batch-size', '2', '--size', '64', '--lr', '0.001')
    cfg, before = tool.scaled(path, args), load_config(path)
    assert cfg.model == before.model
    assert cfg.train_cfg.max_iters == 40
    assert [(part['begin'], part['end']) for part in cfg.param_scheduler] == [(0, 20), (0, 40)]
    assert cfg.optim_wrapper.optimizer.lr == 0.001
    assert cfg.train_dataloader.batch_size == 2
    dataset = cfg.train_dataloader.dataset
    assert dataset == dict(
        type='VideoFolder', data_root=str(tmp_path), clip_length=2, interval=(1, 2, 3), pipeline=dataset.pipeline
    )
    assert dataset.pipeline[1] == dict(type='ClipRandomResizedCrop', size=(64, 64), area=(0.1, 0.6), aspect=(0.75, 1.5))
    test = tool.evaluated(path, args)
    assert test.model.propagator.protocol == dict(name='stt_davis_s8', short_side=320)
    assert (test.test_dataloader.dataset.data_root, test.test_dataloader.dataset.max_frames) == (str(tmp_path), 25)


def test_images_of_stage_1_and_of_joint_training_are_scaled_too(tool, tmp_path):
    args = arguments(tool, tmp_path, '--iters', '40', '--batch-size', '4', '--size', '64', '--lr', '0.001')
    joint = tool.scaled(ROOT / 'configs' / 'continual' / 'joint_r18_ytv.py', args)
    images = joint.train_cfg.image_dataloader
    assert (images.batch_size, images.dataset.data_root) == (4, str(tmp_path))
    assert joint.train_dataloader.dataset.type == 'VideoFolder'
    assert "'scale': 64" in str(images.dataset.pipeline)
    assert "'scale': 224" not in str(images.dataset.pipeline)
    stage1 = ROOT / 'configs' / 'pretrain' / 'mocov2_r18_in1k.py'
    assert tool.scaled(stage1, args).optim_wrapper.optimizer.lr == load_config(stage1).optim_wrapper.optimizer.lr
    with pytest.raises(ValueError, match='cannot be evaluated.*davis_spatial_r18_rgb.py'):
        tool.evaluated(stage1, args)
    with pytest.raises(ValueError, match='is for DAVIS'):
        tool.evaluated(ROOT / 'configs' / 'eval' / 'vip_r18_s8.py', args)
    with pytest.raises(ValueError, match=r'no train_cfg\.max_iters'):
        tool.scaled(ROOT / 'configs' / 'eval' / 'davis_r18_s8.py', args)


def test_images_have_a_length_and_a_batch_of_their_own(tool, tmp_path):
    args = arguments(
        tool, tmp_path, '--iters', '40', '--batch-size', '4', '--image-iters', '70', '--image-batch-size', '6'
    )
    stage1, joint, videos = (
        tool.scaled(ROOT / 'configs' / f'{name}.py', args)
        for name in ('pretrain/mocov2_r18_demo', 'continual/joint_r18_demo', 'stt/stt_r18_ytv_temporal')
    )
    assert [cfg.train_cfg.max_iters for cfg in (stage1, joint, videos)] == [70, 40, 40]
    assert [cfg.train_dataloader.batch_size for cfg in (stage1, joint, videos)] == [6, 4, 4]
    assert joint.train_cfg.image_dataloader.batch_size == 6
    assert stage1.param_scheduler[-1]['T_max'] == 70


@pytest.mark.parametrize('size', [64, 96, 128, 224])
def test_patches_of_detco_shrink_with_the_views(tool, tmp_path, size):
    args = arguments(tool, tmp_path, '--size', str(size))
    dataset = tool.scaled(ROOT / 'configs' / 'pretrain' / 'detco_r18_in1k.py', args).train_dataloader.dataset
    make_images(tmp_path)
    init_default_scope('stt_mm')
    views = DATASETS.build(dataset)[0, 0, 0]['inputs']
    assert [view.shape[-1] for view in views] == 2 * [size] + 2 * [3 * round(64 * size / 224)]
    crops = [view[0] for view in dataset.pipeline[1].transforms[0].transforms]
    assert [crop.crop_ratio_range for crop in crops] == [(0.1, 0.6), (0.6, 1.0)]


@pytest.mark.parametrize(('size', 'crop', 'patch'), [(64, 72, 18), (96, 108, 27), (128, 147, 37), (224, 255, 64)])
def test_cells_of_a_jigsaw_shrink_with_the_views(tool, size, crop, patch):
    """Three cells of 85 pixels each, with patches of 64, in a view of 224."""
    view = [dict(type='mmpretrain.RandomResizedCrop', scale=255), dict(type='JigsawMosaic', grid=3, patch_size=64)]
    assert tool.scale_patches(view, view[1], size) == set()
    assert (view[0]['scale'], view[1]) == (crop, dict(type='JigsawMosaic', grid=3, patch_size=patch))


def test_only_loaders_get_a_batch(tool, tmp_path):
    args = arguments(tool, tmp_path)
    inner = dict(type='YouTubeVOS', split='train', pipeline=['p'])
    node = dict(dataset=inner, other=[dict(dataset=dict(type='mmpretrain.ImageFolder', data_root='x'), batch_size=1)])
    assert tool.scale_loaders(node, args) == {'YouTubeVOS', 'ImageFolder'}
    assert node == dict(
        dataset=dict(type='VideoFolder', data_root=str(tmp_path), clip_length=2, interval=(1, 2, 3), pipeline=['p']),
        other=[
            dict(
                dataset=dict(type='mmpretrain.ImageFolder', data_root=str(tmp_path)),
                batch_size=8,
                num_workers=1,
                pin_memory=False,
            )
        ],
    )
    assert tool.scale_loaders(dict(a=1, b=('x', None)), args) == set()


@pytest.mark.parametrize(
    ('propagator', 'dataloader', 'message'),
    [
        (None, dict(dataset=dict(type='DAVIS')), 'cannot be evaluated'),
        (dict(protocol={}), None, 'cannot be evaluated'),
        (dict(protocol={}), dict(dataset=dict(type='VIP')), 'evaluates on VIP; the table is for DAVIS'),
    ],
)
def test_what_an_evaluation_needs(tool, tmp_path, monkeypatch, propagator, dataloader, message):
    cfg = Config(dict(model=dict(propagator=propagator), test_dataloader=dataloader))
    monkeypatch.setattr(tool, 'load_config', lambda path: cfg)
    with pytest.raises(ValueError, match=message):
        tool.evaluated(Path('c.py'), arguments(tool, tmp_path))


def test_folders_are_named_from_anywhere_and_0_frames_are_all(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = tool.parse_args(
        ['x', '--data', 'clips', '--eval-data', 'davis', '--work-dir', 'w', '--max-frames', '0', '--short-side', '99']
    )
    cfg = tool.evaluated(TABLE1[0], args)
    dataset = cfg.test_dataloader.dataset
    assert (dataset.data_root, dataset.max_frames) == (f'{tmp_path}/davis', None)
    assert (cfg.model.propagator.protocol.short_side, cfg.default_hooks.logger.interval) == (99, 1)
    assert tool.scaled(TABLE1[0], args).train_dataloader.dataset.data_root == f'{tmp_path}/clips'


def test_settings_are_written_and_those_that_one_run_alone_has_are_a_difference(tool, tmp_path):
    work = tmp_path / 'new' / 'deep'
    with tool.reserved(work, dict(iters=3, b=[1])) as lock:
        os.fstat(lock)
    assert (work / 'settings.json').read_text() == '{\n  "iters": 3,\n  "b": [\n    1\n  ]\n}\n'
    with pytest.raises(ValueError, match=r'other settings \(a, b\), see'), tool.reserved(work, dict(iters=3, a=0)):
        pass
    assert json.loads((work / 'settings.json').read_text()) == dict(iters=3, b=[1])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'{"iters"', 'settings.json is no valid JSON'),
        (b'\xff\xfe{', 'settings.json is no UTF-16-LE text: byte 2'),
        (b'[3]', 'settings.json holds no settings'),
    ],
)
def test_damaged_settings_are_named(tool, tmp_path, content, message):
    (tmp_path / 'settings.json').write_bytes(content)
    with pytest.raises(ValueError, match=message), tool.reserved(tmp_path, dict(iters=3)):
        pass


def test_a_work_directory_is_not_mixed(tool, tmp_path):
    work = tmp_path / 'work'
    with tool.reserved(work, dict(iters=3)), pytest.raises(ValueError, match='in use'), tool.reserved(work, {}):
        pass
    with tool.reserved(tmp_path / 'work', dict(iters=3)):
        pass
    with pytest.raises(ValueError, match=r'other settings \(iters\)'), tool.reserved(tmp_path / 'work', dict(iters=4)):
        pass
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').touch()
    with pytest.raises(ValueError, match='not made by run_ablation'), tool.reserved(tmp_path / 'mine', {}):
        pass


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--provide', 'STT_STAGE1_R18=nobody'], '--provide names nobody; the rows are table1_local_r18'),
        (
            [
                'stt_r18_ytv',
                'pretrain/mocov2_r18_demo::eval/davis_spatial_r18_rgb',
                '--provide',
                'STT_STAGE1_R18=mocov2_r18_demo',
            ],
            'stt_r18_ytv starts from the weights of mocov2_r18_demo: name mocov2_r18_demo before it.',
        ),
        ([str(TABLE1[2])], 'Two configs are called table1_local_r18'),
    ],
)
def test_rows_that_do_not_fit_are_refused(tool, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        tool.main([str(TABLE1[2]), *more, '--data', 'd', '--eval-data', 'e', '--work-dir', str(tmp_path / 'w')])
    assert message in capsys.readouterr().err


def start(tmp_path, *more):
    command = [
        sys.executable,
        str(TOOLS / 'run_ablation.py'),
        str(TABLE1[0]),
        '--data',
        str(tmp_path / 'ytv'),
        '--eval-data',
        str(tmp_path / 'davis'),
        '--work-dir',
        str(tmp_path / 'work'),
        '--seeds',
        '1',
        '--iters',
        '30',
        '--batch-size',
        '2',
        '--size',
        '64',
        '--short-side',
        '64',
        '--interval',
        '1',
        *more,
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
def test_killed_half_way_it_goes_on_where_it_was(tmp_path):
    make_youtube_vos(tmp_path / 'ytv', num_videos=2, num_frames=3)
    make_davis(tmp_path / 'davis', num_videos=2, num_frames=4)
    run = tmp_path / 'work' / 'table1_reconstruction_r18' / 'seed0'
    first = start(tmp_path)
    deadline = time.monotonic() + 120
    while not (run / 'train' / 'iter_6.pth').is_file() and time.monotonic() < deadline:
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (run / 'train' / 'iter_30.pth').exists()
    reached = max(int(path.stem[5:]) for path in (run / 'train').glob('iter_*.pth'))
    assert 6 <= reached < 30

    second = start(tmp_path)
    output = second.communicate(timeout=200)[0]
    assert second.returncode == 0, output
    assert f'continuing from {run / "train" / f"iter_{reached}.pth"}' in (run / 'train.log').read_text()
    score = json.loads((run / 'result.json').read_text())['metrics']['J&F-Mean']
    assert f'| 1 | frame reconstruction at res4 alone | `table1_reconstruction_r18` | {100 * score:.1f} |' in output

    before = (run / 'train.log').stat().st_mtime_ns
    assert start(tmp_path).communicate(timeout=100)[0].count('seed 0') == 1
    assert (run / 'train.log').stat().st_mtime_ns == before


def test_a_changed_config_is_another_setting(tool, tmp_path, monkeypatch):
    paths = tool.config_pair('stt_r18_ytv_temporal')
    before = tool.fingerprint(paths)
    assert re.fullmatch('[0-9a-f]{8}', before)
    variables = dict(os.environ)
    assert tool.fingerprint(paths) == before
    text = f"_base_ = '{paths[0]}'\nmodel = dict(local_head=dict(keep_ratio=0.5))\n"
    (tmp_path / 'mine.py').write_text(text)
    assert tool.fingerprint((tmp_path / 'mine.py', paths[1])) != before
    with tool.environment(dict(STT_DATA='elsewhere')):
        assert tool.fingerprint(paths) != before
    assert dict(os.environ) == variables
    # The config that evaluates counts as well.
    assert tool.fingerprint((paths[0], tmp_path / 'mine.py')) != before


@pytest.mark.parametrize(
    'option',
    [
        ['--area', 'nan', 'nan'],
        ['--area', '0.6', '0.1'],
        ['--area', '0', '1'],
        ['--aspect', '1', 'inf'],
        ['--lr', 'nan'],
        ['--lr', '-1'],
        ['--max-frames', '-2'],
        ['--warmup', '-3'],
        ['--interval', '0'],
    ],
)
def test_numbers_that_mean_nothing_are_named(tool, tmp_path, capsys, option):
    with pytest.raises(SystemExit, match='2'):
        arguments(tool, tmp_path, *option)
    assert f'error: {option[0]} must' in capsys.readouterr().err


def test_nothing_is_written_before_the_data_is_found(tool, tmp_path, capsys):
    (tmp_path / 'data').mkdir()
    with pytest.raises(SystemExit, match='1'):
        tool.main(
            [
                str(TABLE1[0]),
                '--data',
                str(tmp_path / 'data'),
                '--eval-data',
                str(tmp_path / 'missing'),
                '--work-dir',
                str(tmp_path / 'work'),
            ]
        )
    assert 'missing' in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()
    make_davis(tmp_path / 'davis', num_videos=1, num_frames=2)
    with pytest.raises(SystemExit, match='1'):
        tool.main(
            [
                'eval/davis_color',
                '--data',
                str(tmp_path / 'data'),
                '--eval-data',
                str(tmp_path / 'davis'),
                '--work-dir',
                str(tmp_path / 'work'),
            ]
        )
    assert 'has no train_cfg.max_iters' in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()


def test_a_step_writes_its_log_and_moves_the_bar(tool, tmp_path, monkeypatch):
    moved = []

    class Bar:
        def __init__(self, total):
            moved.append(('of', total))
            # The log can be followed.
            assert log.read_text().splitlines()[-1] == 'Iter [4/9]'

        def update(self, number):
            moved.append(number)

        @staticmethod
        def end_line():
            moved.append('end')

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tool, 'Progress', Bar)
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    script = (
        'import os; print(os.environ["OMP_WAIT_POLICY"], os.environ["PYTHONUNBUFFERED"], os.getcwd());'
        '[print(f"Iter [{n}/9]") for n in (4, 5, 5, 8, 3)]; os.fstat(LOCK)'
    )
    log = tmp_path / 'new' / 'deep' / 'a.log'
    lock = os.open(tmp_path / 'lock', os.O_CREAT)
    arguments = ['-c', script.replace('LOCK', str(lock))]
    tool.run(arguments, log, 9, r'Iter \[(\d+)/', lock)
    # A step that goes on after 4 of 9 has 5 before it.
    assert moved == [('of', 5), 1, 3, 'end']
    first = log.read_text()
    assert first.splitlines()[0] == f'PASSIVE 1 {ROOT}'
    tool.run(arguments, log, 9, 'nothing', lock)
    assert log.read_text() == 2 * first
    os.close(lock)


def test_a_step_that_fails_names_its_last_line_and_its_log(tool, tmp_path):
    with (
        open(tmp_path / 'lock', 'w') as lock,
        pytest.raises(
            tool.StepFailed, match=(r'^-c ended with code 3: the reason The whole output: .*a\.log\. The same command')
        ),
    ):
        tool.run(
            ['-c', 'print("the reason\\n", flush=True); raise SystemExit(3)'], tmp_path / 'a.log', 1, 'x', lock.fileno()
        )


def test_the_log_has_errors_and_bytes_that_are_no_text(tool, tmp_path):
    script = r'import os, sys; os.write(1, b"caf\xe9\n"); sys.exit("error: the reason")'
    with open(tmp_path / 'lock', 'w') as lock, pytest.raises(tool.StepFailed, match='code 1: error: the reason The'):
        tool.run(['-c', script], tmp_path / 'a.log', 1, 'x', lock.fileno())
    assert (tmp_path / 'a.log').read_text(encoding='utf-8') == 'caf\ufffd\nerror: the reason\n'


def test_a_step_ends_with_the_ablation(tool, tmp_path, monkeypatch):
    children, popen = [], subprocess.Popen

    def interrupt(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        tool.subprocess, 'Popen', lambda *args, **options: children.append(popen(*args, **options)) or children[-1]
    )
    monkeypatch.setattr(tool, 'Progress', interrupt)
    with open(tmp_path / 'lock', 'w') as lock, pytest.raises(KeyboardInterrupt):
        tool.run(
            ['-c', 'import time; print("Iter 1", flush=True); time.sleep(60)'],
            tmp_path / 'a.log',
            9,
            r'Iter (\d)',
            lock.fileno(),
        )
    assert children[0].poll() == -signal.SIGTERM


@pytest.fixture
def steps(tool, monkeypatch):
    """The ablation with steps that write at once what the real ones write; yields what it has asked for."""
    calls = []

    def run(arguments, log, total, pattern, lock):
        calls.append((arguments, log, total, pattern, Config.fromfile(arguments[1])))
        seed = int(arguments[arguments.index('--seed') + 1])
        if arguments[0] == 'tools/train.py':
            folder = Path(arguments[arguments.index('--work-dir') + 1])
            folder.mkdir()
            (folder / f'iter_{total}.pth').touch()
        else:
            score = 0.5 + 0.1 * seed + 0.01 * len(calls)
            Path(arguments[arguments.index('--out') + 1]).write_text(json.dumps(dict(metrics=measures(score))))

    monkeypatch.setattr(tool, 'run', run)
    return calls


def test_every_row_is_trained_and_evaluated_with_every_seed(tool, steps, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_youtube_vos(tmp_path / 'ytv', num_videos=2, num_frames=3)
    make_davis(tmp_path / 'davis', num_videos=2, num_frames=4)
    work = tmp_path / 'work'
    line = [
        'pretrain/mocov2_r18_demo::eval/davis_spatial_r18_rgb',
        'stt_r18_ytv',
        '--data',
        str(tmp_path / 'ytv'),
        '--eval-data',
        str(tmp_path / 'davis'),
        '--work-dir',
        'work',
        '--seeds',
        '2',
        '--iters',
        '10',
        '--image-iters',
        '30',
        '--untrained',
        '--provide',
        'STT_STAGE1_R18=mocov2_r18_demo',
    ]
    tool.main(line)
    names = ['mocov2_r18_demo', 'stt_r18_ytv']
    found = [(arguments[0], log.relative_to(work).as_posix(), total) for arguments, log, total, *_ in steps]
    assert found == [
        step
        for seed in (0, 1)
        for step in (
            ('tools/test.py', f'untrained/seed{seed}/eval.log', 2),
            *(
                (f'tools/{what}.py', f'{name}/seed{seed}/{log}.log', total)
                for name, iters in zip(names, (30, 10), strict=True)
                for what, log, total in (('train', 'train', iters), ('test', 'eval', 2))
            ),
        )
    ]
    for arguments, log, _, pattern, cfg in steps:
        folder = log.parent
        options = ['--seed', folder.name[4:]]
        if arguments[0] == 'tools/train.py':
            assert arguments[1:] == [
                str(folder / 'train.py'),
                '--work-dir',
                str(folder / 'train'),
                *options,
                '--resume',
                '--no-validate',
            ]
            assert re.search(pattern, 'Iter(train) [  7/30]')[1] == '7'
            iters = 30 if folder.parent.name == 'mocov2_r18_demo' else 10
            assert cfg.train_cfg.max_iters == iters
            hook = cfg.default_hooks.checkpoint
            assert (hook.interval, hook.max_keep_ckpts) == (iters // 5, 1)
            assert cfg.default_hooks.logger.interval == 1
            assert [(part.type, part.begin, part.end, part.by_epoch) for part in cfg.param_scheduler] == [
                ('LinearLR', 0, min(20, iters // 2), False),
                ('CosineAnnealingLR', 0, iters, False),
            ]
            assert (cfg.param_scheduler[0].start_factor, cfg.param_scheduler[1].eta_min_ratio) == (0.01, 0.001)
        else:
            weights = f'{folder}/train/iter_{30 if "mocov2" in str(folder) else 10}.pth'
            assert arguments[1:] == [
                str(folder / 'eval.py'),
                'none' if folder.parent.name == 'untrained' else weights,
                '--work-dir',
                str(folder / 'eval'),
                '--out',
                str(folder / 'result.json'),
                *options,
                '--skip-done',
            ]
            assert re.search(pattern, 'Iter(test) [2/2]')[1] == '2'
            assert cfg.default_hooks.logger.interval == 1
    # Each seed goes on from the first stage of its own.
    for seed, step in enumerate((steps[3], steps[8])):
        assert f"'{work}/mocov2_r18_demo/seed{seed}/train/iter_30.pth'" in Path(step[0][1]).read_text()
    assert 'STT_STAGE1_R18' not in os.environ
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith('[')] == [
        f'[{3 * seed + k + 1}/6] {name}, seed {seed}' for seed in (0, 1) for k, name in enumerate(['untrained', *names])
    ]
    assert '    J&F 51.0\n' in out
    assert (work / 'table.md').read_text() in out
    content = json.loads((work / 'ablation.json').read_text())
    assert [row['name'] for row in content['rows']] == ['untrained', *names]
    assert 'work_dir' not in content['settings']
    assert content['settings'].keys() >= {'sha8', 'iters', 'image_iters', 'provide'}
    assert content['settings']['configs'] == line[:2]

    # What is finished is not run again; a result that is gone is made again from the weights.
    steps.clear()
    (work / 'stt_r18_ytv' / 'seed1' / 'result.json').unlink()
    tool.main(line)
    assert [arguments[0] for arguments, *_ in steps] == ['tools/test.py']


def test_a_training_without_weights_and_ctrl_c(tool, tmp_path, monkeypatch, capsys):
    make_davis(tmp_path / 'davis', num_videos=2, num_frames=4)
    line = [
        str(TABLE1[0]),
        '--data',
        str(tmp_path / 'davis'),
        '--eval-data',
        str(tmp_path / 'davis'),
        '--work-dir',
        str(tmp_path / 'work'),
    ]
    monkeypatch.setattr(tool, 'run', lambda *args: None)
    with pytest.raises(SystemExit, match='1'):
        tool.main(line)
    assert re.search(r'error: The training wrote no .*iter_150\.pth; see .*train\.log', capsys.readouterr().err)
    monkeypatch.setattr(tool, 'run', lambda *args: tool.stop(15, None))
    with pytest.raises(SystemExit, match='130'):
        tool.main(line)
    assert 'Stopped. The same command goes on from here.' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['--iters', '1'], (1, 1, 1, [(0, 1)])),
        (['--iters', '200'], (200, 40, 4, [(0, 20), (0, 200)])),
        (['--iters', '200', '--warmup', '0'], (200, 40, 4, [(0, 200)])),
        (['--iters', '133'], (133, 26, 2, [(0, 20), (0, 133)])),
        (['--iters', '9', '--warmup', '3'], (9, 1, 1, [(0, 3), (0, 9)])),
    ],
)
def test_schedule_and_hooks_follow_the_length(tool, tmp_path, options, expected):
    cfg = tool.scaled(TABLE1[0], arguments(tool, tmp_path, *options))
    assert (
        cfg.train_cfg.max_iters,
        cfg.default_hooks.checkpoint.interval,
        cfg.default_hooks.logger.interval,
        [(part['begin'], part['end']) for part in cfg.param_scheduler],
    ) == expected
    assert [part['by_epoch'] for part in cfg.param_scheduler] == [False] * len(expected[3])
    assert cfg.optim_wrapper.optimizer.lr == load_config(TABLE1[0]).optim_wrapper.optimizer.lr
    assert (cfg.train_dataloader.num_workers, cfg.train_dataloader.pin_memory) == (1, False)
    assert cfg.train_dataloader.dataset.clip_length == 2


@pytest.mark.parametrize(
    ('values', 'signed', 'text'),
    [([51.04], False, '51.0'), ([1, 3], True, '+2.0 ± 1.4'), ([-1, -3], True, '-2.0 ± 1.4'), ([2.0], True, '+2.0')],
)
def test_spread(report, values, signed, text):
    assert report.spread(values, signed) == text


def test_steps_are_of_the_seeds_that_both_lines_have(report):
    above = report.Row('a', 'a', None, {0: measures(0.5), 2: measures(0.6)})
    row = report.Row('b', 'b', None, {2: measures(0.63), 1: measures(0.9)})
    assert row.percent('J&F-Mean') == pytest.approx([90, 63])
    assert row.steps(above) == pytest.approx([3])
    lone = report.Row('c', 'c', None, {7: measures(0.5)})
    assert report.table([above, lone]).splitlines()[3].split('|')[7].strip() == ''


@pytest.mark.parametrize(
    ('text', 'label', 'paper'),
    [
        ('# Table 1, row 2: the plain form (J&F 65.6).\n', 'the plain form', 65.6),
        ('# Paper Table 2, rows 1, 3: two\n# lines (J&F 61.2 in it)\nx = 1\n# not this (J&F 9.9)\n', 'two lines', 61.2),
        ('# One thing. Another\n', 'One thing', None),
        ('# One: two\n', 'One', None),
        ('# One (two)\n', 'One', None),
        ('x = 1\n', 'mine', None),
    ],
)
def test_labels_come_from_the_head_of_a_config(report, tmp_path, text, label, paper):
    (tmp_path / 'mine.py').write_text(text)
    row = report.described(tmp_path / 'mine.py')
    assert (row.name, row.label, row.paper) == ('mine', label, paper)

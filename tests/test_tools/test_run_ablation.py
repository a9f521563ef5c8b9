"""Ablations at a small scale: settings, table, and a run that is killed and goes on."""

import csv
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from mmengine.config import Config
from PIL import Image
from tiny_data import make_davis, make_youtube_vos

from stt_mm.engine import load_config

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


def jobs(tool, *line):
    return tool.read_jobs(tool.parse_args([*map(str, line), '--work-dir', 'w']))


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
    report.write_files(tmp_path, rows)
    assert (tmp_path / 'table.md').read_text() == report.table(rows) + '\n'
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
        report.write_files(tmp_path, rows)
    (figure,), (axes,) = kept, kept[0].axes
    assert figure.get_size_inches() == pytest.approx([8, 1.2 + 3 * 0.55])
    assert axes.get_xlabel() == 'J&F, percent'
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
        assert (picture.format, picture.size) == ('PNG', (1200, 427))
        assert 'Software' not in picture.info


def test_a_scaled_row_keeps_its_model_and_gets_data_and_length_of_the_scale(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_davis(tmp_path / 'davis', num_videos=1, num_frames=4)
    options = [
        '--iters',
        40,
        '--data',
        'clips',
        '--eval-data',
        'davis',
        '--cfg-options',
        'train_dataloader.batch_size=2',
    ]
    options += ['--eval-options', 'test_dataloader.dataset.max_frames=3']
    for job, path in zip(jobs(tool, *TABLE1, *options), TABLE1, strict=True):
        cfg, before, scale = job.training({}), load_config(path), load_config('stt_r18_demo')
        assert cfg.model == before.model
        assert cfg.train_cfg == dict(before.train_cfg, max_iters=40)
        assert cfg.optim_wrapper == scale.optim_wrapper
        expected = dict(scale.train_dataloader, batch_size=2)
        expected['dataset'] = dict(expected['dataset'], data_root=f'{tmp_path}/clips')
        assert cfg.train_dataloader == expected
        test = job.evaluation()
        assert test.model.propagator.protocol == dict(name='stt_davis_s8', short_side=320)
        dataset = test.test_dataloader.dataset
        assert (dataset.data_root, dataset.max_frames) == (f'{tmp_path}/davis', 3)


def test_a_config_of_other_data_is_taken_as_it_is_and_a_row_has_options_of_its_own(tool, monkeypatch):
    monkeypatch.chdir(ROOT)
    line = ['stt_r18_ytv_temporal', 'joint_r18_demo', 'train_cfg.max_iters=70', 'train_dataloader.batch_size=2']
    line += ['--data', 'frames', '--cfg-options', 'train_dataloader.num_workers=3']
    temporal, joint = (job.training({}) for job in jobs(tool, *line))
    before = load_config('joint_r18_demo')
    assert (temporal.train_dataloader.num_workers, joint.train_dataloader.num_workers) == (3, 1)
    assert (temporal.train_cfg.max_iters, joint.train_cfg.max_iters) == (100, 70)
    assert (temporal.train_dataloader.batch_size, joint.train_dataloader.batch_size) == (8, 2)
    assert [part.get('T_max') for part in joint.param_scheduler] == [None, 70]
    images = joint.train_cfg.image_dataloader
    assert images.dataset.data_root == joint.train_dataloader.dataset.data_root == f'{ROOT}/frames'
    assert images.batch_size == before.train_cfg.image_dataloader.batch_size
    assert joint.model == before.model


def test_a_config_stands_in_several_rows_each_from_the_weights_of_another(tool, monkeypatch):
    monkeypatch.chdir(ROOT)
    start = 'model.backbone.init_cfg.checkpoint=@warm_up'
    plain = ['model.backbone.position=None', 'model.propagator.protocol.vote=softmax', 'train_cfg.max_iters=50']
    line = ['liir_r18_demo_warmup@warm_up', 'liir_r18_demo@all', start, 'liir_r18_demo@plain', start, *plain]
    line += ['liir_r18_demo::eval/davis_liir_r18@other', start, 'model.negatives.frames=60']
    rows = jobs(tool, *line, '--scale', 'liir_r18_demo_warmup', '--iters', 200)
    assert [(job.row.name, job.row.label, job.row.paper) for job in rows] == [
        ('warm_up', 'warm up', None),
        ('all', 'all', None),
        ('plain', 'plain', None),
        ('other', 'other', None),
    ]
    trained = [job.training({'warm_up': Path('seed0/iter_200.pth')}) for job in rows]
    assert [cfg.model.backbone.get('init_cfg', {}).get('checkpoint') for cfg in trained] == [
        None,
        *['seed0/iter_200.pth'] * 3,
    ]
    assert [cfg.train_cfg.max_iters for cfg in trained] == [200, 200, 50, 200]
    # 60 and 80 of 100 iterations.
    assert [cfg.param_scheduler[0].milestones for cfg in trained] == [[120, 160], [120, 160], [30, 40], [120, 160]]
    evaluated = [job.evaluation().model for job in rows]
    assert [model.propagator.protocol.get('vote') for model in evaluated] == [None, None, 'softmax', None]
    assert [model.backbone.position is None for model in evaluated] == [False, False, True, False]
    assert 'negatives' not in evaluated[3]


@pytest.mark.parametrize(
    ('iters', 'expected'),
    [(1, (1, 1, [1, 1])), (9, (1, 1, [4, 9])), (100, (20, 2, [20, 100])), (133, (26, 2, [20, 133]))],
)
def test_schedule_and_hooks_follow_the_length(tool, monkeypatch, iters, expected):
    monkeypatch.chdir(ROOT)
    cfg = jobs(tool, TABLE1[0], '--iters', iters)[0].training({})
    hooks = cfg.default_hooks
    assert (hooks.checkpoint.interval, hooks.logger.interval, [part.end for part in cfg.param_scheduler]) == expected
    assert hooks.checkpoint.max_keep_ckpts == 1
    assert cfg.param_scheduler[1].T_max == iters


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (['eval/davis_color'], 'davis_color.py has no train_cfg.max_iters'),
        (['pretrain/mocov2_r18_demo'], 'cannot be evaluated.*mocov2_r18_demo.py::configs/eval/davis_spatial_r18_rgb'),
        (['stt_r18_demo::eval/vip_r18_s8'], 'evaluates on VIP; the table is for DAVIS'),
        (['stt_r18_demo', '--eval-data', 'missing'], 'missing'),
        (['stt_r18_demo', 'model.nothing=1'], 'nothing'),
        (['stt_r18_demo', 'train_cfg.max_iters=many'], 'max_iters'),
        (['stt_r18_ytv', 'ablations/no_crop_r18'], 'stt_r18_ytv and no_crop_r18 are the same at this scale'),
        (
            ['stt_r18_demo', '--provide', 'STT_STAGE1_R18=nobody'],
            'Weights are to come from nobody, which is no row; the',
        ),
        (['stt_r18_demo', str(ROOT / 'configs' / 'stt_r18_demo.py')], 'Two rows are called stt_r18_demo; CONFIG@NAME'),
        (['stt_r18_demo@one', 'stt_r18_ytv@one'], 'Two rows are called one; CONFIG@NAME'),
        (['stt_r18_demo@untrained', '--untrained'], 'Two rows are called untrained'),
        (
            ['stt_r18_demo', '--cfg-options', 'train_dataloader.batch_size=3'],
            '--cfg-options are for rows that train on YouTube-VOS, and none does',
        ),
        (
            ['stt_r18_demo', 'stt_r18_ytv', '--provide', 'STT_STAGE1=stt_r18_demo', 'STT_STAGE1_R18=stt_r18_demo'],
            'No row takes its weights from STT_STAGE1 of --provide',
        ),
        (
            ['stt_r18_demo@one', 'model.backbone.init_cfg.checkpoint=@two'],
            'come from two, which is no row; the rows are one',
        ),
        (
            ['liir_r18_demo@one', 'model.backbone.init_cfg.checkpoint=@two', 'liir_r18_demo_warmup@two'],
            'one starts from the weights of two: name two before it',
        ),
        (
            [
                'stt_r18_ytv',
                'pretrain/mocov2_r18_demo::eval/davis_spatial_r18_rgb',
                '--provide',
                'STT_STAGE1_R18=mocov2_r18_demo',
            ],
            'stt_r18_ytv starts from the weights of mocov2_r18_demo: name mocov2_r18_demo before it.',
        ),
    ],
)
def test_rows_that_cannot_be_are_told_before_anything_is_written(tool, tmp_path, monkeypatch, capsys, line, message):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match='1'):
        tool.main([*line, '--work-dir', str(tmp_path / 'work')])
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
    assert not (tmp_path / 'work').exists()


@pytest.fixture
def steps(tool, monkeypatch):
    """The ablation with steps that write at once what the real ones write; yields what it has asked for."""
    calls = []

    def run(arguments, root, log, label, keep_open):
        cfg = Config.fromfile(arguments[1])
        calls.append((arguments, log, cfg))
        assert root == ROOT
        seed = int(arguments[arguments.index('--seed') + 1])
        if arguments[0] == 'tools/train.py':
            folder = Path(arguments[arguments.index('--work-dir') + 1])
            folder.mkdir()
            (folder / f'iter_{cfg.train_cfg.max_iters}.pth').touch()
        else:
            score = 0.5 + 0.1 * seed + 0.01 * len(calls)
            Path(arguments[arguments.index('--out') + 1]).write_text(json.dumps(dict(metrics=measures(score))))

    monkeypatch.setattr(tool, 'run_step', run)
    return calls


def test_every_row_is_trained_and_evaluated_with_every_seed(tool, steps, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_davis(tmp_path / 'davis', num_videos=2, num_frames=4)
    work = tmp_path / 'work'
    line = ['pretrain/mocov2_r18_demo::eval/davis_spatial_r18_rgb', 'train_cfg.max_iters=30', 'stt_r18_ytv']
    line += ['--eval-data', 'davis', '--work-dir', 'work', '--seeds', '2', '--iters', '10', '--untrained']
    line += ['--provide', 'STT_STAGE1_R18=mocov2_r18_demo']
    tool.main(line)
    names = {'mocov2_r18_demo': 30, 'stt_r18_ytv': 10}
    expected = []
    for seed in (0, 1):
        common = ['--seed', str(seed), '--work-dir']
        for name, iters in {'untrained': 0, **names}.items():
            run = f'{work}/{name}/seed{seed}'
            weights = f'{run}/train/iter_{iters}.pth' if iters else 'none'
            if iters:
                options = [*common, f'{run}/train', '--resume', '--no-validate']
                expected.append(['tools/train.py', f'{run}/train.py', *options])
            options = [*common, f'{run}/eval', '--out', f'{run}/result.json', '--skip-done']
            expected.append(['tools/test.py', f'{run}/eval.py', weights, *options])
    assert [arguments for arguments, *_ in steps] == expected
    assert [log.name for _, log, *_ in steps] == 2 * ['eval.log', *2 * ['train.log', 'eval.log']]
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
    # What is finished is not run again; a result that is gone is made again from the weights.
    steps.clear()
    (work / 'stt_r18_ytv' / 'seed1' / 'result.json').unlink()
    tool.main(line)
    assert [arguments[0] for arguments, *_ in steps] == ['tools/test.py']
    with pytest.raises(SystemExit, match='1'):
        tool.main([*line, '--iters', '11'])
    assert 'stt_r18_ytv/seed0/train.py was written for other settings' in capsys.readouterr().err


def test_a_row_starts_from_the_weights_of_its_seed(tool, steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_davis(tmp_path / 'davis', num_videos=1, num_frames=4)
    line = ['liir_r18_demo_warmup@warmup', 'liir_r18_demo@liir', 'model.backbone.init_cfg.checkpoint=@warmup']
    tool.main([*line, '--eval-data', 'davis', '--work-dir', 'work', '--seeds', '2', '--iters', '3'])
    starts = [cfg.model.backbone.init_cfg.checkpoint for arguments, _, cfg in steps if '/liir/' in arguments[1]][::2]
    assert starts == [f'{tmp_path}/work/warmup/seed{seed}/train/iter_3.pth' for seed in (0, 1)]


def test_the_untrained_row_has_no_weights_of_another_network(tool, steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_davis(tmp_path / 'davis', num_videos=1, num_frames=4)
    line = ['stt_r18_ytv', '--eval-data', 'davis', '--work-dir', 'work', '--seeds', '1', '--iters', '3']
    tool.main([*line, '--untrained'])
    (_, _, first), *_, (_, _, last) = steps
    before = load_config('stt_r18_ytv').model.backbone
    assert 'Pretrained' in str(before)
    assert 'init_cfg' not in first.model.backbone
    assert dict(first.model.backbone, init_cfg=before.init_cfg) == last.model.backbone == before
    model = dict(
        backbones=[
            dict(type='TimmBackbone', pretrained=True, init_cfg=None),
            dict(network=dict(depth=50, init_cfg=dict(type='Pretrained', checkpoint='a.pth'))),
            dict(init_cfg=dict(type='Kaiming'), strides=(1, 2)),
        ]
    )
    assert tool.untrained(model) == dict(
        backbones=[
            dict(type='TimmBackbone', pretrained=False, init_cfg=None),
            dict(network=dict(depth=50)),
            dict(init_cfg=dict(type='Kaiming'), strides=(1, 2)),
        ]
    )


def test_ctrl_c(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(tool, 'run_step', lambda *args: tool.stop(15, None))
    with pytest.raises(SystemExit, match='130'):
        tool.main([str(TABLE1[0]), '--work-dir', str(tmp_path / 'work')])
    assert 'interrupted' in capsys.readouterr().err


@pytest.mark.slow
def test_killed_half_way_it_goes_on_where_it_was(tmp_path):
    make_youtube_vos(tmp_path / 'ytv', num_videos=2, num_frames=3)
    make_davis(tmp_path / 'davis', num_videos=2, num_frames=4)
    run = tmp_path / 'work' / 'table1_reconstruction_r18' / 'seed0'
    command = [sys.executable, str(TOOLS / 'run_ablation.py'), str(TABLE1[0]), '--data', str(tmp_path / 'ytv')]
    command += ['--eval-data', str(tmp_path / 'davis'), '--work-dir', str(tmp_path / 'work'), '--seeds', '1']
    command += [
        '--iters',
        '30',
        '--cfg-options',
        'train_dataloader.batch_size=2',
        'train_dataloader.dataset.interval=1',
    ]
    command += ['train_dataloader.dataset.pipeline.1.size=(64,64)']
    command += ['--eval-options', 'model.propagator.protocol.short_side=64']

    def start():
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(os.environ, OMP_NUM_THREADS='1'),
            start_new_session=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    first = start()
    deadline = time.monotonic() + 120
    while not (run / 'train' / 'iter_6.pth').is_file() and time.monotonic() < deadline:
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (run / 'train' / 'iter_30.pth').exists()
    reached = max(int(path.stem[5:]) for path in (run / 'train').glob('iter_*.pth'))
    assert 6 <= reached < 30

    second = start()
    output = second.communicate(timeout=200)[0]
    assert second.returncode == 0, output
    assert f'continuing from {run / "train" / f"iter_{reached}.pth"}' in (run / 'train.log').read_text()
    score = json.loads((run / 'result.json').read_text())['metrics']['J&F-Mean']
    assert f'| 1 | frame reconstruction at res4 alone | `table1_reconstruction_r18` | {100 * score:.1f} |' in output

    before = (run / 'train.log').stat().st_mtime_ns
    assert start().communicate(timeout=100)[0].count('seed 0') == 1
    assert (run / 'train.log').stat().st_mtime_ns == before


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

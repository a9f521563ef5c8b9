"""Ablations at a small scale: settings, table, and a run that is killed and goes on."""

import csv
import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from mmengine.registry import init_default_scope
from pretrain_runs import make_images
from tiny_data import make_davis, make_youtube_vos

from stt_mm.engine import load_config
from stt_mm.registry import DATASETS

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools' / 'analysis'
TABLE1 = [ROOT / 'configs' / 'ablations' / f'table1_{name}_r18.py'
          for name in ('reconstruction', 'pyramid', 'local', 'selection')]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module('run_ablation')


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module('ablation_report')


def arguments(tool, tmp_path, *more):
    return tool.parse_args(['x.py', '--data', str(tmp_path), '--eval-data', str(tmp_path), '--work-dir',
                            str(tmp_path / 'work'), *more])


def measures(score):
    return {'J&F-Mean': score, 'J-Mean': score - 0.02, 'F-Mean': score + 0.02}


def test_rows_are_those_of_the_paper(report):
    rows = [report.described(path) for path in TABLE1]
    assert [row.paper for row in rows] == [64.9, 65.6, 68.4, 69.3]
    assert [row.label for row in rows] == [
        'frame reconstruction at res4 alone', '+ pyramid frame reconstruction',
        '+ local correlation distillation, every query', '+ entropy-based selection']
    other = report.described(ROOT / 'configs' / 'eval' / 'davis_color.py')
    assert (other.label, other.paper) == ('Raw Lab colour', None)


def test_the_table_has_mean_deviation_and_paired_steps(report):
    rows = [report.Row('one', 'first', 64.9, {0: measures(0.50), 1: measures(0.54)}),
            report.Row('two', 'second', None, {0: measures(0.51), 1: measures(0.57)})]
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in report.table(rows).splitlines()]
    # The deviation of 50 and 54 is 4 / sqrt(2) = 2.83; the steps are 1 and 3, 2.0 and 1.41.
    assert lines[2] == ['1', 'first', '`one`', '52.0 ± 2.8', '50.0 ± 2.8', '54.0 ± 2.8', '', '64.9']
    assert lines[3] == ['2', 'second', '`two`', '54.0 ± 4.2', '52.0 ± 4.2', '56.0 ± 4.2', '+2.0 ± 1.4', '']
    assert report.spread([51.04]) == '51.0'


def test_files_hold_every_run(report, tmp_path):
    rows = [report.Row('one', 'first', 64.9, {0: measures(0.5), 1: measures(0.6)}),
            report.Row('two', 'second', None, {0: measures(0.7)})]
    report.write_files(tmp_path, rows, dict(eval_data='here', iters=3))
    content = json.loads((tmp_path / 'ablation.json').read_text())
    assert content['settings']['iters'] == 3
    assert content['rows'][0]['mean']['J-Mean'] == pytest.approx(53)
    assert content['rows'][0]['deviation']['F-Mean'] == pytest.approx(statistics.stdev([52, 62]))
    assert content['rows'][1]['deviation']['F-Mean'] is None
    lines = list(csv.DictReader((tmp_path / 'runs.csv').open()))
    assert [(line['config'], line['seed'], float(line['J&F-Mean'])) for line in lines] == [
        ('one', '0', 0.5), ('one', '1', 0.6), ('two', '0', 0.7)]
    picture = cv2.imread(str(tmp_path / 'ablation.png'))
    assert picture.shape[1] > 600
    assert picture.std() > 5


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
    assert (dataset.type, dataset.data_root, dataset.interval) == ('VideoFolder', str(tmp_path), (1, 2, 3))
    assert dataset.pipeline[1] == dict(type='ClipRandomResizedCrop', size=(64, 64), area=(0.1, 0.6), aspect=(0.75, 1.5))
    test = tool.evaluated(path, args)
    assert test.model.propagator.protocol == dict(name='stt_davis_s8', short_side=320)
    assert (test.test_dataloader.dataset.data_root, test.test_dataloader.dataset.max_frames) == (str(tmp_path), 25)


def test_images_of_stage_1_and_of_joint_training_are_scaled_too(tool, tmp_path):
    args = arguments(tool, tmp_path, '--iters', '40', '--batch-size', '4', '--size', '64', '--lr', '0.001')
    joint = tool.scaled(ROOT / 'configs' / 'joint_r18_ytv.py', args)
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
    args = arguments(tool, tmp_path, '--iters', '40', '--batch-size', '4', '--image-iters', '70', '--image-batch-size',
                     '6')
    stage1, joint, videos = (tool.scaled(ROOT / 'configs' / f'{name}.py', args)
                             for name in ('pretrain/mocov2_r18_demo', 'joint_r18_demo', 'stt_r18_ytv_temporal'))
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


@pytest.mark.parametrize(('content', 'message'), [
    (b'{"iters"', 'settings.json is no valid JSON'), (b'\xff\xfe{', 'settings.json is no UTF-16-LE text: byte 2'),
    (b'[3]', 'settings.json holds no settings'),
])
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


@pytest.mark.parametrize(('more', 'message'), [
    (['--provide', 'STT_STAGE1_R18=nobody'], '--provide names nobody; the rows are table1_local_r18'),
    (['stt_r18_ytv', 'pretrain/mocov2_r18_demo::eval/davis_spatial_r18_rgb', '--provide',
      'STT_STAGE1_R18=mocov2_r18_demo'],
     'stt_r18_ytv starts from the weights of mocov2_r18_demo: name mocov2_r18_demo before it.'),
    ([str(TABLE1[2])], 'Two configs are called table1_local_r18'),
])
def test_rows_that_do_not_fit_are_refused(tool, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        tool.main([str(TABLE1[2]), *more, '--data', 'd', '--eval-data', 'e', '--work-dir', str(tmp_path / 'w')])
    assert message in capsys.readouterr().err


def start(tmp_path, *more):
    command = [sys.executable, str(TOOLS / 'run_ablation.py'), str(TABLE1[0]), '--data', str(tmp_path / 'ytv'),
               '--eval-data', str(tmp_path / 'davis'), '--work-dir', str(tmp_path / 'work'), '--seeds', '1', '--iters',
               '30', '--batch-size', '2', '--size', '64', '--short-side', '64', '--interval', '1', *more]
    return subprocess.Popen(command, cwd=ROOT, env=dict(os.environ, OMP_NUM_THREADS='1'), start_new_session=True,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


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
    assert tool.fingerprint(paths) == before
    text = f"_base_ = '{paths[0]}'\nmodel = dict(local_head=dict(keep_ratio=0.5))\n"
    (tmp_path / 'mine.py').write_text(text)
    assert tool.fingerprint((tmp_path / 'mine.py', paths[1])) != before
    with tool.environment(dict(STT_DATA='elsewhere')):
        assert tool.fingerprint(paths) != before
    assert 'STT_DATA' not in os.environ


@pytest.mark.parametrize('option', [
    ['--area', 'nan', 'nan'], ['--area', '0.6', '0.1'], ['--area', '0', '1'], ['--aspect', '1', 'inf'], ['--lr', 'nan'],
    ['--lr', '-1'], ['--max-frames', '-2'], ['--warmup', '-3'], ['--interval', '0'],
])
def test_numbers_that_mean_nothing_are_named(tool, tmp_path, capsys, option):
    with pytest.raises(SystemExit, match='2'):
        arguments(tool, tmp_path, *option)
    assert f'error: {option[0]} must' in capsys.readouterr().err


def test_nothing_is_written_before_the_data_is_found(tool, tmp_path, capsys):
    (tmp_path / 'data').mkdir()
    with pytest.raises(SystemExit, match='1'):
        tool.main([str(TABLE1[0]), '--data', str(tmp_path / 'data'), '--eval-data', str(tmp_path / 'missing'),
                   '--work-dir', str(tmp_path / 'work')])
    assert 'missing' in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()

"""The benchmarks: what they print and write, and that counts are checked before anything is measured."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    spec = importlib.util.spec_from_file_location('benchmark_tool', TOOLS / 'benchmark.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ('command', 'option', 'value'),
    [
        ('train', '--batch', '-1'),
        ('train', '--threads', '0'),
        ('propagate', '--labels', '0'),
        ('points', '--videos', '0'),
    ],
)
def test_counts_that_mean_nothing_are_named(benchmark, command, option, value, capsys):
    with pytest.raises(SystemExit, match='2'):
        benchmark.main([command, option, value])
    assert f'{option}: must be 1 or more, got {value}' in capsys.readouterr().err


def test_the_forms_of_a_step_give_the_same_labels(benchmark, monkeypatch, tmp_path):
    propagate = benchmark.COMMANDS['propagate'][0]
    monkeypatch.setattr(propagate, 'DRAWN', {16: (4, 14, 17, 24)})
    monkeypatch.setattr(propagate, 'SHARE', {16: 1})
    args, found = SimpleNamespace(device='cpu', amp=False, folder=tmp_path), []
    propagate.write(16, 'drawn', args)
    for form in ('engine', 'plain', 'dense'):
        torch.manual_seed(0)
        found.append(propagate.prepare(f'{form} 16 drawn 3', args)())
    for one in found[:2]:
        torch.testing.assert_close(one[0].flatten(1).t(), found[2], rtol=0, atol=1e-5)


def test_fewer_pairs_are_left_with_more_directions(benchmark, monkeypatch, tmp_path, capsys):
    """Never fewer than the best themselves, and with all directions no more than ties."""
    bounds = benchmark.COMMANDS['bounds'][0]
    monkeypatch.setattr(bounds, 'DIRECTIONS', (1, 8, 24, 64))
    monkeypatch.setattr(bounds, 'SHARE', {8: 1})
    monkeypatch.setattr(bounds, 'extract', lambda *_: torch.nn.functional.normalize(torch.rand(3, 14, 30, 64), dim=-1))
    plot = tmp_path / 'bounds.png'
    benchmark.main(['bounds', '--strides', '8', '--weights', 'demo', '--plot', str(plot)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    rests, left = ([float(row[-place]) for row in rows] for place in (2, 1))
    assert len(rows) == 4
    assert sorted(left, reverse=True) == left
    assert sorted(rests, reverse=True) == rests
    rows, columns = ((np.abs(np.subtract.outer(side, side)) <= 12).sum() for side in map(np.arange, (14, 30)))
    assert left[-1] == pytest.approx(100 * 14 * 30 * 10 / (rows * columns * 2), abs=2e-3)
    assert left[-1] < left[0] / 2
    assert rests[-1] == pytest.approx(0, abs=1e-3)
    assert cv2.imread(str(plot)).shape[2] == 3


def test_rows_are_printed_below_their_heads_and_written(benchmark, tmp_path, capsys, monkeypatch):
    path = tmp_path / 'rows.json'
    for name, value in dict(SIZE=(48, 64), FRAMES=3, OBJECTS=(1, 2)).items():
        monkeypatch.setattr(benchmark.COMMANDS['metric'][0], name, value)
    benchmark.main(['metric', '--seconds', '0.001', '--device', 'cpu', '--json', str(path)])
    content = json.loads(path.read_text())
    assert [row['objects'] for row in content['rows']] == ['1', '2']
    assert all(row['seconds'] > 0 and 0 < row['of the frame'] < 1 for row in content['rows'])
    assert content['settings']['device'] == 'cpu'
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert head.split() == ['objects', 'of', 'the', 'frame', 'seconds']
    assert [row.split()[0] for row in rows] == ['1', '2']


@pytest.mark.parametrize('options', [[], ['--amp', '--compile']])
def test_every_part_of_an_iteration_is_a_row(benchmark, options, monkeypatch):
    """In this process, of which the memory cannot be told."""
    init_default_scope('stt_mm')
    train = benchmark.COMMANDS['train'][0]
    asked = []

    def measured(prepare, part, args):
        asked.append(f'stt_r18_demo: {part}')
        if options or part != train.STEP:
            return 2.0, 3
        args.device = 'cpu'
        prepare(part, args)()
        return 1.0, 3

    monkeypatch.setattr(train, 'measured', measured)
    args = benchmark.parse_args(['train', '--configs', 'stt_r18_demo', '--batch', '2', *options])
    *rows, rates = train.run(args)
    assert [row['part'] for row in rows] == asked
    assert [row['part'].partition(': ')[2] for row in rows] == [part for part in train.PARTS if 'teacher' not in part]
    assert rates['workers needed'] == (1 if options else 2)
    assert (args.amp, args.compile) == (bool(options), bool(options))


def test_one_config_is_measured_with_and_without_a_part_in_rounds(benchmark, monkeypatch, capsys):
    """Every round measures both; the last table has the medians."""
    train = benchmark.COMMANDS['train'][0]
    seconds = iter([2.0, 3.0, 4.0, 5.0, 1.0, 3.0])
    found = []

    def measured(prepare, part, args):
        (training,) = prepare.args
        model = train.read_config(training, args).model
        found.append((part, model.negatives and model.negatives.type, model.compactness_head.weight))
        return next(seconds), len(found)

    monkeypatch.setattr(train, 'measured', measured)
    liir = ['liir/liir_r18_ytv', 'model.negatives=None', 'liir/liir_r18_ytv']
    common = ['--step-only', '--cfg-options', 'model.compactness_head.weight=3']
    benchmark.main(['train', '--device', 'cpu', '--rounds', '3', '--configs', *liir, *common])
    assert found == [('whole iteration', None, 3), ('whole iteration', 'VideoNegatives', 3)] * 3
    *_, head, without, whole = (' '.join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert head == 'part seconds MiB of the first'
    assert without == 'liir/liir_r18_ytv model.negatives=None: whole iteration 2.000 3 1.000'
    assert whole == 'liir/liir_r18_ytv: whole iteration 3.000 4 1.500'
    seconds = iter([2.0])
    benchmark.main(['train', '--device', 'cpu', '--configs', *liir[:2], *common])
    assert 'of the first' not in capsys.readouterr().out


def test_options_before_the_first_config_are_refused(benchmark, capsys):
    with pytest.raises(SystemExit, match='1'):
        benchmark.main(['train', '--configs', 'model.negatives=None', 'liir/liir_r18_ytv'])
    assert 'model.negatives=None stands before the first config' in capsys.readouterr().err


def test_a_training_on_two_data_sets_is_refused_by_name(benchmark):
    train = benchmark.COMMANDS['train'][0]
    args = benchmark.parse_args(['train', '--configs', 'continual/joint_r18_ytv'])
    with pytest.raises(ValueError, match='continual/joint_r18_ytv trains on videos and images at once'):
        train.read_config(*train.trainings(args.configs), args)


def test_tracks_of_moved_pictures_stay_on_what_they_were_on(benchmark):
    points = benchmark.COMMANDS['points'][0]
    y, x = np.mgrid[:120, :160]
    image = np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8)  # the colour says the place
    frames, tracks = points.sequence(image, 4, seed=0)
    inside = ((tracks > 20) & (tracks < points.SIZE - 20)).all(axis=(0, 2))
    seen = [
        cv2.remap(frame.astype(np.float32), *np.float32(track[inside].T[:, :, None]), cv2.INTER_LINEAR)[:, 0]
        for frame, track in zip(frames, tracks, strict=True)
    ]
    assert inside.sum() > 10
    assert np.linalg.norm(tracks[2] - tracks[0], axis=1).min() > 0.2
    for colours in seen[1:]:
        assert np.abs(colours - seen[0])[:, :2].max() < 1


def test_points_are_measured_on_corners_and_anywhere(benchmark, capsys):
    options = ['--videos', '1', '--frames', '2', '--checkpoint', 'none', '--device', 'cpu', '--threads', '1']
    benchmark.main(['points', '--protocols', 'stt_tapvid_s8', 'stt_tapvid_fine_s8', *options])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ['stt_tapvid_s8', 'stt_tapvid_fine_s8']
    coarse, fine = ([float(value) for value in row[1:]] for row in rows)
    assert all(less < more for less, more in zip(fine[:2], coarse[:2], strict=True))
    assert fine[0] < 0.5

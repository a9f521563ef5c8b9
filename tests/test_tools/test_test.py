"""What tools/test.py makes of its arguments, of a config and of a runner."""

import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from test_engine.toy_project import write_config
from test_engine.toy_runs import tool
from tiny_data import make_davis
from torch import nn

from stt_mm.engine import bare, load_config
from stt_mm.models.correspondence.base import Correspondence
from stt_mm.registry import METRICS


@pytest.fixture
def module():
    return tool('test')


@pytest.fixture
def cfg(tmp_path):
    return load_config(write_config(tmp_path))


def merged(module, cfg, *options):
    module.merge_args(cfg, module.parse_args(['toy.py', 'none', *options]))
    return cfg


def test_what_only_training_needs_is_removed(module, cfg):
    cfg.load_from, cfg.resume = 'a.pth', True
    before = cfg.to_dict()
    training = {
        'train_cfg',
        'train_dataloader',
        'optim_wrapper',
        'param_scheduler',
        'auto_scale_lr',
        'val_cfg',
        'val_dataloader',
        'val_evaluator',
        'load_from',
    }
    assert merged(module, cfg).to_dict() == {key: value for key, value in before.items() if key not in training} | dict(
        resume=False, launcher='none', work_dir='work_dirs/toy'
    )
    cfg.work_dir = 'mine'
    assert merged(module, cfg).work_dir == 'mine'
    assert merged(module, cfg, '--work-dir', 'other', '--launcher', 'slurm').work_dir == 'other'
    assert cfg.launcher == 'slurm'


def test_seed_and_precision(module, cfg):
    cfg.randomness = dict(seed=3, deterministic=True)
    assert merged(module, cfg, '--seed', '0').randomness == dict(seed=0, deterministic=True)
    assert 'fp16' not in cfg.test_cfg
    cfg.pop('randomness')
    assert merged(module, cfg, '--seed', '6', '--amp').randomness == dict(seed=6)
    assert cfg.test_cfg.fp16 is True


@pytest.mark.parametrize('key', ['model', 'test_cfg', 'test_dataloader', 'test_evaluator'])
def test_a_config_without_a_test_is_named(module, cfg, key):
    cfg[key] = None
    with pytest.raises(ValueError, match=rf'toy\.py cannot be used for testing: it has no {key}\.'):
        merged(module, cfg)


@pytest.mark.parametrize('option', [['--dump-masks', 'm'], ['--dump-points', 'm'], ['--skip-done']])
def test_masks_and_records_are_those_of_benchmarks(module, cfg, option):
    with pytest.raises(
        ValueError, match='--dump-masks, --dump-points and --skip-done need a metric of a video benchmark'
    ):
        merged(module, cfg, *option)


def test_each_metric_gets_its_folders(module, cfg, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(METRICS, 'build', built.append)
    cfg.test_evaluator = (
        dict(type='ToyMetric'),
        dict(type='DAVISMetric', out_dir=str(tmp_path / 'mine')),
        dict(type='stt_mm.VIPMetric'),
    )
    merged(module, cfg, '--work-dir', str(tmp_path), '--skip-done')
    _, davis, vip = cfg.test_evaluator
    assert (davis.out_dir, vip.out_dir) == (str(tmp_path / 'mine'), str(tmp_path))
    assert davis.resume is vip.resume is True
    assert 'dump_masks' not in davis
    assert re.fullmatch('[0-9a-f]{16}', davis.run_id)
    assert davis.run_id == vip.run_id
    # Nothing is read to find what is wrong with the arguments.
    assert built == [dict(metric, resume=False) for metric in (davis, vip)]
    assert cfg.test_dataloader.dataset.skip == []


def test_types_of_other_projects_are_no_benchmarks(module):
    cfg = Config(dict(test_evaluator=[dict(type='NoMetric'), dict(type='DAVISMetric')]))
    assert [metric.type for metric in module.metrics_of(cfg)] == ['DAVISMetric']


def test_a_video_is_done_when_every_metric_has_it(module, monkeypatch):
    found = {'davis': ['b', 'a', 'c'], 'vip': ['c', 'b', 'd']}
    asked = []
    monkeypatch.setattr(module, 'completed', lambda *args: asked.append(args) or found[args[1]])
    cfg = Config(
        dict(
            test_evaluator=[
                dict(type='DAVISMetric', out_dir='o', run_id='r', dump_masks='m'),
                dict(type='VIPMetric', out_dir='p', run_id='s'),
            ]
        )
    )
    assert module.done(cfg) == ['b', 'c']
    assert asked == [('o', 'davis', 'r', 'm'), ('p', 'vip', 's')]


def test_random_weights_depend_on_the_seed(module):
    def weights(model, **rest):
        return module.initial_weights(Config(dict(model=model, **rest)))

    named = dict(type='Net', init_cfg=dict(type='Pretrained', checkpoint='nowhere.pth'))
    assert weights(dict(backbone=dict(type='Net')), randomness=dict(seed=4)) == ([], 4)
    assert weights(dict(backbone=dict(type='Net'))) == ([], None)
    assert weights(dict(backbone=dict(type='Net')), randomness=None) == ([], None)
    assert weights(dict(backbone=named), randomness=dict(seed=4)) == ([], None)
    assert weights(dict(backbones=[named, dict(type='Net')]), randomness=dict(seed=4)) == ([], 4)


def test_none_may_be_written_in_capitals(module, cfg):
    ids = {module.run_id(cfg, name, None) for name in ('none', 'None', 'NONE')}
    assert len(ids) == 1
    assert module.run_id(cfg, 'none', 'prefix') not in ids


def test_what_scores_a_video_is_part_of_the_run(module, cfg):
    def name(*evaluators, **arguments):
        cfg.test_evaluator = [dict(evaluator) for evaluator in evaluators]
        return module.run_id(cfg, __file__, **arguments)

    plain = dict(type='VIPInstanceMetric')
    first = name(plain)
    assert name(dict(plain, drop_incomplete=False)) != first
    assert name(dict(type='ToyMetric', bins=3), plain) == first
    for unrecorded in (dict(out_dir='o', dump_masks='m', resume=True, run_id='r'), dict(seen_categories=['dog'])):
        assert name(dict(plain, **unrecorded)) == first
    # What a part of a checkpoint does not fill depends on the seed.
    cfg.model.backbone, cfg.randomness = dict(type='Net'), dict(seed=1)
    complete, partial = name(plain), name(plain, allow_partial=True)
    cfg.randomness = dict(seed=2)
    assert name(plain, allow_partial=True) != partial
    assert name(plain) == complete


def test_results_of_a_metric_stay_out_of_the_data(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('data').mkdir()
    cfg = Config(
        dict(
            work_dir='work',
            model={},
            test_dataloader=dict(dataset=dict(data_root='data')),
            test_evaluator=dict(type='DAVISMetric', out_dir='data/results'),
        )
    )
    args = SimpleNamespace(config='c.py', checkpoint='none', out=None)
    with pytest.raises(ValueError, match='data/results is, or lies in, data, which is read'):
        module.check_targets(cfg, args)
    cfg.test_evaluator.out_dir = 'results'
    assert {str(source) for source in module.check_targets(cfg, args)} == {'c.py', 'none', 'data'}
    # The log goes to the work directory, whatever the metric is.
    cfg.test_evaluator, cfg.work_dir = dict(type='ToyMetric'), 'data/work'
    with pytest.raises(ValueError, match='data/work is, or lies in, data, which is read'):
        module.check_targets(cfg, args)


def test_room_is_made_before_a_run(module, tmp_path, tmp_path_factory, monkeypatch):
    calls, out, dump = [], tmp_path_factory.mktemp('out'), tmp_path_factory.mktemp('dump')
    monkeypatch.setattr(module, 'claim_dump', lambda *args: calls.append(('claim', *args)))
    monkeypatch.setattr(module, 'forget_records', lambda *args: calls.append(('forget', *args)))
    monkeypatch.setattr(module, 'barrier', lambda: calls.append('barrier'))
    videos = [
        dict(video_id='b', frame_paths=['x/1.jpg', 'x/2.jpg'], mask_paths=['y/1.png', None]),
        dict(video_id='a', frame_paths=['z/1.jpg'], mask_paths=None),
    ]

    def make(skip_done=False, data=videos, rank=0, work_dir='w', out_file=out / 'a.json', **metric):
        calls.clear()
        monkeypatch.setattr(module, 'is_main_process', lambda: rank == 0)
        evaluator = dict(type='DAVISMetric', out_dir=str(tmp_path), run_id='r', **metric)
        cfg = Config(dict(work_dir=str(work_dir), test_evaluator=evaluator))
        dataset = SimpleNamespace() if data is None else SimpleNamespace(data_list=data)
        runner = SimpleNamespace(test_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset)))
        args = SimpleNamespace(overwrite=True, skip_done=skip_done, out=str(out_file))
        module.make_room(cfg, args, runner, ['s'])
        return calls

    # Folders that links in the data lead to.
    (tmp_path / 'real').mkdir()
    mask = tmp_path / 'real' / '1.png'
    mask.touch()
    linked = [dict(video_id='a', frame_paths=[str(mask)])]
    for where in (dict(work_dir=tmp_path / 'real' / 'work'), dict(out_file=mask)):
        with pytest.raises(ValueError, match='real'):
            make(data=linked, **where)

    # A file that was named, such as a pickle of videos, may lie where the run is started and its results go.
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        assert make(data=[dict(video_id='a', frame_paths=['./s', './s'])], work_dir='work', dump_masks='m')[0] == (
            ('claim', 'm', 'r', ['s'], True, 'masks')
        )

    assert make(dump_masks='m') == [
        ('claim', 'm', 'r', ['s', 'x', 'y', 'z'], True, 'masks'),
        ('forget', str(tmp_path), 'davis'),
        'barrier',
    ]
    (tmp_path / 'videos' / 'davis').mkdir(parents=True)
    (dump / 'a').mkdir()
    left = [tmp_path / 'videos' / 'davis' / '.a.json', tmp_path / '.a.csv', dump / 'a' / '.a.mat', out / '.a.json']
    for path in [*left, out / '.b.json']:
        path.with_name(f'{path.name}.abcdefgh.tmp').touch()

    def found():
        return [path for folder in (tmp_path, dump, out) for path in folder.rglob('*.tmp')]

    # In the folder of the result others may be at work.
    assert make(skip_done=True, rank=1) == ['barrier']
    assert len(found()) == 5
    assert make(skip_done=True, dump_points=str(dump))[1:] == ['barrier']
    assert found() == [out / '.b.json.abcdefgh.tmp']
    assert make(dump_masks='m', data=None)[0] == ('claim', 'm', 'r', ['s'], True, 'masks')
    assert make(dump_masks='m', rank=1) == ['barrier']
    with pytest.raises(ValueError, match='would both be written to m/a'):
        make(dump_masks='m', data=[dict(video_id='a'), dict(video_id='./a')])


def test_networks_are_compiled_within_their_wrapper(module):
    compiled = []

    class Network(nn.Module):
        def compile(self):
            compiled.append(self)

    model = nn.Module()
    model.backbone, model.backbones = None, [Network(), Network()]
    assert bare(nn.DataParallel(model)) is bare(model) is model
    module.compile_networks(model)
    assert compiled == model.backbones
    del model.backbone, model.backbones
    module.compile_networks(model)
    model.backbone = Network()
    module.compile_networks(model)
    assert compiled[2:] == [model.backbone]


def test_what_the_result_says_of_the_checkpoint(module, tmp_path, monkeypatch, caplog):
    class Report:
        source, ratio, geometry = 'a source', 0.75, dict(depth=18)

        def __str__(self):
            return 'matched 3'

    asked = []
    monkeypatch.setattr(
        module, 'load_for_evaluation', lambda *args, **options: asked.append((args, options)) or Report()
    )
    monkeypatch.setattr(module, 'sha8', lambda path: f'sha of {path}')
    logger = logging.getLogger('stt_mm.a test')
    runner = SimpleNamespace(model=SimpleNamespace(geometry=dict(depth=50)), logger=logger, seed=4)
    with caplog.at_level('INFO', logger.name):
        for checkpoint in ('w.pth', 'None'):
            args = module.parse_args(['c.py', checkpoint, '--trust-checkpoint', '--prefix', 'net'])
            args.allow_partial = args.allow_other_geometry = 'given'
            result = module.load_weights(runner, args)
            if checkpoint == 'w.pth':
                assert result == dict(
                    path='w.pth',
                    sha8='sha of w.pth',
                    source='a source',
                    matched_ratio=0.75,
                    geometry=dict(trained=dict(depth=18), used=dict(depth=50)),
                )
    assert result == dict(path=None, sha8=None, source='none')
    assert asked == [
        ((runner.model, 'w.pth', True, 'given', 'net', 'given'), {}),
        ((runner.model, None), dict(allow_other_geometry='given')),
    ]
    expected = [
        ('INFO', 'checkpoint: w.pth; matched 3'),
        ('INFO', 'checkpoint: none, the network is as its config initialises it (seed 4)'),
    ]
    assert [(record.levelname, record.message) for record in caplog.records] == expected


@pytest.mark.parametrize('compiled', [False, True])
def test_each_part_of_an_evaluation_is_done_once_and_in_order(module, tmp_path, monkeypatch, compiled):
    monkeypatch.chdir(tmp_path)
    config, calls = write_config(tmp_path), []
    for name in ('prepare_runtime', 'check_targets', 'load_weights', 'compile_networks', 'make_room', 'finish_runtime'):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, name=name, original=original: calls.append(name) or original(*args)
        )
    monkeypatch.setattr(torch.nn.Sequential, 'compile', lambda self: calls.append('compiled'))
    module.main([str(config), 'none', *(['--compile'] if compiled else [])])
    assert calls == [
        'check_targets',
        'prepare_runtime',
        'load_weights',
        *(['compile_networks', 'compiled'] if compiled else []),
        'make_room',
        'finish_runtime',
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['toy.py', 'work_dirs']


def test_the_result_file_and_the_log_of_an_evaluation(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_davis(tmp_path / 'data', num_videos=1, num_frames=3)
    forward = Correspondence.forward

    def telling(*args, **options):
        logging.getLogger('stt_mm.models').warning('a warning of a module')
        return forward(*args, **options)

    monkeypatch.setattr(Correspondence, 'forward', telling)
    module.main(
        [
            'eval/davis_color',
            'none',
            '--work-dir',
            'work',
            '--out',
            'r.json',
            '--seed',
            '5',
            '--cfg-options',
            'test_dataloader.dataset.data_root=data',
            'test_dataloader.dataset.max_frames=3',
            'test_dataloader.num_workers=0',
            'test_dataloader.persistent_workers=False',
            'model.propagator.protocol.short_side=48',
        ]
    )
    content = json.loads(Path('r.json').read_text())
    assert Path('r.json').read_text() == json.dumps(content, indent=2) + '\n'
    assert content.keys() == {'metrics', 'checkpoint', 'config', 'protocol', 'max_frames', 'seed'}
    assert (content['config'], content['max_frames'], content['seed']) == ('davis_color.py', 3, 5)
    assert content['metrics']['J&F-Mean'] > 0
    protocol = content['protocol']
    assert (protocol['short_side'], protocol['changed']) == (48, ['short_side'])
    log = next(Path('work').glob('*/*.log')).read_text()
    assert f'protocol: {protocol["name"]} v{protocol["version"]}' in log
    assert json.dumps(protocol) in log
    assert 'Results written to r.json' in log
    assert 'a warning of a module' in log

"""What the arguments of tools/train.py and tools/test.py do to a config."""

import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import get_priority
from test_engine.toy_project import write_config
from test_engine.toy_runs import tool

from stt_mm.engine import load_config


@pytest.fixture
def cfg(tmp_path):
    return load_config(write_config(tmp_path))


def merged(cfg, *options):
    module = tool('train')
    module.merge_args(cfg, module.parse_args(['toy.py', *options]))
    return cfg


def test_without_arguments_only_the_folder_is_new(cfg):
    before = cfg.to_dict()
    assert merged(cfg).to_dict() == before | dict(launcher='none', work_dir='work_dirs/toy')
    cfg.work_dir = 'mine'
    assert merged(cfg).work_dir == 'mine'
    assert merged(cfg, '--work-dir', 'other', '--launcher', 'slurm').work_dir == 'other'
    assert cfg.launcher == 'slurm'


def test_each_argument_reaches_the_config(cfg):
    merged(cfg, '--auto-scale-lr', '--seed', '0', '--compile', '--amp', '--no-validate')
    assert cfg.auto_scale_lr == dict(base_batch_size=8, enable=True)
    assert cfg.randomness == dict(seed=0)
    assert cfg.compile is True
    assert cfg.optim_wrapper.type in ('AmpOptimWrapper', 'AutocastOptimWrapper')
    assert not {'val_cfg', 'val_dataloader', 'val_evaluator'} & cfg.keys()


def test_a_seed_leaves_the_rest_of_the_randomness(cfg):
    cfg.randomness = dict(seed=3, deterministic=True)
    assert merged(cfg, '--seed', '5').randomness == dict(seed=5, deterministic=True)
    cfg.pop('randomness')
    assert merged(cfg, '--seed', '6').randomness == dict(seed=6)


@pytest.mark.parametrize('value', [None, {}, dict(enable=False)])
def test_a_rate_is_scaled_from_a_batch_that_is_known(cfg, value):
    cfg.auto_scale_lr = value
    with pytest.raises(ValueError, match=r'--auto-scale-lr needs auto_scale_lr=dict\(base_batch_size=\.\.\.\)'):
        merged(cfg, '--auto-scale-lr')


@pytest.mark.parametrize(
    ('load_from', 'trust', 'refused'),
    [('https://example.org/a.pth', False, True), ('https://example.org/a.pth', True, False), (None, False, False)],
)
def test_what_a_training_starts_from(cfg, load_from, trust, refused):
    cfg.load_from = load_from
    if refused:
        with pytest.raises(ValueError, match='Download it and name the file, or pass --trust-checkpoint'):
            tool('train').choose_start(cfg, None, trust)
    else:
        tool('train').choose_start(cfg, None, trust)
        assert cfg.load_from == load_from
        assert not cfg.get('resume')


def test_earlier_checkpoints_are_in_the_way_of_a_new_training_only(tmp_path):
    module, work_dir = tool('train'), tmp_path / 'work'
    work_dir.mkdir()
    cfg = Config(dict(work_dir=str(work_dir)))
    (work_dir / 'toy.py').touch()
    assert module.files_in_the_way(cfg, False) == []
    mine = ['best_model.pth', 'best_score_iter_2 (copy).pth', 'iter_3_copy.pth', 'my_iter_3.pth', 'other.pth']
    for name in mine:
        (work_dir / name).touch()
    assert module.files_in_the_way(cfg, False) == []
    (work_dir / 'best_score_iter_2.pth').touch()
    with pytest.raises(OSError, match=r'best_score_iter_2\.pth\. Keep them by another --work-dir'):
        module.files_in_the_way(cfg, False)
    for name in ('iter_3.pth', 'iter_12.pth'):
        (work_dir / name).touch()
    with pytest.raises(OSError, match='holds checkpoints of an earlier training, such as iter_12.pth'):
        module.files_in_the_way(cfg, False)
    found = module.files_in_the_way(cfg, True)
    assert [path.name for path in found] == ['best_score_iter_2.pth', 'iter_3.pth', 'iter_12.pth', 'last_checkpoint']
    assert module.files_in_the_way(Config(dict(work_dir=str(work_dir), resume=True)), False) == []
    # Going on from a file of another folder replaces what lies here, going on from an earlier one what came after it.
    cfg = Config(dict(work_dir=str(work_dir), resume=True, load_from=str(tmp_path / 'iter_20.pth')))
    with pytest.raises(OSError, match=r'iter_12\.pth\. Go on from the newest by --resume without a file, keep them by'):
        module.files_in_the_way(cfg, False, 20)
    assert module.files_in_the_way(cfg, True, 20) == found
    cfg.load_from = f'trusted:{work_dir}/iter_3.pth'
    with pytest.raises(OSError, match=r'holds later checkpoints than iter_3\.pth, such as iter_12\.pth'):
        module.files_in_the_way(cfg, False, 3)
    later = [work_dir / 'iter_12.pth', work_dir / 'last_checkpoint']
    assert module.files_in_the_way(cfg, True, 3) == later
    cfg.load_from = f'{work_dir}/iter_1.pth'
    assert module.files_in_the_way(cfg, True, 1) == found
    cfg.load_from = f'{work_dir}/iter_12.pth'
    (work_dir / 'best_score_iter_15.pth').touch()
    assert module.files_in_the_way(cfg, False, 12) == []
    (work_dir / 'best_score_iter_15.pth').unlink()
    cfg = Config(dict(work_dir=str(work_dir)))
    for start in (work_dir / 'iter_3.pth', f'trusted:{work_dir}/iter_3.pth'):
        with pytest.raises(OSError, match='iter_3.pth, which --overwrite would remove'):
            module.files_in_the_way(Config(dict(work_dir=str(work_dir), load_from=str(start))), True)
    cfg.load_from = str(work_dir / 'other.pth')
    assert module.files_in_the_way(cfg, True) == found

    # They go before anything of the same name is written, once, and by the first process alone.
    assert get_priority(module.ReplaceEarlier.priority) < get_priority(CheckpointHook.priority)
    written = []
    runner = SimpleNamespace(rank=1, write_config=lambda: written.append(found[0].exists()))
    module.ReplaceEarlier(found).after_train_iter(runner, 0)
    assert (written, found[0].exists()) == ([True], True)
    runner.rank, hook = 0, module.ReplaceEarlier(found)
    hook.after_train_iter(runner, 0)
    assert sorted(path.name for path in work_dir.iterdir()) == sorted([*mine, 'toy.py'])
    found[0].touch()
    hook.after_train_iter(runner, 1)
    assert (written, found[0].exists()) == ([True, True], True)
    module.ReplaceEarlier([work_dir / 'gone.pth']).after_train_iter(runner, 0)


@pytest.fixture
def start(monkeypatch, caplog):
    """What ``choose_start`` makes of a config: its ``resume`` and ``load_from``, what was read, and the log."""
    module = tool('train')

    def choose(resume, /, trust=False, latest=None, rank=0, **cfg):
        read = []
        monkeypatch.setattr(
            module,
            'latest_checkpoint',
            lambda work_dir, **options: read.append(('latest', work_dir, options)) or latest,
        )
        monkeypatch.setattr(
            module,
            'read_checkpoint',
            lambda path, **options: read.append((str(path), options)) or dict(meta=dict(iter=3, seed=7), state_dict={}),
        )
        monkeypatch.setattr(module, 'require_resumable', lambda _, *args: read.append(('resumable', *args)))
        monkeypatch.setattr(module, 'trusted_path', lambda path: f'trusted:{path}')
        monkeypatch.setattr(module, 'process_rank', lambda: rank)
        cfg = Config(dict(work_dir='w', **cfg))
        caplog.clear()
        with caplog.at_level('INFO', 'stt_mm.train'):
            iteration = module.choose_start(cfg, resume, trust)
        assert iteration == (3 if cfg.get('resume') and latest is None else None)
        assert cfg.get('randomness') == (dict(seed=7) if cfg.get('resume') else None)
        return cfg.get('resume'), cfg.load_from, read, [record.message for record in caplog.records]

    return choose


def test_a_new_training_reads_once_what_it_starts_from(start):
    assert start(None) == (None, None, [], [])
    assert start(None, load_from='a.pth') == (None, 'a.pth', [('a.pth', dict(trust=False))], [])
    assert start(None, True, load_from='a.pth') == (None, 'trusted:a.pth', [('a.pth', dict(trust=True))], [])
    # MMEngine's own reader does not know the format.
    read = [('a.safetensors', dict(trust=False))]
    assert start(None, False, load_from='a.safetensors') == (None, 'trusted:a.safetensors', read, [])


@pytest.mark.parametrize('trust', [False, True])
def test_a_file_to_resume_from_is_read_and_checked(start, trust):
    name = 'trusted:iter_3.pth' if trust else 'iter_3.pth'
    for cfg, scheduled in (
        (dict(load_from='a.pth'), False),
        (dict(resume=True, load_from='a.pth'), False),
        (dict(param_scheduler=dict(type='x')), True),
        (dict(param_scheduler=[]), False),
    ):
        read = [('iter_3.pth', dict(trust=trust)), ('resumable', Path('iter_3.pth'), scheduled)]
        assert start('iter_3.pth', trust, **cfg) == (True, name, read, [])
    # As a config may ask for it.
    assert start(None, trust, resume=True, load_from='iter_3.pth', param_scheduler=[1]) == (
        True,
        name,
        [read[0], (*read[1][:2], True)],
        [],
    )


@pytest.mark.parametrize(('resume', 'cfg'), [('auto', {}), (None, dict(resume=True)), ('auto', dict(resume=True))])
def test_the_newest_checkpoint_or_a_new_start(start, resume, cfg):
    latest = ('latest', 'w', dict(trust=False, scheduled=False))
    assert start(resume, latest='w/iter_3.pth', **cfg) == (
        True,
        'w/iter_3.pth',
        [latest, ('w/iter_3.pth', dict(trust=False)), ('resumable', Path('w/iter_3.pth'), False)],
        ['--resume auto: continuing from w/iter_3.pth.'],
    )
    assert start(resume, **cfg) == (
        False,
        None,
        [latest],
        ['--resume auto: no readable checkpoint in w, training starts from scratch.'],
    )
    assert start(resume, rank=1, **cfg)[3] == []


def test_without_a_checkpoint_the_weights_of_the_config_are_the_start(start):
    latest = ('latest', 'w', dict(trust=True, scheduled=True))
    assert start('auto', True, load_from='a.pth', param_scheduler=[1])[:3] == (
        False,
        'trusted:a.pth',
        [latest, ('a.pth', dict(trust=True))],
    )
    assert start('auto', True, latest='w/iter_3.pth', load_from='a.pth', param_scheduler=[1])[:3] == (
        True,
        'trusted:w/iter_3.pth',
        [latest, ('w/iter_3.pth', dict(trust=True)), ('resumable', Path('w/iter_3.pth'), True)],
    )


def test_a_training_that_goes_on_keeps_its_seed(caplog):
    module, cfg = tool('train'), Config(dict(randomness=dict(seed=None, deterministic=True)))
    module.keep_seed(cfg, 3, 'iter_4.pth', None)
    assert cfg.randomness == dict(seed=3, deterministic=True)
    module.keep_seed(cfg, 3, 'iter_4.pth', 3)
    module.keep_seed(cfg, None, 'iter_4.pth', 4)
    with pytest.raises(ValueError, match=r'iter_4\.pth is from a training with seed 9, not 3.*Leave out --seed'):
        module.keep_seed(cfg, 9, 'iter_4.pth', 3)
    assert (cfg.randomness.seed, caplog.text) == (3, '')
    with caplog.at_level('INFO', 'stt_mm.train'):
        module.keep_seed(cfg, 9, 'iter_4.pth', None)
    assert cfg.randomness.seed == 9
    assert 'The seed is that of iter_4.pth, 9, not the 3 of the config.' in caplog.text


@pytest.mark.parametrize('code', [None, 143])
def test_each_part_of_a_training_is_done_once_and_nothing_outlives_it(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    module, calls, alive = tool('train'), [], []

    class Runner:
        world_size = 3

        def register_hook(self, hook):
            calls.append(('hook', type(hook).__name__, hook.files))

        def train(self):
            calls.append('train')
            if code is not None:
                raise SystemExit(code)

    def build(cfg):
        runner = Runner()
        alive.append(weakref.ref(runner))
        return runner

    monkeypatch.setattr(module.RUNNERS, 'build', build)
    monkeypatch.setattr(module, 'prepare_runtime', lambda cfg, launcher: calls.append(('prepare', launcher)))
    monkeypatch.setattr(module, 'check_queue', lambda cfg, count: calls.append(('queue', count)))
    monkeypatch.setattr(module, 'check_validation', lambda cfg: calls.append('validation'))
    monkeypatch.setattr(module.RunLog, 'attach', lambda log, runner: calls.append('log'))
    monkeypatch.setattr(module, 'finish_runtime', lambda **options: calls.append((options, alive[0]())))
    config = str(write_config(tmp_path))
    if code is None:
        module.main([config])
    else:
        with pytest.raises(SystemExit, match=str(code)):
            module.main([config])
    assert calls == [
        'validation',
        ('prepare', 'none'),
        ('hook', 'ReplaceEarlier', []),
        'log',
        ('queue', 3),
        'train',
        ({} if code is None else dict(together=False), None),
    ]


@pytest.mark.parametrize('key', ['model', 'train_cfg', 'train_dataloader', 'optim_wrapper'])
def test_a_config_without_a_training_is_named(tmp_path, monkeypatch, capsys, key):
    module = tool('train')
    cfg = load_config(write_config(tmp_path))
    cfg.pop(key)
    monkeypatch.setattr(module, 'load_config', lambda *_: cfg)
    with pytest.raises(SystemExit, match='1'):
        module.main(['toy.py'])
    assert f'is no training config: it has no {key}.' in capsys.readouterr().err

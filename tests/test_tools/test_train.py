"""What the arguments of tools/train.py and tools/test.py do to a config."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
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


@pytest.mark.parametrize(('load_from', 'trust', 'refused'), [
    ('https://example.org/a.pth', False, True), ('https://example.org/a.pth', True, False), (None, False, False)])
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
    for name in ('iter_3.pth', 'best_score_iter_2.pth', 'other.pth'):
        (work_dir / name).touch()
    with pytest.raises(OSError, match='holds checkpoints of an earlier training, such as iter_3.pth'):
        module.files_in_the_way(cfg, False)
    found = module.files_in_the_way(cfg, True)
    assert found == [work_dir / name for name in ('best_score_iter_2.pth', 'iter_3.pth', 'last_checkpoint')]
    assert module.files_in_the_way(Config(dict(work_dir=str(work_dir), resume=True)), False) == []
    for start in (work_dir / 'iter_3.pth', f'trusted:{work_dir}/iter_3.pth'):
        with pytest.raises(OSError, match='iter_3.pth, which --overwrite would remove'):
            module.files_in_the_way(Config(dict(work_dir=str(work_dir), load_from=str(start))), True)
    cfg.load_from = str(work_dir / 'other.pth')
    assert module.files_in_the_way(cfg, True) == found

    other = list(found)
    module.RemoveEarlier(other).after_train_iter(SimpleNamespace(rank=1), 0)
    assert (other, found[0].exists()) == ([], True)
    module.RemoveEarlier(found).after_train_iter(SimpleNamespace(rank=0), 0)
    assert sorted(path.name for path in work_dir.iterdir()) == ['other.pth', 'toy.py']

"""The config that a run leaves in its folder, and what of a model it compiles."""

import pytest
import torch
from mmengine.config import Config
from test_engine.toy_project import write_config

from stt_mm.engine import Runner


@pytest.fixture
def runner(tmp_path):
    """One that is not built, of a config that was read from another folder."""
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'work').mkdir()
    runner = object.__new__(Runner)
    runner.cfg = Config.fromfile(write_config(tmp_path / 'configs'))
    runner._work_dir, runner._timestamp = str(tmp_path / 'work'), 'now'
    return runner


def seed_of(path):
    return Config.fromfile(path).randomness.seed


def test_that_of_an_earlier_run_stays_until_it_is_replaced(runner, tmp_path):
    target = tmp_path / 'work' / 'toy.py'
    runner.dump_config()
    assert seed_of(target) == 3
    runner.cfg.randomness.seed = 4
    runner.dump_config()
    assert seed_of(target) == 3
    runner.write_config()
    assert seed_of(target) == 4
    assert seed_of(tmp_path / 'configs' / 'toy.py') == 3


def test_the_one_that_was_read_is_not_written_onto(runner, tmp_path):
    runner._work_dir = str(tmp_path / 'configs')
    runner.cfg.randomness.seed = 4
    before = (tmp_path / 'configs' / 'toy.py').read_bytes()
    runner.dump_config()
    runner.write_config()
    assert (tmp_path / 'configs' / 'toy.py').read_bytes() == before


def test_one_that_is_gone_meanwhile_is_written(runner, tmp_path):
    runner.write_config()
    assert seed_of(tmp_path / 'work' / 'toy.py') == 3


def test_one_without_a_file_is_named_by_the_time(runner, tmp_path):
    runner.cfg = Config(dict(randomness=dict(seed=5)))
    runner.dump_config()
    runner.write_config()
    assert seed_of(tmp_path / 'work' / 'now.py') == 5


def test_a_model_without_a_method_for_its_loss_is_compiled_too(tmp_path, monkeypatch):
    cfg = Config.fromfile(write_config(tmp_path, "train_cfg['max_iters'] = 2\n"))
    cfg.update(work_dir=str(tmp_path / 'work'), compile=dict(mode='max-autotune'))
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda function, **options: compiled.append((function, options)) or function)
    runner = Runner.from_cfg(cfg)
    forward = runner.model.forward
    runner.train()
    assert compiled == [(forward, dict(mode='max-autotune'))]

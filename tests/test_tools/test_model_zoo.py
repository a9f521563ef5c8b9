"""The page of the model zoo is that of the files, and a metafile that does not fit them is refused."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from test_tools.test_command_line import error_of, tool

from stt_mm.utils.checkpoint import existing

ROOT = Path(__file__).parents[2]
METAFILE = ROOT / 'demo' / 'metafile.yml'


@pytest.fixture
def zoo():
    return tool('model_zoo')


def test_the_page_is_that_of_the_files(zoo):
    assert zoo.PAGE.read_text(encoding='utf-8') == zoo.page(zoo.read_models(METAFILE))


def test_every_published_file_is_in_the_zoo(zoo):
    published = {
        path.name for path in (ROOT / 'demo').iterdir() if re.search(r'-[0-9a-f]{8}\.(pth|safetensors)$', path.name)
    }
    named = {Path(model['Weights']).name for model in zoo.read_models(METAFILE)}
    assert named == published


def test_the_log_is_of_that_training(zoo):
    for model in zoo.read_models(METAFILE):
        lines = (ROOT / model['Metadata']['Log']).read_text(encoding='utf-8').splitlines()
        assert json.loads(lines[-1])['iter'] == model['Metadata']['Iterations']
        words = shlex.split(model['Metadata']['Command'])
        args = tool('train').parse_args(words[words.index('tools/train.py') + 1 :])
        assert args.config == model['Config']
        assert args.seed == model['Metadata']['Seed']
        assert args.cfg_options['train_cfg.max_iters'] == model['Metadata']['Iterations']
        for result in model['Results']:
            named = tool('test').parse_args(shlex.split(result['Command'])[2:]).checkpoint
            assert existing(named).resolve() == ROOT / model['Weights']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda model: model.pop('Results'), 'expected the fields Name, Config, Weights, Metadata, Results'),
        (lambda model: model['Metadata'].update(Seed='zero'), "Seed is 'zero', expected int"),
        (lambda model: model.update(Weights='demo/none-00000000.pth'), 'demo/none-00000000.pth does not exist'),
        (lambda model: model['Results'][0].update(Metrics={}), 'Metrics is {}, expected dict'),
    ],
)
def test_what_does_not_fit_is_refused(zoo, tmp_path, capfd, change, message):
    text = yaml.safe_load(METAFILE.read_text(encoding='utf-8'))
    change(text['Models'][0])
    path = tmp_path / 'metafile.yml'
    path.write_text(yaml.safe_dump(text), encoding='utf-8')
    assert message in error_of(capfd, 'model_zoo', '--metafile', path)


def test_what_is_no_metafile_is_refused(zoo, tmp_path, capfd):
    path = tmp_path / 'metafile.yml'
    for text in ('[', 'Model: []\n'):
        path.write_text(text, encoding='utf-8')
        assert 'cannot be read as a metafile' in error_of(capfd, 'model_zoo', '--metafile', path)

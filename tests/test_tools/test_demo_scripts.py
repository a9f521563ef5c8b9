"""two_stages.sh and liir.sh without their trainings, which other tests have at a tiny size."""

import re
import subprocess
from pathlib import Path

import pytest

from stt_mm.engine import load_config
from stt_mm.engine.cli import option_value

TOOLS = Path(__file__).parents[2] / 'tools'
# How each script names the work directory and the config of a training, and the trainings in their order.
TRAININGS = {
    'two_stages': (r'tools/train\.py (?P<config>\S+) --work-dir "\$work/(?P<folder>\w+)"', ['stage1', 'stage2']),
    'liir': (r'(?m)^train (?P<folder>\w+) (?P<config>\S+)', ['mast', 'warmup', 'liir']),
}


@pytest.mark.parametrize('name', TRAININGS)
def test_the_checkpoints_it_asks_for_are_those_that_training_writes(name):
    text = (TOOLS / f'{name}.sh').read_text(encoding='utf-8')
    pattern, folders = TRAININGS[name]
    trained = {found['folder']: found['config'] for found in re.finditer(pattern, text)}
    assert list(trained) == folders
    written = {
        f'{folder}/iter_{load_config(TOOLS.parent / config).train_cfg.max_iters}.pth'
        for folder, config in trained.items()
    }
    assert set(re.findall(r'\$work/(\w+/iter_\d+\.pth)', text)) == written
    for path in re.findall(r'(?:configs|tools|demo)/[\w/]+(?:\.\w+)?', text):
        assert (TOOLS.parent / path).exists() or path == f'tools/{name}', path


@pytest.mark.parametrize('name', TRAININGS)
def test_help_needs_no_installation(name):
    done = subprocess.run(
        ['bash', str(TOOLS / f'{name}.sh'), '--help'], text=True, capture_output=True, env=dict(PATH='/usr/bin:/bin')
    )
    assert done.returncode == 0
    assert done.stdout.startswith(f'usage: bash tools/{name}.sh [WORK_DIR]')


@pytest.mark.parametrize('arguments', [['--batch-size', '4'], ['-x'], ['a', 'b'], ['a', '--help']])
@pytest.mark.parametrize('name', TRAININGS)
def test_what_is_no_folder_starts_nothing(name, arguments, tmp_path):
    done = subprocess.run(
        ['bash', str(TOOLS / f'{name}.sh'), *arguments],
        text=True,
        capture_output=True,
        env=dict(PATH='/usr/bin:/bin'),
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == (
        f'error: expected one folder at most, got: {" ".join(arguments)}. usage: bash tools/{name}.sh [WORK_DIR]\n'
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('work', ['/tmp/plain', '/tmp/a,b', "/tmp/it's, (c", '/tmp/say "a", [b'])
def test_a_path_in_an_option_is_text(work):
    text = (TOOLS / 'liir.sh').read_text(encoding='utf-8')
    lines = re.search(r'(?ms)^quote=.*?^train .*?$', text)[0]
    done = subprocess.run(
        ['bash', '-euc', f'train() {{ printf %s "$3"; }}\nwork="$1"\n{lines}', 'bash', work],
        text=True,
        capture_output=True,
        check=True,
    )
    key, _, value = done.stdout.partition('=')
    assert key == 'model.backbone.init_cfg.checkpoint'
    assert option_value(value) == f'{work}/warmup/iter_100.pth'

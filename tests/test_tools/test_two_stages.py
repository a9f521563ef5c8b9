"""tools/two_stages.sh without its trainings; test_end_to_end_pretrain.py has its three commands at a tiny size."""

import re
import subprocess
from pathlib import Path

from stt_mm.engine import load_config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'tools' / 'two_stages.sh'


def test_the_checkpoints_it_asks_for_are_those_that_training_writes():
    text = SCRIPT.read_text(encoding='utf-8')
    trained = dict(re.findall(r'tools/train\.py (\S+) --work-dir "\$work/(\w+)"', text))
    assert list(trained.values()) == ['stage1', 'stage2']
    for config, folder in trained.items():
        assert f'$work/{folder}/iter_{load_config(ROOT / config).train_cfg.max_iters}.pth' in text
    for name in re.findall(r'(?:configs|tools|demo)/[\w/]+(?:\.py)?', text):
        assert (ROOT / name).exists() or name == 'tools/two_stages', name


def test_help_needs_no_installation():
    done = subprocess.run(
        ['bash', str(SCRIPT), '--help'], text=True, capture_output=True, env=dict(PATH='/usr/bin:/bin')
    )
    assert done.returncode == 0
    assert done.stdout.startswith('usage: bash tools/two_stages.sh [WORK_DIR]')

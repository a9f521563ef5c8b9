"""The tables beside the configs and docs/reproduction.md: every command works, and quotes what the configs quote."""

import importlib.util
import re
import shlex
from pathlib import Path
from string import Template

import pytest
import torch
from config_pages import pages
from mmengine.config import Config
from mmengine.registry import init_default_scope

from stt_mm.engine import load_config
from stt_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'reproduction.md').read_text(encoding='utf-8')
TABLES = '\n'.join(pages().values())
HEADS = [
    [cell.strip() for cell in line.strip('|').split('|')] for line in TABLES.splitlines() if line.startswith('| row ')
]
ROWS = [
    dict(zip(HEADS[0], (cell.strip() for cell in line.strip('|').split('|')), strict=True))
    for line in TABLES.splitlines()
    if re.match(r'\| t\d', line)
]
# What a cell may hold: scores, or that there are none.
SCORES = re.compile(r'\d+\.\d( \(\d+\.\d / \d+\.\d\)| / \d+\.\d)?|none')


def ids(row):
    return row['row']


def code(cell):
    match = re.fullmatch(r'`([^`]+)`', cell)
    return match and match.group(1)


def trainings(row):
    """The configs of a row in the order in which they are trained; none for weights of others."""
    assert re.fullmatch(r'none|`[^`]+`(, then `[^`]+`)*', row['training'])
    return re.findall(r'`([^`]+)`', row['training'])


def last_checkpoint(config):
    return f'work_dirs/{Path(config).stem}/iter_{Config.fromfile(ROOT / config).train_cfg.max_iters}.pth'


def load_tool(name):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def commands(script):
    """Arguments of the page's calls of a script, with its variables filled in."""
    values = {}
    for name, value in re.findall(r'export (\w+)=(\S+)', PAGE):
        values[name] = Template(value).substitute(values)
    text = '\n'.join(re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)).replace('\\\n', ' ')
    return [
        shlex.split(Template(line).substitute(values).split(script)[1]) for line in text.splitlines() if script in line
    ]


def test_there_are_rows_of_every_table_of_the_paper():
    assert all(head == HEADS[0] for head in HEADS)
    names = [row['row'] for row in ROWS]
    assert len(set(names)) == len(names) >= 55
    assert {name[:2] for name in names} == {'t1', 't2', 't3', 't4'}


@pytest.mark.parametrize('row', ROWS, ids=ids)
def test_the_command_evaluates_what_the_row_trains(row):
    program, script, *rest = shlex.split(code(row['evaluation']))
    assert (program, script) == ('python', 'tools/test.py')
    args = load_tool('test').parse_args(rest)
    assert (ROOT / args.config).is_file()
    assert args.work_dir == f'results/{row["row"]}'
    evaluation = load_config(ROOT / args.config, args.cfg_options)
    if row['training'] == 'none':
        assert not args.checkpoint.startswith('work_dirs')
        assert (args.checkpoint == 'none') is (evaluation.model.type == 'LateFusion')
    else:
        assert args.checkpoint == last_checkpoint(trainings(row)[-1])
        training = Config.fromfile(ROOT / trainings(row)[-1])
        assert training.model.backbone.depth == evaluation.model.backbone.depth
        # A config of stage 2 says itself how it is evaluated, which is as the row says for DAVIS.
        if 'propagator' in training.model and row['row'][:2] != 't4':
            assert training.model.propagator.protocol.name == evaluation.model.propagator.protocol.name


@pytest.mark.parametrize('row', ROWS, ids=ids)
def test_a_training_that_goes_on_from_another_comes_after_it(row, monkeypatch):
    monkeypatch.delenv('STT_TEMPORAL_R50', raising=False)
    before = None
    for config in trainings(row):
        start = (Config.fromfile(ROOT / config).model.backbone.get('init_cfg') or {}).get('checkpoint', '')
        assert (start if start.startswith('work_dirs') else None) == before
        before = last_checkpoint(config)


def test_fisher_information_is_estimated_where_the_training_starts(monkeypatch):
    for name in ('STT_FISHER_R50', 'STT_FISHER_TEMPORAL_R50', 'STT_TEMPORAL_R50'):
        monkeypatch.delenv(name, raising=False)
    estimated = {
        args.out: args for args in map(load_tool('estimate_fisher').parse_args, commands('tools/estimate_fisher.py'))
    }
    trained = [command[0] for command in commands('tools/dist_train.sh') if command[0].endswith('ewc.py')]
    assert len(trained) == len(estimated) == 2
    for name, args in zip(trained, estimated.values(), strict=True):
        assert args.checkpoint == last_checkpoint(args.config)
        if 'temporal_then_spatial' not in name:
            monkeypatch.setenv('STT_STAGE1_R50', args.checkpoint)
        model = Config.fromfile(ROOT / name).model
        assert model.penalty.checkpoint == args.out
        assert model.backbone.init_cfg.checkpoint == args.checkpoint


@pytest.mark.slow
def test_lwf_reads_the_checkpoint_of_detco(tmp_path, monkeypatch):
    """By the options of the page, with few keys in each queue."""
    monkeypatch.setenv('STT_STAGE1_FULL_R50', str(tmp_path / 'detco.pth'))
    init_default_scope('stt_mm')
    detco = MODELS.build(load_config(ROOT / 'configs/pretrain/detco_r50_in1k.py', {'model.queue_len': 4}).model)
    torch.save(dict(state_dict=detco.state_dict()), tmp_path / 'detco.pth')
    ((config, _, *options),) = (command for command in commands('tools/dist_train.sh') if 'lwf' in command[0])
    args = load_tool('train').parse_args([str(ROOT / config), *options])
    penalty = MODELS.build(load_config(args.config, args.cfg_options).model.penalty)
    penalty.init_weights()
    assert torch.equal(penalty.old.queue, detco.queues['global_res5'].queue)
    assert torch.equal(penalty.old.neck.mlp[2].weight, detco.neck.global_mlps[3].mlp[2].weight)
    assert torch.equal(penalty.reference['conv1.weight'], detco.backbone.conv1.weight)


@pytest.mark.parametrize('row', ROWS, ids=ids)
def test_numbers_are_those_that_the_configs_quote(row):
    for column in ('paper', 'released code'):
        assert SCORES.fullmatch(row[column]), row[column]
    assert row['ours'] == 'not run' or SCORES.fullmatch(row['ours'])
    name = trainings(row)[-1] if trainings(row) else shlex.split(code(row['evaluation']))[2]
    head = '\n'.join(line for line in (ROOT / name).read_text(encoding='utf-8').splitlines() if line.startswith('#'))
    quoted = re.findall(r'J&F (\d+\.\d)', head)
    if quoted and row['row'][:2] in ('t1', 't2'):
        assert row['paper'] in quoted, f'{name} quotes {quoted}'
    if match := re.fullmatch(r'(\S+) \((\S+) / (\S+)\)', row['paper']):
        # J&F is the mean of J and F; both are rounded, and MoCo's and CRW's own rows are off by a digit more.
        mean, region, boundary = map(float, match.groups())
        assert mean == pytest.approx((region + boundary) / 2, abs=0.11)


def test_the_page_does_not_claim_runs_that_nobody_made():
    untouched = all(row['ours'] == 'not run' for row in ROWS)
    assert ('Nobody has run these trainings with this code on the real data yet' in PAGE) is untouched


def test_every_config_that_quotes_these_tables_has_a_row():
    trained = {Path(trainings(row)[-1]).stem for row in ROWS if trainings(row)}
    paths = [path for path in (ROOT / 'configs').rglob('*.py') if path.parent.name not in ('eval', 'pretrain')]
    quoting = {
        path.stem
        for path in paths
        if re.match(r'# .*[Pp]aper Table \d\b.*J&F', path.read_text(encoding='utf-8').splitlines()[0])
    }
    assert len(quoting) >= 10
    assert quoting <= trained


def test_variables_are_those_of_the_configs():
    configs = '\n'.join(path.read_text(encoding='utf-8') for path in (ROOT / 'configs').rglob('*.py'))
    names = re.findall(r'export (\w+)=', PAGE)
    assert len(names) == 3
    assert all(f'{{{{${name}:' in configs for name in names)

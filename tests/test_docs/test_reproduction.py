"""The tables beside the configs and docs/reproduction.md: every command works, and quotes what the configs quote."""

import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path
from string import Template

import pytest
import torch
from config_pages import pages, parsed
from mmengine.config import Config
from mmengine.registry import init_default_scope
from paper_tables import LIIR, LIIR_SCORES, STT

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
    if re.match(r'\| (t\d|liir-t)', line)
]
# What a part of a cell may hold: scores, or that there are none. Recalls stand behind what they belong to.
PAIR = r'\d+\.\d(, \d+\.\d)? / \d+\.\d(, \d+\.\d)?'
SCORES = re.compile(rf'\d+\.\d( \({PAIR}( / \d+\.\d)?\)| / \d+\.\d)?|none')
# Rows beside them: of an earlier version of the paper, of the released table of weights, of other protocols.
BESIDE = re.compile(
    r'the same|earlier version|not in the table|DetCo|as the released|^\.\.\. \+ EWC$|res3 at stride 2', re.IGNORECASE
)
RUNNABLE = [row for row in ROWS if row['evaluation'] != 'none']


def ids(row):
    return row['row']


def quoted(cell):
    """What stands in a cell: none, or `one`, then `another`."""
    assert re.fullmatch(r'none|`[^`]+`(, then `[^`]+`)*', cell), cell
    return re.findall(r'`([^`]+)`', cell)


def trainings(row):
    """The trainings of a row in their order, as ``tools/train.py`` reads them; none for weights of others."""
    return [load_tool('train').parse_args(shlex.split(text)) for text in quoted(row['training'])]


def evaluations(row):
    """The evaluations of a row, as ``tools/test.py`` reads them."""
    calls = [shlex.split(text) for text in quoted(row['evaluation'])]
    assert all(call[:2] == ['python', 'tools/test.py'] for call in calls)
    return [load_tool('test').parse_args(call[2:]) for call in calls]


def written(training):
    """The last checkpoint of a training."""
    return last_checkpoint(training.config, training.work_dir)


@cache
def last_checkpoint(config, work_dir=None):
    work_dir = work_dir or f'work_dirs/{Path(config).stem}'
    return f'{work_dir}/iter_{Config.fromfile(ROOT / config).train_cfg.max_iters}.pth'


@cache
def load_tool(name):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    tool = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / 'tools' / 'analysis'))
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


def test_rows_have_one_head_and_names_of_their_own():
    assert all(head == HEADS[0] for head in HEADS)
    names = [row['row'] for row in ROWS]
    assert len(set(names)) == len(names)


def test_every_row_of_the_stt_paper_is_there_with_its_scores():
    published = {
        f'{table}-{name}': score
        for table, rows in STT.items()
        for name, _, score in (row.partition(' ') for row in rows.split(', '))
    }
    assert len(published) == 4 + 8 + 36 + 2 * 13 - 2
    rows = {row['row']: row for row in ROWS if not row['row'].startswith('liir')}
    assert {name: rows[name]['paper'] if name in rows else None for name in published} == published
    assert not [name for name in rows.keys() - published.keys() if not BESIDE.search(rows[name]['in the paper'])]


def test_every_row_of_the_liir_paper_is_there_with_its_scores():
    expected = {f'liir-{table}-{key}': None for table, keys in LIIR.items() for key in keys.split()}
    assert len(expected) == 17 + 8 + 11 + 5 + 4 + 4 + 3 + 4 + 13 + 5
    assert [row['row'] for row in ROWS if row['row'].startswith('liir')] == list(expected)
    scores = {row['row']: row['paper'] for row in ROWS}
    for table, published in LIIR_SCORES.items():
        for key, score in zip(LIIR[table].split(), published.split(), strict=True):
            assert scores[f'liir-{table}-{key}'].split(' (')[0].replace('; ', ';') == score


def test_a_row_that_cannot_be_run_says_why():
    for row in ROWS:
        absent = row['evaluation'] == 'none'
        assert absent is (row['ours'] == 'none') is row['differences that matter'].startswith('not here: '), row['row']
        assert not absent or row['training'] == 'none'


@pytest.mark.parametrize('row', RUNNABLE, ids=ids)
def test_the_commands_evaluate_what_the_row_trains(row):
    calls = evaluations(row)
    parts = {row[column].count('; ') + 1 for column in ('paper', 'ours') if row[column] not in ('none', 'not run')}
    assert parts <= {len(calls)}
    for args in calls:
        assert (ROOT / args.config).is_file()
        assert args.work_dir == f'results/{row["row"]}'
        evaluation = load_config(ROOT / args.config, args.cfg_options)
        if row['training'] == 'none':
            assert not args.checkpoint.startswith('work_dirs')
            assert (args.checkpoint == 'none') is (evaluation.model.type == 'LateFusion')
            continue
        last = trainings(row)[-1]
        assert args.checkpoint == written(last)
        training = load_config(ROOT / last.config, last.cfg_options)
        assert training.model.backbone.depth == evaluation.model.backbone.depth
        # A config of stage 2 says itself how it is evaluated, which is as the row says for DAVIS.
        if 'propagator' in training.model and evaluation.test_dataloader.dataset.type == 'DAVIS':
            assert training.model.propagator.protocol.name == evaluation.model.propagator.protocol.name


@pytest.mark.parametrize('row', ROWS, ids=ids)
def test_a_training_that_goes_on_from_another_comes_after_it(row, monkeypatch):
    for name in ('STT_TEMPORAL_R50', 'STT_LIIR_WARMUP_R18'):
        monkeypatch.delenv(name, raising=False)
    before = None
    for training in trainings(row):
        model = load_config(ROOT / training.config, training.cfg_options).model
        start = (model.backbone.get('init_cfg') or {}).get('checkpoint', '')
        assert (start if start.startswith('work_dirs') else None) == before
        before = written(training)


def test_a_folder_belongs_to_one_training():
    """Rows share a training, and two trainings share no folder."""
    folders = {}
    for training in (training for row in ROWS for training in trainings(row)):
        found = (training.config, repr(training.cfg_options))
        assert folders.setdefault(written(training), found) == found
        assert (training.work_dir is None) is (training.cfg_options is None)


def test_the_parts_of_a_row_of_the_liir_paper_build():
    """With their options; the network that is evaluated is that which both stages trained."""
    init_default_scope('stt_mm')

    @cache
    def weights(name, *options):
        cfg = load_config(ROOT / name, parsed(' '.join(options)))
        cfg.model.backbone.init_cfg = None
        network = MODELS.build(cfg.model).backbone.state_dict()
        return {key: value.shape for key, value in network.items()}

    rows = [row for row in ROWS if row['row'].startswith('liir') and row['training'] != 'none']
    assert len(rows) == 2 + 2 + 1 + 5 + 4 + 4 + 3 + 4 + 13 + 5
    for row in rows:
        found = []
        for text in quoted(row['training']) + quoted(row['evaluation']):
            words, _, options = text.partition(' --cfg-options ')
            found.append(weights(re.search(r'configs/\S+', words).group(), *options.split()))
        assert all(one == found[0] for one in found), row['row']


def test_results_are_collected_for_every_command():
    """The tool that fills the tables reads each row and its commands as they are run, and knows the benchmark."""
    tool = load_tool('analysis/collect_results')
    assert all(tool.ROW.match(f'| {row["row"]} |') for row in ROWS)
    for row in RUNNABLE:
        calls = [(args.config, args.cfg_options or {}) for args in evaluations(row)]
        assert tool.evaluations(row['evaluation']) == calls
        kinds = [load_config(ROOT / config, options).test_evaluator.type for config, options in calls]
        assert len(set(kinds)) == len(kinds), 'two results of a row have one file'
        assert set(kinds) <= tool.BENCHMARKS.keys()


def test_the_page_trains_a_row_as_its_table_does():
    (row,) = (row for row in ROWS if row['row'] == 'liir-t5b-none')
    shown = [
        load_tool('train').parse_args([config, *rest])
        for config, _, *rest in commands('tools/dist_train.sh')
        if 'liir' in config
    ]
    assert [vars(args) for args in shown] == [vars(args) for args in trainings(row)]


def test_every_table_has_a_line_on_the_page():
    named = {name.removeprefix('liir-').rstrip('-') for name in re.findall(r'`(liir-t\w+-)`', PAGE)}
    assert named == set(LIIR)


def test_rows_of_the_liir_paper_differ_in_what_they_say():
    """No two rows of a table train and evaluate the same."""
    for table in LIIR:
        rows = [row for row in RUNNABLE if row['row'].startswith(f'liir-{table}-')]
        same = [(row['training'], re.sub(rf' --work-dir results/{row["row"]}', '', row['evaluation'])) for row in rows]
        assert len(set(same)) == len(same), table


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


# Tables of the papers where the mean of J and F is not the J&F beside them.
UNEVEN = {'t3-colorization', 'liir-t1-colorization', 'liir-t1-timecycle'}


@pytest.mark.parametrize('row', ROWS, ids=ids)
def test_numbers_are_those_that_the_configs_quote(row):
    for column in ('paper', 'released code'):
        assert all(SCORES.fullmatch(part) for part in row[column].split('; ')), row[column]
    assert row['ours'] == 'not run' or all(SCORES.fullmatch(part) for part in row['ours'].split('; '))
    if row['row'][:2] in ('t1', 't2') or row['row'] in ('liir-t1-liir', 'liir-t1-mast'):
        name = trainings(row)[-1].config if trainings(row) else evaluations(row)[0].config
        text = (ROOT / name).read_text(encoding='utf-8')
        head = '\n'.join(line for line in text.splitlines() if line.startswith('#'))
        scores = re.findall(r'J&F (\d+\.\d)', head)
        assert not scores or row['paper'].split(' ')[0] in scores, f'{name} quotes {scores}'
    values = [float(value) for value in re.findall(r'\d+\.\d', row['paper'])]
    if row['row'].startswith('liir-t2'):
        assert values[0] == pytest.approx(sum(values[1:]) / 4, abs=0.06)
    elif '(' in row['paper'] and row['row'] not in UNEVEN:
        # J&F is the mean of J and F; both are rounded, and MoCo's and CRW's own rows are off by a digit more.
        region, boundary = (float(part.split(',')[0]) for part in row['paper'].split('(')[1].strip(')').split(' / '))
        assert values[0] == pytest.approx((region + boundary) / 2, abs=0.11)


def test_the_page_does_not_claim_runs_that_nobody_made():
    untouched = all(row['ours'] in ('not run', 'none') for row in ROWS)
    assert ('Nobody has run these trainings with this code on the real data yet' in PAGE) is untouched


def test_every_config_that_quotes_these_tables_has_a_row():
    trained = {Path(trainings(row)[-1].config).stem for row in ROWS if trainings(row)}
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

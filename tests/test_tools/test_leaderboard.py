"""The leaderboard has a table for each protocol, is what its tool makes, and never compares across two."""

import importlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stt_mm.engine import load_config
from stt_mm.errors import InputError
from stt_mm.protocols import PRESETS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def collect(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis'))
    return importlib.import_module('collect_results')


@pytest.fixture
def board(collect):
    return importlib.import_module('leaderboard')


def test_the_page_is_what_the_tool_makes(board):
    rows = board.read_rows()
    assert len(rows) > 150
    assert board.PAGE.read_text(encoding='utf-8') == board.page(rows)
    assert board.DATA.read_text(encoding='utf-8') == board.write_rows(rows)


def test_no_table_mixes_benchmarks_measures_or_protocols(board):
    rows, found = board.read_rows(), []
    for section in re.split(r'^## ', board.page(rows), flags=re.MULTILINE)[1:]:
        benchmark, *tables = re.split(r'^### ', section, flags=re.MULTILINE)
        for table in tables:
            title, *lines = table.strip().splitlines()
            cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[3:]]
            found.append((benchmark.strip(), title))
            scores = [float(re.match(r'[\d.]+', cell[3])[0]) for cell in cells]
            assert scores == sorted(scores, reverse=True)
            protocol, measure = title.replace('`', '').rsplit(': ', 1)
            own = [row for row in rows if row.table == (benchmark.strip(), measure, protocol)]
            assert sorted((row.system, row.network) for row in own) == sorted((cell[0], cell[1]) for cell in cells)
    assert len(found) == len(set(found)) == len({row.table for row in rows})
    assert [name for name, _ in found] == sorted([name for name, _ in found], key=[r.benchmark for r in rows].index)


def test_every_row_of_the_configs_has_the_protocol_of_its_table(board, collect):
    """Whatever "ours" will be is made by a command under the very protocol that the number was published under."""
    commands = {}
    for page in (ROOT / 'configs').glob('*/README.md'):
        columns = []
        for line in page.read_text(encoding='utf-8').splitlines():
            cells = [cell.strip() for cell in line.strip('|').split(' | ')]
            cells = [cell.strip(' |') for cell in cells]
            columns = cells if cells[0] == 'row' else columns
            if columns and len(cells) == len(columns):
                commands[cells[0]] = dict(zip(columns, cells, strict=True))
    named = [row for row in board.read_rows() if row.row]
    assert len(named) > 20
    for row in named:
        [(config, options)] = collect.evaluations(commands[row.row]['evaluation'])
        protocol = load_config(ROOT / config, options).model.propagator.protocol
        assert protocol['name'] in row.presets, row
        assert set(protocol) == {'name'}, row


def rows_of(board):
    base = board.Row('DAVIS-2017 val', 'J&F', 'stt_davis_s8', 'A', 'net', 'none', '70.0 (1 / 2)', 'a', '', 'yes', 'x')
    return base, base._replace(system='B', score='68.5', row=''), base._replace(system='C', protocol='crw_davis')


def test_a_row_refuses_to_be_compared_across_protocols(board):
    a, b, c = rows_of(board)
    assert board.difference(a, b) == 1.5
    for other, what in (
        (c, 'protocol'),
        (b._replace(measure='J'), 'measure'),
        (b._replace(benchmark='X'), 'benchmark'),
    ):
        with pytest.raises(board.Refused, match=f'are not comparable: the {what} of the one is'):
            board.difference(a, other)
    with pytest.raises(board.Refused, match='no published number'):
        board.difference(a, b._replace(score=''))
    assert board.compared([a, b, c], 'A', 'B net') == [
        'DAVIS-2017 val, J&F, stt_davis_s8: A net 70.0 (1 / 2), B net 68.5, +1.5'
    ]
    with pytest.raises(board.Refused, match='A net and C net are not comparable'):
        board.compared([a, b, c], 'A', 'C')
    with pytest.raises(InputError, match=r"no system 'D'. It has A, B, C."):
        board.compared([a, b, c], 'A', 'D')


def test_a_system_is_compared_with_itself_by_its_other_rows(board):
    a, b, c = rows_of(board)
    deep = a._replace(network='deep', score='71.0')
    line = 'DAVIS-2017 val, J&F, stt_davis_s8: A net 70.0 (1 / 2), A deep 71.0, -1.0'
    assert board.compared([a, b, c, deep], 'A', 'A') == [line]
    assert board.compared([a, b, c, deep], 'A net', 'A') == [line]
    with pytest.raises(board.Refused, match=r'A has one row in leaderboard.csv, .* Name two systems'):
        board.compared([a, b, c], 'A', 'A')


def test_ours_stands_beside_what_was_published(board):
    a, b, c = rows_of(board)
    lines = board.page([b, c, a._replace(ours='69.4 (1 / 2)')]).splitlines()
    assert '| A | net | none | 70.0 (1 / 2) | 69.4 (1 / 2), -0.6 | a | x |' in lines
    assert '| B | net | none | 68.5 |  |  | x |' in lines
    # Tables by their protocol, the best first.
    assert [line[2] for line in lines if line.startswith('| ') and ' | net | ' in line] == ['C', 'A', 'B']
    unchecked = board.page([a._replace(checked='no'), b._replace(score='', row='own')])
    assert '70.0 (1 / 2) † | not run | a |' in unchecked
    assert '| B | net | none |  | not run | own | x |' in unchecked


class Tables(HTMLParser):
    """Cells of all tables."""

    def __init__(self):
        super().__init__()
        self.tables, self.open = [], False

    def handle_starttag(self, tag, attrs):
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.tables[-1][-1].append('')
        self.open = tag in ('td', 'th') or self.open and tag in ('code', 'b')

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ('td', 'th')

    def handle_data(self, data):
        if self.open:
            self.tables[-1][-1][-1] += data


def test_the_page_in_html_has_the_same_tables(board):
    rows = [row._replace(system='<b>&') if row.system == 'STT' else row for row in board.read_rows()]
    text = board.html_page(rows)
    parser = Tables()
    parser.feed(text)
    assert len(parser.tables) == len({row.table for row in rows})
    assert sum(len(table) - 1 for table in parser.tables) == len(rows)
    assert all(cells == list(board.HEAD) for table in parser.tables for cells in table[:1])
    assert any(cells[0] == '<b>&' for table in parser.tables for cells in table)
    assert '<script' not in text
    assert '<code>stt_davis_s8</code>' in text


def write(collect, folder, preset, scores, videos=30, benchmark='DAVISMetric', **changes):
    record = json.loads(json.dumps(PRESETS[preset].record())) | dict(feature_stage='res4') | changes
    folder.mkdir(parents=True, exist_ok=True)
    content = {'protocol': record, 'max_frames': None, 'num_videos': videos, 'global': scores}
    (folder / collect.BENCHMARKS[benchmark].file).write_text(json.dumps(content))


DAVIS = {'J&F-Mean': 0.6931, 'J-Mean': 0.667, 'F-Mean': 0.7192}


def test_results_fill_the_column_ours_only_under_the_protocol_of_the_table(
    collect, board, tmp_path, monkeypatch, capsys
):
    a, b, c = rows_of(board)
    rows = [a, b, c._replace(row='c'), a._replace(protocol='RVM', row='d'), a._replace(row='e'), a._replace(row='f')]
    for name in ('LEADERBOARD', 'LEADERBOARD_PAGE'):
        monkeypatch.setattr(collect, name, tmp_path / name.lower())
    (tmp_path / 'leaderboard').write_text(board.write_rows(rows))
    monkeypatch.setattr(collect, 'PAGES', [tmp_path / 'page.md'])
    (tmp_path / 'page.md').write_text('# A page without rows\n')
    results = tmp_path / 'results'
    write(collect, results / 'a', 'stt_davis_s8', DAVIS)
    write(collect, results / 'c', 'stt_davis_s8', DAVIS)
    write(collect, results / 'd', 'stt_davis_s8', DAVIS)
    write(collect, results / 'e', 'stt_davis_s8', DAVIS, topk=5, changed=['topk'])
    write(collect, results / 'f', 'stt_davis_s8', DAVIS, videos=29)
    with pytest.raises(SystemExit, match='True'):
        collect.main([str(results), '--write'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'a in leaderboard: 69.3 (66.7 / 71.9)'
    for line, reason in zip(
        lines[1:],
        (
            'c in leaderboard: .* was made under stt_davis_s8, but the table is of crw_davis; the two are not compared',
            'd in leaderboard: DAVIS-2017 val, J&F under RVM cannot be run here',
            'e in leaderboard: .* was made under another protocol than the preset stt_davis_s8 has: .*topk is 5',
            'f in leaderboard: .* is of 29 videos, the benchmark has 30',
        ),
        strict=True,
    ):
        assert re.match(f'refused: {reason}', line), line
    found = board.read_rows(tmp_path / 'leaderboard')
    assert [row.ours for row in found] == ['69.3 (66.7 / 71.9)', '', '', '', '', '']
    assert (tmp_path / 'leaderboard_page').read_text() == board.page(found)


def test_every_table_that_can_be_run_is_filled(collect, board, tmp_path):
    """Each kind of cell, from the result file of its metric."""
    pck = {f'{form}/PCK@{a}': value for form, value in (('STT', 63.1), ('CRW', 57.6)) for a in (0.1, 0.2)}
    kinds = {
        'YouTube-VOS 2018 val': ('liir_ytv', {'Overall': 0.693}, 474, 'YouTubeVOSMetric', '69.3'),
        'VIP val': ('stt_vip_s8', {'mIoU': 0.41}, 50, 'VIPMetric', '41.0'),
        'JHMDB split 1': ('crw_jhmdb', pck, 268, 'JHMDBMetric', '57.6 / 57.6'),
        'BADJA': ('stt_badja_s8', {'PCK@0.2': 53.5}, 7, 'BADJAMetric', '53.5'),
        'MOSE val': ('dinov3_mose_s', DAVIS, 311, 'MOSE', '69.3 (66.7 / 71.9)'),
    }
    for (benchmark, measure), (metric, mode, _) in collect.SHOWN.items():
        if benchmark in kinds:
            preset, scores, videos, name, cell = kinds[benchmark]
            assert (name, mode) == (metric, None)
            row = rows_of(board)[0]._replace(benchmark=benchmark, measure=measure, protocol=preset, row=benchmark)
            write(collect, tmp_path / benchmark, preset, scores, videos, metric)
            assert collect.leaderboard_cell(tmp_path / benchmark, row) == cell
    row = rows_of(board)[0]._replace(benchmark='TAP-Vid DAVIS, queries strided', measure='AJ', protocol='stt_tapvid_s8')
    write(collect, tmp_path / 'tap', 'stt_tapvid_s8', dict(average_jaccard=0.3), 30, 'TAPVidMetric')
    with pytest.raises(collect.Refused, match='is of queries None, not strided'):
        collect.leaderboard_cell(tmp_path / 'tap', row)
    path = tmp_path / 'tap' / 'tap_vid_results.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(query_mode='strided')))
    assert collect.leaderboard_cell(tmp_path / 'tap', row) == '30.0'
    with pytest.raises(collect.Refused, match='is no complete result of VIPMetric'):
        collect.leaderboard_cell(tmp_path / 'tap', row._replace(benchmark='VIP val', measure='mIoU'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda text: text.replace('benchmark', 'bench', 1), 'must have the columns'),
        (lambda text: text + 'a,b\n', 'has not 11 cells'),
        (lambda text: text.replace('stt_davis_s8', ''), 'line 2: protocol is missing'),
        (lambda text: text.replace(',yes,', ',maybe,'), 'line 2: checked, which is yes or no is missing'),
        (lambda text: text.replace('70.0 (1 / 2),a', ','), 'neither a score nor a row'),
        (lambda text: text.replace('70.0', 'about 70'), 'A score begins with a number'),
    ],
)
def test_a_row_that_means_nothing_is_refused(board, tmp_path, change, message):
    text = board.write_rows(rows_of(board)[:1])
    (tmp_path / 'a.csv').write_text(text)
    assert board.read_rows(tmp_path / 'a.csv') == [rows_of(board)[0]]
    (tmp_path / 'a.csv').write_text(change(text))
    with pytest.raises(InputError, match=message):
        board.read_rows(tmp_path / 'a.csv')


def test_there_is_something_to_do(collect, capsys):
    with pytest.raises(SystemExit, match='2'):
        collect.parse_args([])
    assert 'there is nothing to do' in capsys.readouterr().err

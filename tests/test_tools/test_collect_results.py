"""Results find their rows, and only results that belong there."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = """# Title

| row | in the paper | evaluation | paper | ours | remarks |
| --- | --- | --- | --- | --- | --- |
| t1-1 | one | `configs/eval/davis_r18_s8.py` | 64.9 | not run | a |
| t1-2 | two | `configs/eval/davis_r18_s8.py` | 65.6 | not run | b |
| t3-fusion | fused | `configs/eval/davis_late_fusion.py` | 72.1 | not run | c |
| t4-vip | parts | `configs/eval/vip_r18_s8.py` | 41.0 | not run | d |
| t4-jhmdb | joints | `configs/eval/jhmdb_r18_s8.py` | 63.1 | not run | e |
| t4-crw | joints | `configs/eval/jhmdb_crw_r18.py` | 59.3 | not run | f |
| t4-r50 | parts | `configs/eval/vip_r18_s8.py --cfg-options model.propagator.protocol.color=rgb` | none | not run | g |
| liir-t1-liir | recalls | `configs/eval/davis_liir_r18.py` | 72.1 (69.7, 81.4 / 74.5, 85.9) | not run | h |
| liir-t2-liir | seen | `configs/eval/ytv_liir_r18.py` | 69.3 (67.9 / 69.7, 65.7 / 73.8) | not run | i |
| liir-t5d-neither | both | `{davis} --cfg-options {softmax}`, then `{vip}` | 69.8; 39.6 | not run | j |
| liir-t3-parts | AP | `configs/eval/vip_instance_r18_s8.py` | 12.6 | not run | k |
| liir-t2-stm | masks | none | 79.4 | none | as in `configs/eval/davis_color.py` |
""".format(
    davis='configs/eval/davis_liir_r18.py',
    vip='configs/eval/vip_liir_r18.py',
    softmax='model.propagator.protocol.vote=softmax',
)


@pytest.fixture
def tool(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis'))
    module = importlib.import_module('collect_results')
    monkeypatch.setattr(module, 'PAGES', [tmp_path / 'page.md'])
    for name in ('LEADERBOARD', 'LEADERBOARD_PAGE'):
        path = getattr(module, name)
        monkeypatch.setattr(module, name, tmp_path / path.name)
    (tmp_path / 'leaderboard.csv').write_text(','.join(module.Row._fields) + '\n')
    return module


def write(tool, folder, config, scores, videos, frames=None, options=None, **changes):
    """A result as the metric writes it; ``frames`` is its ``max_frames``, ``changes`` are of the protocol."""
    protocol, benchmark = tool.expected(ROOT / 'configs' / 'eval' / f'{config}.py', options)
    folder.mkdir(parents=True, exist_ok=True)
    content = dict(protocol=dict(protocol, **changes), max_frames=frames, metric='', num_videos=videos)
    (folder / benchmark.file).write_text(json.dumps({**content, 'global': scores}))


DAVIS = {'J&F-Mean': 0.6931, 'J-Mean': 0.667, 'F-Mean': 0.7192, 'J-Recall': 0.1}


def test_each_kind_of_result_fills_its_cell(tool, tmp_path):
    write(tool, tmp_path / 't1-2', 'davis_r18_s8', DAVIS, 30)
    write(tool, tmp_path / 't4-vip', 'vip_r18_s8', {'mIoU': 0.4096, 'mIoU-without-first-frame': 0.3}, 50)
    pck = {f'{form}/PCK@{a}': value for form, value in (('STT', 63.14), ('CRW', 57.62)) for a in (0.1, 0.2)}
    write(tool, tmp_path / 't4-jhmdb', 'jhmdb_r18_s8', pck, 268)
    write(tool, tmp_path / 't4-crw', 'jhmdb_crw_r18', pck, 268)
    page, filled, refused = tool.fill(PAGE, tmp_path)
    assert refused == []
    assert filled == ['t1-2: 69.3 (66.7 / 71.9)', 't4-vip: 41.0', 't4-jhmdb: 63.1 / 63.1', 't4-crw: 57.6 / 57.6']
    before, after = PAGE.splitlines(), page.splitlines()
    assert after[5] == '| t1-2 | two | `configs/eval/davis_r18_s8.py` | 65.6 | 69.3 (66.7 / 71.9) | b |'
    assert [number for number in range(len(before)) if before[number] != after[number]] == [5, 7, 8, 9]
    # Filling a filled page again changes nothing.
    assert tool.fill(page, tmp_path)[0] == page


def test_a_result_that_is_older_than_a_field_fills_its_cell(tool, tmp_path):
    write(tool, tmp_path / 't1-2', 'davis_r18_s8', DAVIS, 30)
    path = tmp_path / 't1-2' / 'davis_results.json'
    content = json.loads(path.read_text())
    for field in ('rounding', 'read_out', 'data_size'):
        del content['protocol'][field]
    path.write_text(json.dumps(content))
    assert tool.fill(PAGE, tmp_path)[1:] == (['t1-2: 69.3 (66.7 / 71.9)'], [])


def test_the_options_of_a_row_count(tool, tmp_path):
    options = {'model.propagator.protocol.color': 'rgb'}
    write(tool, tmp_path / 'with' / 't4-r50', 'vip_r18_s8', {'mIoU': 0.4222}, 50, options=options)
    assert tool.fill(PAGE, tmp_path / 'with')[1:] == (['t4-r50: 42.2'], [])
    write(tool, tmp_path / 'without' / 't4-r50', 'vip_r18_s8', {'mIoU': 0.4222}, 50)
    assert "color is 'lab', not 'rgb'" in tool.fill(PAGE, tmp_path / 'without')[2][0]


def test_the_scores_of_the_other_paper_have_their_forms(tool, tmp_path):
    """Recalls in its Table 1 alone, seen and unseen categories, AP, and two benchmarks in one cell."""
    write(tool, tmp_path / 'liir-t1-liir', 'davis_liir_r18', DAVIS | {'F-Recall': 0.2}, 30)
    groups = {'J-Seen': 0.1, 'F-Seen': 0.2, 'J-Unseen': 0.3, 'F-Unseen': 0.4}
    write(tool, tmp_path / 'liir-t2-liir', 'ytv_liir_r18', groups | {'Overall': 0.25}, 474)
    write(tool, tmp_path / 'liir-t3-parts', 'vip_instance_r18_s8', {'AP': 0.126}, 50)
    softmax = {'model.propagator.protocol.vote': 'softmax'}
    write(tool, tmp_path / 'liir-t5d-neither', 'davis_liir_r18', DAVIS, 30, options=softmax)
    _, filled, (refused,) = tool.fill(PAGE, tmp_path)
    assert filled == [
        'liir-t1-liir: 69.3 (66.7, 10.0 / 71.9, 20.0)',
        'liir-t2-liir: 25.0 (10.0 / 20.0, 30.0 / 40.0)',
        'liir-t3-parts: 12.6',
    ]
    assert 'vip_results.json' in refused
    write(tool, tmp_path / 'liir-t5d-neither', 'vip_liir_r18', {'mIoU': 0.396}, 50)
    page, filled, refused = tool.fill(PAGE, tmp_path)
    assert refused == []
    assert filled[-2] == 'liir-t5d-neither: 69.3 (66.7 / 71.9); 39.6'
    assert '| 69.8; 39.6 | 69.3 (66.7 / 71.9); 39.6 | j |' in page


def test_a_row_without_a_command_takes_no_result(tool, tmp_path):
    write(tool, tmp_path / 'liir-t2-stm', 'davis_color', DAVIS, 30)
    assert tool.fill(PAGE, tmp_path) == (PAGE, [], ['liir-t2-stm: the row has no command that evaluates it.'])


def test_a_row_is_looked_for_on_every_page(tool, tmp_path, capsys, monkeypatch):
    pages = [tmp_path / 'a.md', tmp_path / 'b.md']
    monkeypatch.setattr(tool, 'PAGES', pages)
    pages[0].write_text(PAGE.replace('t1-', 't2-'))
    pages[1].write_text(PAGE)
    write(tool, tmp_path / 'results' / 't1-2', 'davis_r18_s8', DAVIS, 30)
    with pytest.raises(SystemExit, match='False'):
        tool.main([str(tmp_path / 'results'), '--write'])
    assert capsys.readouterr().out == 't1-2: 69.3 (66.7 / 71.9)\n'
    assert pages[0].read_text() == PAGE.replace('t1-', 't2-')
    assert '| 69.3 (66.7 / 71.9) | b |' in pages[1].read_text()


def test_a_fusion_is_held_to_its_weights_but_not_to_its_files(tool, tmp_path):
    config = ROOT / 'configs' / 'eval' / 'davis_late_fusion.py'
    networks = tool.expected(config)[0]['fusion']
    named = [dict(network, checkpoint='a.pth', sha8='01234567') for network in networks]
    write(tool, tmp_path / 'good' / 't3-fusion', 'davis_late_fusion', DAVIS, 30, fusion=named)
    assert tool.fill(PAGE, tmp_path / 'good')[1] == ['t3-fusion: 69.3 (66.7 / 71.9)']
    named[0]['weight'] = 2.0
    write(tool, tmp_path / 'bad' / 't3-fusion', 'davis_late_fusion', DAVIS, 30, fusion=named)
    assert 'fusion is ' in tool.fill(PAGE, tmp_path / 'bad')[2][0]


@pytest.mark.parametrize(
    ('row', 'config', 'scores', 'videos', 'changes', 'message'),
    [
        ('t1-1', 'davis_r18_s8', DAVIS, 30, dict(name='vfs_davis_r18'), "name is 'vfs_davis_r18', not 'stt_davis_s8'"),
        ('t1-1', 'davis_r18_s8', DAVIS, 30, dict(topk=5, changed=['topk']), "is ['topk'], not []; topk is 5, not 10"),
        ('t1-1', 'davis_r18_s8', DAVIS, 30, dict(version=0), 'version is 0, not 1'),
        (
            't1-1',
            'davis_r18_s8',
            DAVIS,
            30,
            dict(trained_geometry=[dict(depth=18)]),
            "trained_geometry is [{'depth': 18}]",
        ),
        ('t1-1', 'davis_r18_s8', DAVIS, 8, {}, 'is of 8 videos, the benchmark has 30'),
        ('t1-1', 'davis_r18_s8', DAVIS, 30, dict(frames=25), 'is of the first 25 frames of each video'),
        ('t1-1', 'davis_r18_s8', {}, 30, {}, 'is no complete result of DAVISMetric'),
        ('t1-1', 'vip_r18_s8', {'mIoU': 0.4}, 50, {}, 'davis_results.json'),
        ('t1-9', 'davis_r18_s8', DAVIS, 30, {}, 'no row is called t1-9'),
    ],
)
def test_a_result_that_does_not_belong_is_refused(tool, tmp_path, row, config, scores, videos, changes, message):
    write(tool, tmp_path / row, config, scores, videos, **changes)
    page, filled, (line,) = tool.fill(PAGE, tmp_path)
    assert (page, filled) == (PAGE, [])
    assert message in line


def test_a_result_that_does_not_say_its_frames_is_refused(tool, tmp_path, capsys):
    write(tool, tmp_path / 'results' / 't1-1', 'davis_r18_s8', DAVIS, 30)
    path, page = tmp_path / 'results' / 't1-1' / 'davis_results.json', tmp_path / 'page.md'
    content = json.loads(path.read_text())
    del content['max_frames']
    path.write_text(json.dumps(content))
    page.write_text(PAGE)
    with pytest.raises(SystemExit) as done:
        tool.main([str(tmp_path / 'results'), '--write'])
    assert done.value.code == 1
    assert 'does not say on which frames it was made. Evaluate again' in capsys.readouterr().out
    assert page.read_text() == PAGE


@pytest.mark.parametrize(
    ('text', 'words'), [('[]', 'it is no table of names and values'), ('{"global": {}}', "it has no 'protocol'")]
)
def test_what_is_no_result_is_said_in_words(tool, tmp_path, text, words):
    write(tool, tmp_path / 't1-1', 'davis_r18_s8', DAVIS, 30)
    (tmp_path / 't1-1' / 'davis_results.json').write_text(text)
    _, _, (line,) = tool.fill(PAGE, tmp_path)
    assert line.endswith(f'is no complete result of DAVISMetric: {words}')


def test_the_page_changes_only_when_asked(tool, tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text(PAGE)
    write(tool, tmp_path / 'results' / 't1-1', 'davis_r18_s8', DAVIS, 30)
    for more, changed in ([], False), (['--write'], True):
        with pytest.raises(SystemExit) as done:
            tool.main([str(tmp_path / 'results'), *more])
        assert done.value.code == 0
        assert capsys.readouterr().out == 't1-1: 69.3 (66.7 / 71.9)\n'
        assert (page.read_text() != PAGE) is changed
    write(tool, tmp_path / 'results' / 't1-2', 'davis_r18_s8', DAVIS, 8)
    with pytest.raises(SystemExit) as done:
        tool.main([str(tmp_path / 'results')])
    assert done.value.code == 1
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'nowhere')])
    assert 'no folder' in capsys.readouterr().err


def test_each_result_is_judged_by_itself(tool, tmp_path, capsys):
    """Good ones, refused ones, folders without a row and files, all at once; by default for the page of the docs."""
    folder = tmp_path / 'results'
    write(tool, folder / 't1-1', 'davis_r18_s8', DAVIS, 30)
    write(tool, folder / 't1-2', 'davis_r18_s8', DAVIS, 8)
    for name in ('unknown', 'another'):
        (folder / name).mkdir()
    (folder / 'notes.txt').touch()
    page = tmp_path / 'page.md'
    page.write_text(PAGE)
    with pytest.raises(SystemExit, match='True'):
        tool.main([str(folder)])
    assert capsys.readouterr().out.splitlines() == [
        't1-1: 69.3 (66.7 / 71.9)',
        f'refused: t1-2: {folder}/t1-2/davis_results.json is of 8 videos, the benchmark has 30.',
        f'refused: {folder}/another: no row is called another',
        f'refused: {folder}/unknown: no row is called unknown',
    ]
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit, match='False'):
        tool.main([str(tmp_path / 'empty')])
    assert capsys.readouterr().out == 'no results\n'


def test_a_benchmark_has_its_number_of_videos_and_its_scale(tool):
    assert {
        name: (benchmark.file, benchmark.videos, benchmark.scale) for name, benchmark in tool.BENCHMARKS.items()
    } == dict(
        DAVISMetric=('davis_results.json', 30, 100),
        VIPMetric=('vip_results.json', 50, 100),
        VIPInstanceMetric=('vip_instance_results.json', 50, 100),
        JHMDBMetric=('jhmdb_results.json', 268, 1),
        YouTubeVOSMetric=('ytv_results.json', 474, 100),
        TAPVidMetric=('tap_vid_results.json', 30, 100),
        BADJAMetric=('badja_results.json', 7, 1),
        MOSE=('objects_results.json', 311, 100),
        LVOS=('objects_results.json', 140, 100),
        SAV=('objects_results.json', 155, 100),
    )


def test_points_and_long_videos_have_their_cells(tool, tmp_path):
    config = ROOT / 'configs' / 'eval'
    taps = dict(average_jaccard=0.312, average_pts_within_thresh=0.456, occlusion_accuracy=0.789)
    write(tool, tmp_path / 'a', 'tapvid_davis_r18_s8', taps, 30)
    path = tmp_path / 'a' / 'tap_vid_results.json'
    for mode, option in (('first', None), ('strided', {'test_dataloader.dataset.query_mode': 'strided'})):
        path.write_text(json.dumps(json.loads(path.read_text()) | dict(query_mode=mode)))
        assert tool.read_cell(tmp_path / 'a', config / 'tapvid_davis_r18_s8.py', option) == '31.2 / 45.6 / 78.9'
    with pytest.raises(tool.Refused, match='is of queries strided, not first'):
        tool.read_cell(tmp_path / 'a', config / 'tapvid_davis_r18_s8.py')
    write(tool, tmp_path / 'b', 'badja_r18_s8', {'PCK@0.2': 53.46, 'lost joints': 0}, 7)
    assert tool.read_cell(tmp_path / 'b', config / 'badja_r18_s8.py') == '53.5'
    for name, videos in (('mose', 311), ('lvos', 140), ('sav', 155)):
        scores = {'J&F-Mean': 0.5, 'J-Mean': 0.4, 'F-Mean': 0.6}
        write(tool, tmp_path / name, f'{name}_r18_s8', scores, videos)
        assert tool.read_cell(tmp_path / name, config / f'{name}_r18_s8.py') == '50.0 (40.0 / 60.0)'


def test_a_field_that_only_one_of_the_protocols_has_is_a_difference(tool, tmp_path):
    config = ROOT / 'configs' / 'eval' / 'davis_r18_s8.py'
    for number, change in enumerate((lambda protocol: protocol.update(new=1), lambda protocol: protocol.pop('topk'))):
        folder = tmp_path / str(number)
        write(tool, folder, 'davis_r18_s8', DAVIS, 30)
        content = json.loads((folder / 'davis_results.json').read_text())
        change(content['protocol'])
        (folder / 'davis_results.json').write_text(json.dumps(content))
        with pytest.raises(tool.Refused, match=('new is 1, not None', 'topk is None, not 10')[number]):
            tool.read_cell(folder, config)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ([], 'it is no table of names and values'),
        ({}, "it has no 'protocol'"),
        (dict(protocol='stt_davis_s8'), 'it is no table of names and values'),
        (dict(protocol=[1]), 'it is no table of names and values'),
        (dict(protocol=dict(name='stt_davis_s8')), "it has no 'num_videos'"),
        (dict(protocol=dict(fusion=['a'], name='stt_davis_s8')), 'it is no table of names and values'),
        (dict(num_videos=30, **{'global': {'J&F-Mean': 'high'}}), 'it is no table of names and values'),
        (dict(num_videos=30, **{'global': {'J&F-Mean': None}}), 'it is no table of names and values'),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_words(tool, tmp_path, content, reason):
    """For a row of a page and for one of the leaderboard."""
    if 'global' in content:
        content['protocol'] = json.loads(json.dumps(tool.PRESETS['stt_davis_s8'].record()))
    (tmp_path / 'davis_results.json').write_text(json.dumps(content))
    row = next(row for row in tool.read_rows() if row.presets == ('stt_davis_s8',) and 'DAVIS' in row.benchmark)
    for read in (
        lambda: tool.read_cell(tmp_path, ROOT / 'configs' / 'eval' / 'davis_r18_s8.py'),
        lambda: tool.leaderboard_cell(tmp_path, row),
    ):
        with pytest.raises(tool.Refused, match=f'davis_results.json is no complete result of DAVISMetric: {reason}$'):
            read()

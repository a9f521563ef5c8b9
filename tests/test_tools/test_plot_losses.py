"""Loss curves: which values they hold, and that they are drawn."""

import importlib
import json
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis'))
    return importlib.import_module('plot_losses')


def write_log(work_dir, time, *lines):
    path = work_dir / time / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(line if isinstance(line, str) else f'{json.dumps(line)}\n' for line in lines))


def test_a_resumed_run_is_one_curve_and_validation_is_left_out(tool, tmp_path):
    write_log(
        tmp_path,
        '20260101_000000',
        {'iter': 1, 'loss': 4.0, 'loss_a': 3.0, 'lr': 0.1},
        {'iter': 2, 'loss': 3.0, 'loss_a': 2.0},
        {'J&F-Mean': 0.5, 'step': 2},
        {'iter': 4, 'loss': 9.0},
    )
    write_log(tmp_path, '20260102_000000', {'iter': 3, 'loss': 2.0, 'loss_a': 1.0, 'kept_ratio': 0.5}, '{"iter": 4, "l')
    write_log(tmp_path, '20260103_000000')
    assert tool.read_losses(tmp_path) == {'loss': {1: 4.0, 2: 3.0, 3: 2.0}, 'loss_a': {1: 3.0, 2: 2.0, 3: 1.0}}


def test_faults_are_named(tool, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=f'No log of a training in {tmp_path}'):
        tool.read_losses(tmp_path)
    write_log(tmp_path, '1', {'J&F-Mean': 0.5, 'step': 2})
    with pytest.raises(ValueError, match='no loss yet'):
        tool.read_losses(tmp_path)
    write_log(tmp_path, '2', {'iter': 1, 'loss': 1.0}, '{"iter": 2, "lo\n')
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path)])
    assert 'scalars.json, line 2 is no JSON' in capsys.readouterr().err


@pytest.mark.parametrize('line', ['[1]', '3', 'null'])
def test_lines_of_another_kind_are_named(tool, tmp_path, capsys, line):
    write_log(tmp_path, '1', {'iter': 1, 'loss': 1.0}, f'{line}\n')
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path)])
    assert 'scalars.json, line 2 is no JSON object' in capsys.readouterr().err


def test_a_picture_does_not_replace_a_checkpoint(tool, tmp_path, capsys):
    write_log(tmp_path, '1', {'iter': 1, 'loss': 1.0})
    (tmp_path / 'iter_1.pth').write_bytes(b'weights')
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path), '--out', str(tmp_path / 'iter_1.pth')])
    assert 'the picture is a .png file' in capsys.readouterr().err
    assert (tmp_path / 'iter_1.pth').read_bytes() == b'weights'


def test_the_picture_has_a_panel_for_each_run(tool, tmp_path, capsys):
    widths = []
    for count in (1, 2):
        folders = [tmp_path / f'{count}_{number}' for number in range(count)]
        for folder in folders:
            write_log(folder, '1', *({'iter': step, 'loss': 5.0 / step, 'loss_b': 1.0 - step} for step in (1, 2, 3)))
        tool.main([*map(str, folders), '--out', str(tmp_path / f'{count}.png')])
        assert f'{folders[0]}: loss 1.667, loss_b -2 at iteration 3' in capsys.readouterr().out
        picture = cv2.imread(str(tmp_path / f'{count}.png'))
        widths.append(picture.shape[1])
        # The black line of the sum and a coloured one.
        assert (picture.max(2) < 40).sum() > 500
        assert (np.ptp(picture.astype(int), axis=2) > 60).sum() > 100
    assert widths[1] == pytest.approx(2 * widths[0], abs=4)
    tool.main([str(folders[0])])
    assert (folders[0] / 'losses.png').is_file()
    assert f'wrote {folders[0]}/losses.png' in capsys.readouterr().out


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, whatever a user's own settings of Matplotlib say."""
    figures, savefig = [], Figure.savefig
    monkeypatch.setattr(
        Figure, 'savefig', lambda self, *args, **options: figures.append(self) or savefig(self, *args, **options)
    )
    with rc_context({'savefig.format': 'pdf', 'savefig.dpi': 50, 'axes.grid': False}):
        yield figures


@pytest.mark.parametrize(
    ('values', 'scale'),
    [
        ([10.0, 1.0], 'log'),
        ([9.9, 1.0], 'linear'),
        ([1, 0.05], 'log'),
        ([10.0, 0.0], 'linear'),
        ([10.0, -1.0], 'linear'),
    ],
)
def test_panels_that_span_a_factor_of_ten_are_logarithmic(tool, tmp_path, drawn, values, scale):
    curve = dict(enumerate(values, start=1))
    runs = {f'run {number}': dict(loss=curve, loss_a={1: values[0]}) for number in range(4)}
    path = tmp_path / 'new' / 'deep' / 'a.png'
    tool.draw(runs, path)
    (figure,), axes = drawn, drawn[0].axes
    assert figure.get_size_inches().tolist() == [18, 8]
    assert [panel.get_title() for panel in axes] == list(runs)
    for panel in axes:
        assert panel.get_yscale() == scale
        assert panel.get_xlabel() == 'iteration'
        whole, part = panel.get_lines()
        assert (whole.get_color(), whole.get_linewidth(), whole.get_marker()) == ('black', 2, 'None')
        assert same_color(part.get_color(), 'C0')
        assert (part.get_linewidth(), part.get_marker()) == (1, '.')
        assert whole.get_xydata().tolist() == [[step, value] for step, value in curve.items()]
        assert [text.get_text() for text in panel.get_legend().get_texts()] == ['loss', 'loss_a']
        assert panel.get_legend().get_texts()[0].get_fontsize() == pytest.approx(8.33)
        assert {line.get_alpha() for line in panel.get_xgridlines() + panel.get_ygridlines()} == {0.4}
        assert panel.xaxis.get_major_ticks()[0].gridline.get_visible()
    # Titles and labels of neighbours do not overlap, and nothing is cut off.
    boxes = [panel.get_tightbbox() for panel in axes]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ('PNG', (2700, 1200))
        # The same runs give the same file with every version of Matplotlib.
        assert 'Software' not in picture.info


def test_a_term_may_begin_later_and_numbers_may_be_whole(tool, tmp_path):
    write_log(tmp_path, '1', {'iter': 0, 'loss': 3, 'lr': 'high'}, {'iter': 1, 'loss': 2, 'loss_late': 1.5})
    assert tool.read_losses(tmp_path) == dict(loss={0: 3, 1: 2}, loss_late={1: 1.5})


def test_a_second_log_that_begins_anew_replaces_the_first(tool, tmp_path):
    write_log(tmp_path, '1', *({'iter': step, 'loss': 1.0} for step in (5, 6)))
    write_log(tmp_path, '2', {'iter': 5, 'loss': 2.0})
    assert tool.read_losses(tmp_path) == dict(loss={5: 2.0})

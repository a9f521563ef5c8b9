"""What networks take for the same point, as a picture and as a page."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_tools.test_command_line import error_of, tool
from tiny_data import texture, write_image

from stt_mm.apis import Matches
from stt_mm.models import load_for_evaluation
from stt_mm.utils import write_mask
from stt_mm.visualization import RIGHT, UNKNOWN, WRONG

ROOT = Path(__file__).parents[2]
COLOR, NETWORK = (ROOT / 'configs' / 'eval' / f'davis_{name}.py' for name in ('color', 'r18_s8'))
SIZE, SHIFT = (64, 96), 16


@pytest.fixture
def module():
    return tool('analysis/show_matches')


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """Two frames in the working directory, the second moved to the right, and masks of an object in them."""
    monkeypatch.chdir(tmp_path)
    frame, mask = texture(SIZE, 3), np.zeros(SIZE, np.uint8)
    mask[20:44, 28:44] = 1
    for name, shift in (('a', 0), ('b', SHIFT)):
        write_image(f'{name}.png', np.roll(frame, shift, 1))
        write_mask(f'{name}_mask.png', np.roll(mask, shift, 1))
        cv2.imwrite(f'{name}_white.png', np.roll(255 * mask, shift, 1))
    return ['--frames', 'a.png', 'b.png', '--cfg-options', f'model.propagator.protocol.short_side={SIZE[0]}']


def colors_in(picture):
    return [(picture == color).all(-1).any() for color in (RIGHT, WRONG, UNKNOWN)]


@pytest.mark.parametrize(
    ('truth', 'expected', 'words'),
    [
        (['--truth', '36,32', '--tolerance', '6'], (True, False), ' (1 of 1 right)'),
        (['--truth', '60,32'], (False, True), ' (0 of 1 right)'),
        (['--masks', 'a_mask.png', 'b_mask.png'], (True, False), ' (1 of 1 right)'),
        (['--masks', 'b_mask.png', 'b_mask.png'], (False, True), ' (0 of 1 right)'),
        (['--masks', 'a_white.png', 'b_white.png'], (True, False), ' (1 of 1 right)'),
        (['--masks', 'b_white.png', 'b_white.png'], (False, True), ' (0 of 1 right)'),
        ([], (False, False), ''),
    ],
)
def test_right_is_green_and_wrong_is_red(module, frames, capsys, truth, expected, words):
    args = [str(COLOR), 'none', *frames, '--point', f'{36 + SHIFT},32', *truth]
    parsed = module.parse_args(args)
    scene = module.read_scene(parsed)
    label, matches = module.matches_of(str(COLOR), 'none', scene, parsed)
    assert label == 'davis_color'
    rows, _ = module.draw(scene, [matches])
    assert len(rows) == 3
    assert colors_in(rows[0][1][1]) == [*expected, not truth]
    module.main([*args, '--html', 'm.html'])
    assert f'davis_color: {matches.points[0][0]:.0f},{matches.points[0][1]:.0f}{words}\n' in capsys.readouterr().out
    height, width = cv2.imread('matches.png').shape[:2]
    assert width > 2 * 400 < height
    page = Path('m.html').read_text(encoding='utf-8')
    assert len(re.findall('data:image/png;base64,', page)) == 6
    assert page.count(', right') == expected[0]
    assert page.count(', wrong') == expected[1]


def test_networks_stand_side_by_side_as_they_are_named(module, frames, capsys):
    torch.manual_seed(5)
    model = module.VideoPropagator(NETWORK, device='cpu').model
    load_for_evaluation(model, None)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in model.backbone.state_dict().items()}), 'mine.pth')
    args = [str(NETWORK), 'none', 'mine.pth', '--network', str(COLOR), 'none', *frames, '--point', '50,32', '20,20']
    capsys.readouterr()
    module.main(args)
    first = capsys.readouterr().out
    labels = [line.partition(':')[0] for line in first.splitlines()]
    assert labels == ['davis_r18_s8, untrained', 'davis_r18_s8, mine', 'davis_color', 'wrote matches.png']
    picture = Path('matches.png').read_bytes()
    module.main(args)
    assert capsys.readouterr().out == first
    assert Path('matches.png').read_bytes() == picture
    start = ['model.backbone.init_cfg.type=Pretrained', 'model.backbone.init_cfg.checkpoint=mine.pth']
    module.main([str(NETWORK), 'none', *frames, '--point', '50,32', '20,20', '--cfg-options', *start])
    assert capsys.readouterr().out.startswith('davis_r18_s8, mine: ')
    module.main([*args, '--labels', 'one', 'two', 'three'])
    assert capsys.readouterr().out.splitlines()[2].startswith('three: ')
    assert Path('matches.png').read_bytes() != picture


def test_gathered_affinities_have_a_row_where_a_network_has_them(module):
    size = (32, 48)
    maps = np.random.default_rng(0).random((2, *size), np.float32)
    plain = Matches(maps, None, np.array([[3.0, 4], [9, 8]]), np.ones(2), *[texture(size, 1)] * 2)
    scene = module.Scene(texture(size, 0), texture(size, 0), np.array([[1.0, 2], [3, 4]]), None, None, 2)
    compact = Matches(maps, maps, plain.points, plain.largest, plain.target, plain.reference)
    rows, captions = module.draw(scene, [plain, compact])
    assert [len(pictures) for _, pictures in rows] == [3] * 6
    assert [len(texts) for texts in captions] == [3] * 6
    assert 'gathered' in rows[1][0]
    assert (rows[1][1][1] == 255).all()
    assert np.array_equal(rows[1][1][2], rows[0][1][2])


def test_a_page_replaces_no_file_of_another_kind(module, frames, capsys):
    with pytest.raises(SystemExit, match='2'):
        module.parse_args([str(COLOR), 'none', '--point', '5,3', *frames, '--html', 'labels.csv'])
    assert 'the page is an .html file, got --html labels.csv' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        # The weights are looked for after that: what lies outside is refused before a network is built.
        (
            ['gone.pth', '--point', '96,3'],
            'Point 96,3 of --point in b.png lies outside of the frame, where x is 0 to 95',
        ),
        (['gone.pth', '--point', '5,3', '-3,20'], 'Point -3,20 of --point in b.png lies outside'),
        (['none', '--point', '5,3', '--truth', '5,64'], 'Point 5,64 of --truth in a.png lies outside'),
        (['none', '--point', '5,3', '--masks', 'a.png', 'b_mask.png'], 'Mask a.png is an image of mode RGB'),
        (['none', '--point', '5,3', '--masks', 'small.png', 'b_mask.png'], 'small.png is 3x4 (height x width), the'),
        (['none', '--point', '5,3', '--masks', 'soft.png', 'b_mask.png'], 'soft.png has smoothed edges'),
        (['none', '--point', '5,3', '--masks', 'b_mask.png', 'none.png'], 'none.png is empty'),
        (['none', '--point', '5,3', '--out', 'a.png'], 'a.png is read here and would be replaced'),
        (['gone.pth', '--point', '5,3'], 'gone.pth'),
    ],
)
def test_what_cannot_be_shown(frames, capfd, args, message):
    write_mask('small.png', np.ones((3, 4), np.uint8))
    cv2.imwrite('soft.png', cv2.blur(np.kron([[0, 255], [0, 0]], np.ones((32, 48))).astype(np.uint8), (5, 5)))
    write_mask('none.png', np.zeros((64, 96), np.uint8))
    assert message in error_of(capfd, 'analysis/show_matches', COLOR, *args, *frames)
    assert not Path('matches.png').exists()


def test_frames_of_two_sizes_are_refused_before_a_network_is_built(frames, capfd):
    write_image('low.png', texture((40, 96), 3))
    args = ['gone.pth', '--point', '5,3', '--frames', 'a.png', 'low.png']
    error = error_of(capfd, 'analysis/show_matches', COLOR, *args)
    assert 'a.png is 64x96 and low.png is 40x96 (height x width). Give --frames two frames of one video' in error


@pytest.mark.parametrize('text', ['nan,3', '3,inf', '-3', '3;4', '-inf,2'])
def test_what_is_no_point(module, frames, capsys, text):
    with pytest.raises(SystemExit, match='2'):
        module.parse_args([str(COLOR), 'none', *frames, '--point', text])
    assert f'{text!r} is no point; expected two numbers x,y such as 120,80' in capsys.readouterr().err

import base64
import re

import cv2
import numpy as np
import pytest
from tiny_data import texture

from stt_mm.visualization import stack_rows, to_height, with_title, write_page


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [((256, 100), (256, 100)), ((128, 100), (256, 200)), ((512, 99), (256, 50)), ((1000, 1), (256, 1))],
)
def test_the_aspect_ratio_is_kept(shape, expected):
    assert to_height(np.zeros((*shape, 3), np.uint8), 256).shape == (*expected, 3)


def test_rows_are_filled_up():
    rows = [np.full((2, width, 3), width, np.uint8) for width in (1, 3, 2)]
    assert stack_rows(rows)[..., 1].tolist() == sum(
        ([[width] * width + [0] * (3 - width)] * 2 + [[0, 0, 0]] * 4 for width in (1, 3, 2)), []
    )


def test_a_title_stands_above_and_is_cut_off():
    picture = texture((30, 40), 0)
    drawn = with_title(picture, 'a long title of é video')
    assert np.array_equal(drawn[20:], picture)
    assert drawn[:20].any()
    assert not with_title(picture, '')[:20].any()


def test_a_page_holds_all_its_pictures(tmp_path):
    pictures = [texture((8, 8 + number), number) for number in range(4)]
    rows = [('one & <two>', pictures[:2]), ('three', pictures[2:])]
    write_page(tmp_path / 'new' / 'page.html', 'A "title"', rows, ['a', '<b>'], [['x', '<y>'], ['', 'z']])
    page = (tmp_path / 'new' / 'page.html').read_text(encoding='utf-8')
    found = re.findall(r'src="([^"]*)"', page)
    read = [base64.b64decode(source.removeprefix('data:image/png;base64,'), validate=True) for source in found]
    for data, picture in zip(read, pictures, strict=True):
        shown = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert np.array_equal(shown, picture)
    assert 'one &amp; &lt;two&gt;' in page
    assert '<small>&lt;y&gt;</small>' in page
    assert '<th>&lt;b&gt;</th>' in page
    assert not re.search(r'href=|url\(|<script|http', page)

"""The page in a real browser, Chromium without a window, with the pointer and the keys of a user.

Pictures of the page are kept in the folder that STT_MM_SCREENSHOTS names. Without a browser these tests are skipped
with a warning, and fail where STT_MM_BROWSER=required.
"""

import json
import os
import shutil
import threading
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from pycocotools import mask as coco
from tiny_data import write_video

from stt_mm.apis import FrameResult

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'microsoft-edge')
WIDE, TABLET = dict(width=1280, height=800), dict(width=820, height=1180)
COUNT, HEIGHT, WIDTH = 12, 64, 96


@pytest.fixture(scope='module')
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        message = f'No browser was found ({", ".join(NAMES)}), so the page is not tested. Debian: apt install chromium'
        if os.environ.get('STT_MM_BROWSER') == 'required':
            pytest.fail(message)
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    with sync_playwright() as playwright:
        # Containers let nobody but root in, and root no sandbox.
        browser = playwright.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield browser
        browser.close()


class User:
    """One page, as somebody sees and uses it."""

    def __init__(self, context, client, expected):
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.masks = {}
        self.faults = []
        self.page.on('pageerror', lambda error: self.faults.append(str(error)))
        self.page.on('console', self._heard)
        self.page.on('response', self._answered)
        self.expected = expected
        self.url = client.server.url

    def _heard(self, message):
        if message.type == 'error' and not any(text in message.text for text in self.expected):
            self.faults.append(message.text)

    def _answered(self, reply):
        """What the page was told to show, by frame."""
        if '/api/shown' in reply.url and reply.ok:
            line, _, ids = reply.body().partition(b'\n')
            self.masks[json.loads(line)['frame']] = np.frombuffer(ids, np.uint8).reshape(HEIGHT, WIDTH)

    def open(self, video=''):
        self.page.goto(f'{self.url}?video={video}' if video else self.url)
        if video:
            self.settle()

    def settle(self):
        """Wait until all that was asked for is there."""
        self.page.wait_for_selector('#work[aria-busy=false]')

    def screen(self, x, y):
        """Where a pixel of the frame is on the screen."""
        box = self.page.locator('#canvas').bounding_box()
        scale = min((box['width'] - 24) / WIDTH, (box['height'] - 24) / HEIGHT)
        return (
            box['x'] + box['width'] / 2 + (x + 0.5 - WIDTH / 2) * scale,
            box['y'] + box['height'] / 2 + (y + 0.5 - HEIGHT / 2) * scale,
        )

    def stroke(self, *places):
        mouse = self.page.mouse
        mouse.move(*self.screen(*places[0]))
        mouse.down()
        for place in places[1:]:
            mouse.move(*self.screen(*place), steps=4)
        mouse.up()
        self.settle()

    def click(self, x, y):
        self.page.mouse.click(*self.screen(x, y))

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def until(self, condition):
        """Wait for a condition, in JavaScript or Python. The page allows no code from text, as waits need."""
        end = time.monotonic() + 20
        while not (self.page.evaluate(condition) if isinstance(condition, str) else condition()):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    def texts(self, selector):
        return self.page.locator(selector).all_inner_texts()

    def run_to_end(self):
        self.page.wait_for_selector('#job:not([hidden])')
        self.page.wait_for_selector('#job', state='hidden', timeout=60_000)
        self.settle()

    def colored(self):
        """bool [H, W]: where the picture changes if the objects are hidden."""
        pictures = []
        self.page.mouse.move(5, 5)
        for _ in range(2):
            pictures.append(cv2.imdecode(np.frombuffer(self.page.locator('#canvas').screenshot(), np.uint8), 1))
            self.press('h')
            time.sleep(0.1)
        box, difference = self.page.locator('#canvas').bounding_box(), cv2.absdiff(*pictures).max(-1) > 8
        corners = [
            np.rint(np.subtract(self.screen(*at), (box['x'], box['y']))) for at in ((0, 0), (WIDTH - 1, HEIGHT - 1))
        ]
        columns, rows = (
            np.rint(np.linspace(*ends)).astype(int) for ends in zip(*corners, (WIDTH, HEIGHT), strict=True)
        )
        return difference[np.ix_(rows, columns)]

    def picture(self, name):
        if folder := os.environ.get('STT_MM_SCREENSHOTS'):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder, f'{name}.png'))


@pytest.fixture
def client(serve, place):
    return serve(place)


@pytest.fixture
def visit(browser, client):
    """Opens a page; what it says in its console, but for what is expected, fails the test."""
    contexts, users = [], []

    def enter(size=WIDE, expected=(), server=client, **options):
        contexts.append(browser.new_context(viewport=size, accept_downloads=True, **options))
        users.append(User(contexts[-1], server, expected))
        return users[-1]

    yield enter
    for context in contexts:
        context.close()
    assert [fault for user in users for fault in user.faults] == []


def rounded(ids, number):
    """The pixels of a disc, and a polygon around it."""
    outlines, _ = cv2.findContours((ids == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(outlines, key=cv2.contourArea)
    return outline[:: max(len(outline) // 10, 1), 0].tolist()


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_from_a_video_to_a_file(visit, client, place, shapes, tmp_path):
    """Upload, paint, propagate, correct, export: the file holds the masks that were seen, to the pixel."""
    user, ids = visit(), shapes[1]
    page = user.page
    write_video(tmp_path / 'mine.mp4', shapes[0])
    user.open()
    page.wait_for_selector('#library button')
    user.picture('1_start')
    page.set_input_files('#file', tmp_path / 'mine.mp4')
    user.settle()
    assert 'mine.mp4 · 96 × 64 · 12 frames' in page.inner_text('#title')
    assert (place / 'mine.mp4').is_file()
    assert 'Paint over an object' in page.inner_text('#hint')
    assert page.is_disabled('[data-way=forward]')
    user.picture('2_open')

    # An object by the brush, which makes it, and one by its corners.
    y, x = (np.argwhere(ids[0] == 1).mean(0)).tolist()
    user.press(']', ']')
    user.stroke((x - 4, y), (x + 4, y), (x + 4, y + 4), (x - 4, y - 4))
    painted = user.masks[0] == 1
    assert painted[round(y), round(x)]
    assert iou(painted, ids[0] == 1) > 0.2
    user.press('n', 'g')
    for corner in rounded(ids[0], 2):
        user.click(*corner)
    user.press('Enter')
    assert iou(user.masks[0] == 2, ids[0] == 2) > 0.75
    user.press('p')
    user.click(x, y)
    user.settle()
    assert user.texts('#objects .text > span') == ['Object 1', 'Object 2']
    assert user.texts('#points .text > span') == ['Point 1']
    assert iou(user.colored(), (user.masks[0] > 0)) > 0.9
    user.picture('3_painted')

    # Undo takes a step back, redo brings it again.
    user.press('Control+z')
    assert user.texts('#points .text > span') == []
    user.press('Control+Shift+z')
    assert user.texts('#points .text > span') == ['Point 1']

    page.click('[data-way=forward]')
    user.run_to_end()
    session = client.studio.session('mine.mp4')
    assert session.store.num_results() == COUNT
    user.picture('4_propagated')

    # A mark leads to a frame in doubt; what is corrected there goes on from there.
    marks = page.locator('.mark')
    assert marks.count() > 0
    frame = int(marks.first.get_attribute('data-frame'))
    marks.first.click()
    user.settle()
    assert page.input_value('#number') == str(frame)
    before = [session.mask(t) for t in range(COUNT)]
    page.click('#objects .pick >> nth=0')
    user.press('b')
    user.stroke((10, 50), (30, 50))
    user.press('e')
    user.stroke((20, 50), (20, 51))
    corrected = user.masks[frame]
    assert corrected[50, 10] == 1
    assert corrected[50, 20] == 0
    assert page.is_checked('#from')
    assert f'Only from frame {frame} on' in page.inner_text('.check')
    assert f'frame {frame}' in page.inner_text('#run-text')
    assert user.texts('#objects .chosen small') == [f'given in frame 0, {frame}']
    user.picture('5_corrected')
    page.click('[data-way=forward]')
    user.run_to_end()
    assert all((session.mask(t) == before[t]).all() for t in range(frame))
    assert (session.mask(frame) == corrected).all()

    # All frames are looked at, and exported.
    user.masks.clear()
    user.press('Home')
    for _ in range(COUNT - 1):
        user.press('ArrowRight')
    assert sorted(user.masks) == list(range(COUNT))
    with page.expect_download() as download:
        page.click('[data-form=coco]')
    assert download.value.suggested_filename == 'mine_masks.json'
    download.value.save_as(tmp_path / 'masks.json')
    content = json.loads((tmp_path / 'masks.json').read_text())
    decoded = np.zeros((COUNT, HEIGHT, WIDTH), np.uint8)
    index = {image['id']: image['frame_index'] for image in content['images']}
    for found in content['annotations']:
        decoded[index[found['image_id']]][coco.decode(found['segmentation']) > 0] = found['track_id']
    for t in range(COUNT):
        assert (decoded[t] == user.masks[t]).all(), f'frame {t}'
    assert iou(user.colored(), decoded[COUNT - 1] > 0) > 0.9
    for form, name in (('png', 'mine_masks.zip'), ('points', 'mine_points.json'), ('video', 'mine.mp4')):
        with page.expect_download() as download:
            page.click(f'[data-form={form}]')
        assert download.value.suggested_filename == name

    # A reload brings all back.
    lists = user.texts('#objects .text'), user.texts('#points .text'), page.inner_text('#run-text')
    shown = decoded[0]
    page.reload()
    user.settle()
    assert page.input_value('#number') == '0'
    user.press('End')
    assert (user.texts('#objects .text'), user.texts('#points .text'), page.inner_text('#run-text')) == lists
    assert (user.masks[0] == shown).all()
    assert page.locator('.mark').count() > 0


def given(client, shapes, video='talk.mp4'):
    """A session with an object in the first frame."""
    session = client.studio.session(video)
    session.add('object')
    session.paint(1, 0, shapes[1][0] == 1)
    return session


def result(shapes):
    """What a run found in the first frame."""
    return FrameResult(0, '0', shapes[0][0], shapes[1][0], None, None, {1: 0.69}, None)


def held(session, monkeypatch, frames):
    """A run stops after so many frames, until more are released."""
    go_on, keep = threading.Semaphore(frames), session.keep
    monkeypatch.setattr(session, 'keep', lambda *args: (go_on.acquire(timeout=20), keep(*args)))
    return go_on


def test_two_pages_show_one_session(visit, client, shapes):
    session = given(client, shapes)
    one, other = visit(), visit(expected=['409'])
    one.open('talk.mp4')
    other.open('talk.mp4')
    one.press('n')
    other.until('document.querySelectorAll("#objects .pick").length === 2')
    # The other page has not seen yet what changed, so its stroke is refused, and said.
    other.page.route('**/api/state*', lambda route: route.abort())
    one.stroke((5, 5), (10, 5))
    painted = session.mask(0)
    other.page.mouse.move(*other.screen(80, 50))
    other.page.mouse.down()
    other.page.mouse.up()
    other.page.wait_for_selector('.toast >> text=Another page has changed')
    other.page.unroute('**/api/state*')
    assert (session.mask(0) == painted).all()
    other.until('document.querySelector("#objects .item:last-child small").textContent.includes("frame 0")')
    other.stroke((80, 50), (81, 50))
    assert session.mask(0)[50, 80]
    one.until('!document.querySelector("#undo").disabled')
    other.faults = [fault for fault in other.faults if 'ERR_FAILED' not in fault]


def test_a_page_that_is_closed_in_mid_run_is_picked_up(visit, client, shapes, monkeypatch):
    session = given(client, shapes)
    go_on = held(session, monkeypatch, frames=5)
    user = visit()
    user.open('talk.mp4')
    user.page.click('[data-way=forward]')
    user.page.wait_for_selector('#job-text:has-text("of 12")')
    user.page.close()
    again = visit()
    again.open('talk.mp4')
    assert 'Forward: ' in again.page.inner_text('#job-text')
    again.picture('6_at_work')
    assert again.page.is_disabled('#clear')
    again.page.click('#stop')
    go_on.release(2 * COUNT)
    again.page.wait_for_selector('#job', state='hidden')
    assert 'Stopped at frame' in again.page.inner_text('#run-text')
    assert 0 < session.store.num_results() < COUNT
    again.page.click('[data-way=forward]')
    again.run_to_end()
    assert session.store.num_results() == COUNT
    again.page.once('dialog', lambda dialog: dialog.accept())
    again.page.click('#clear')
    again.until(lambda: session.store.num_results() == 0)
    again.page.wait_for_selector('#doubt-section', state='hidden')
    assert (session.mask(0) == (shapes[1][0] == 1)).all()


def test_what_is_refused_is_said_in_the_page(visit, serve, place, tmp_path):
    client = serve(place, max_upload=20_000)
    user = visit(expected=['400', '413', 'ERR_INTERNET_DISCONNECTED'], server=client)
    user.open()
    (tmp_path / 'text.mp4').write_text('no video')
    (tmp_path / 'large.mp4').write_bytes(bytes(100_000))
    user.page.wait_for_selector('#library button')
    user.page.set_input_files('#file', tmp_path / 'text.mp4')
    user.page.wait_for_selector('.toast >> text=Video text.mp4 cannot be opened')
    user.page.set_input_files('#file', tmp_path / 'large.mp4')
    user.page.wait_for_selector('.toast >> text=at most 20 kB are allowed')
    user.picture('7_refused')
    user.page.click('text=talk.mp4')
    user.settle()
    user.page.context.set_offline(True)
    user.page.wait_for_selector('.toast >> text=The program does not answer')
    user.page.context.set_offline(False)
    user.page.wait_for_selector('.toast >> text=The program does not answer', state='detached')


def test_each_size_and_scheme_shows_all_of_it(visit, client, shapes):
    """Nothing is cut off at the sides, all that can be used has a name, and text has contrast."""
    session = given(client, shapes)
    session.add('object')
    session.keep(0, result(shapes), (), {})
    session.end_run(session.revision, dict(first=0, last=0, reached=0, state='finished'))
    session.rename('object', 2, 'A name that is much too long for the place that there is in the list of objects')
    session.place(3, 20, 20)
    for scheme in ('dark', 'light'):
        for size in (WIDE, TABLET):
            user = visit(size, color_scheme=scheme)
            user.open('talk.mp4')
            user.picture(f'8_{scheme}_{size["width"]}')
            found = user.page.evaluate(
                """() => [...document.querySelectorAll('#work button, #work input, header button, .steps li')]
                .filter((each) => each.offsetParent).map((each) => {
                    const box = each.getBoundingClientRect();
                    const label = each.ariaLabel || each.innerText || each.labels?.[0]?.innerText || '';
                    return [label.trim(), box.left, box.right, each.scrollWidth - each.clientWidth, each.outerHTML];
                })"""
            )
            assert len(found) > 25
            for text in user.page.query_selector_all('#objects .text > *, #points .text > *'):
                hidden, shown = text.evaluate('(each) => [each.scrollWidth - each.clientWidth, each.innerText]')
                assert hidden <= 1 or 'much too long' in shown, f'cut off: {shown}'
            assert user.texts('#objects .chosen small') == ['confidence 0.69 · given in frame 0']
            for label, left, right, hidden, text in found:
                assert label, f'without a name: {text}'
                assert left >= 0 <= size['width'] - right, text
                assert hidden <= 1 or 'type="range"' in text, f'cut off: {text}'
            assert user.page.evaluate('document.documentElement.scrollWidth') == size['width']
            colors = user.page.evaluate(
                """() => Object.fromEntries('text dim accent on-accent bad warn ground plane raised'.split(' ')
                .map((name) => {
                    const probe = document.createElement('i');
                    probe.style.color = `var(--${name})`;
                    document.body.append(probe);
                    const color = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
                    probe.remove();
                    return [name, color];
                }))"""
            )
            for ink in ('text', 'dim'):
                for paper in ('ground', 'plane', 'raised'):
                    assert contrast(colors[ink], colors[paper]) >= 4.5, (scheme, ink, paper)
            for ink in ('bad', 'warn', 'accent'):
                assert contrast(colors[ink], colors['plane']) >= 4.5, (scheme, ink)
            assert contrast(colors['on-accent'], colors['accent']) >= 4.5


def contrast(one, other):
    """The ratio of WCAG 2."""
    linear = [
        [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        for color in (one, other)
    ]
    light, dark = sorted((float(np.dot(color, (0.2126, 0.7152, 0.0722))) for color in linear), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_keys(visit, client, shapes):
    session = given(client, shapes)
    user = visit()
    user.open('talk.mp4')
    page = user.page
    user.press('ArrowRight', 'ArrowRight', 'ArrowLeft')
    assert page.input_value('#slider') == '1'
    user.press('Shift+ArrowRight')
    assert page.input_value('#slider') == '11'
    user.press('Home')
    for key, tool in (('b', 'brush'), ('e', 'eraser'), ('g', 'polygon'), ('p', 'point')):
        user.press(key)
        assert page.get_attribute(f'[data-tool={tool}]', 'aria-pressed') == 'true'
    user.press('?')
    assert page.is_visible('#keys')
    user.picture('9_keys')
    user.press('Escape')
    assert not page.is_visible('#keys')
    user.press('Delete')
    assert not session.mask(0).any()
    user.press('Control+z')
    assert session.mask(0).any()
    page.dblclick('#objects .pick')
    page.keyboard.type('ball e')  # keys of a name are no shortcuts
    user.press('Enter')
    assert session.state()['objects'][0]['name'] == 'ball e'
    user.press('Space')
    user.until('Number(document.querySelector("#slider").value) > 2')
    user.press('Space')
    session.keep(0, result(shapes), (), {})
    page.wait_for_selector('#from')
    page.focus('#from')
    before = page.is_checked('#from')
    user.press('Space')
    assert page.is_checked('#from') is not before


def test_a_forward_run_is_followed_to_its_last_frame(visit, client, shapes, monkeypatch):
    go_on = held(given(client, shapes), monkeypatch, frames=5)
    user = visit()
    user.open('talk.mp4')
    user.page.click('[data-way=forward]')
    user.until('document.querySelector("#number").value === "4"')
    go_on.release(COUNT)
    user.run_to_end()
    assert user.page.input_value('#number') == str(COUNT - 1)
    user.until(lambda: COUNT - 1 in user.masks)


def test_who_chooses_an_object_or_point_gets_a_tool_for_it(visit, client, shapes):
    given(client, shapes).place(0, 5, 5)
    user = visit()
    user.open('talk.mp4')

    def tool():
        return user.page.get_attribute('[data-tool][aria-pressed=true]', 'data-tool')

    user.press('p')
    user.page.click('#objects .pick')
    assert tool() == 'brush'
    user.page.click('#points .pick')
    assert tool() == 'point'
    user.press('1')
    assert tool() == 'brush'
    user.page.click('.strip .name >> text=Point 1')
    assert tool() == 'point'
    user.press('e')
    user.page.click('#objects .pick')
    assert tool() == 'eraser'


def test_a_pen_or_finger_paints_and_sets_points(visit, client, shapes):
    session = given(client, shapes)
    user = visit(TABLET, has_touch=True)
    user.open('talk.mp4')
    user.press('p')
    user.page.touchscreen.tap(*user.screen(70, 40))
    user.page.wait_for_selector('#points .pick')
    ((x, y),) = session.places(0).values()
    assert abs(x - 70) < 1
    assert abs(y - 40) < 1
    user.press('b')
    user.page.touchscreen.tap(*user.screen(60, 10))
    user.settle()
    assert session.mask(0)[10, 60] == 1


def test_zoom_keeps_what_is_under_the_pointer(visit, client, shapes):
    session = given(client, shapes)
    user = visit()
    user.open('talk.mp4')
    user.page.mouse.move(*user.screen(70, 40))
    user.page.mouse.wheel(0, -600)
    user.press('p')
    user.click(70, 40)
    user.page.wait_for_selector('#points .pick')
    ((x, y),) = session.places(0).values()
    assert abs(x - 70) < 0.3
    assert abs(y - 40) < 0.3


def test_two_fingers_zoom_and_paint_nothing(visit, client, shapes):
    session = given(client, shapes)
    user = visit(TABLET, has_touch=True)
    user.open('talk.mp4')
    before, screen = session.mask(0), user.page.context.new_cdp_session(user.page)

    def touch(kind, *places):
        points = [dict(zip('xy', user.screen(*place), strict=True), id=i) for i, place in enumerate(places)]
        screen.send('Input.dispatchTouchEvent', dict(type=f'touch{kind}', touchPoints=points))

    touch('Start', (40, 30))
    touch('Move', (41, 30))
    touch('Start', (41, 30), (51, 30))
    touch('Move', (36, 30), (56, 30))
    touch('End', (36, 30))
    touch('Move', (70, 50))
    touch('End')
    user.settle()
    assert (session.mask(0) == before).all()
    # Twice as large around the middle of the fingers: what is half as far from it is here now.
    user.press('p')
    user.page.touchscreen.tap(*user.screen(46 + 20, 30))
    user.page.wait_for_selector('#points .pick')
    ((x, y),) = session.places(0).values()
    assert abs(x - 56) < 1
    assert abs(y - 30) < 1
    assert (session.mask(0) == before).all()


def test_a_run_does_not_turn_the_page_under_the_brush(visit, client, shapes, monkeypatch):
    session = given(client, shapes)
    go_on = held(session, monkeypatch, frames=3)
    user = visit()
    user.open('talk.mp4')
    user.page.click('[data-way=forward]')
    user.until('Number(document.querySelector("#slider").value) === 2')
    user.settle()
    user.page.mouse.move(*user.screen(80, 50))
    user.page.mouse.down()
    go_on.release(COUNT)
    user.until(lambda: client.studio.worker.state()['state'] != 'running')
    user.page.wait_for_selector('#job', state='hidden')
    assert user.page.input_value('#number') == '2'
    user.page.mouse.move(*user.screen(82, 50))
    user.page.mouse.up()
    user.settle()
    assert session.mask(2)[50, 81] == 1
    assert user.page.input_value('#number') == '2'


def test_a_press_on_a_frame_that_is_still_loading_holds_the_page_there(visit, client, shapes, monkeypatch):
    session = given(client, shapes)
    go_on = held(session, monkeypatch, frames=3)
    user, late = visit(), []
    user.open('talk.mp4')
    finished = False
    user.page.route('**/api/shown?*frame=2*', lambda route: route.continue_() if finished else late.append(route))
    user.page.click('[data-way=forward]')
    user.until(lambda: late)
    user.page.mouse.click(*user.screen(80, 50))
    go_on.release(COUNT)
    user.page.wait_for_selector('#job', state='hidden')
    finished = True
    for route in late:
        route.continue_()
    user.settle()
    assert user.page.input_value('#number') == '2'
    assert session.mask(2)[50, 80] == 0


def test_another_video_is_opened_when_what_was_painted_is_saved(visit, client, shapes):
    session = given(client, shapes)
    user, late = visit(), []
    user.open('talk.mp4')
    user.page.route('**/api/area*', lambda route: late.append(route))
    user.page.mouse.click(*user.screen(80, 50))
    user.until(lambda: late)
    user.page.click('#open')
    user.page.click('#library >> text=frames')
    user.until(lambda: 'Opening frames' in user.page.inner_text('#title'))
    late[0].continue_()
    user.page.wait_for_selector('#title:has-text("frames · 96")')
    user.settle()
    assert session.mask(0)[50, 80] == 1
    assert user.texts('#objects .pick') == []
    user.page.go_back()
    user.page.wait_for_selector('#title:has-text("talk.mp4 · 96")')
    user.settle()
    assert len(user.texts('#objects .pick')) == 1


def test_the_way_back_leads_out_of_the_video_that_is_shown_first(visit, client):
    client.studio.first = 'talk.mp4'
    user = visit()
    user.page.goto('about:blank')
    user.open()
    user.page.wait_for_selector('#title:has-text("talk.mp4 · 96")')
    user.settle()
    user.page.go_back()
    assert user.page.url == 'about:blank'


def test_a_name_is_text(visit, client, place):
    name = '<img src=x onerror="document.title=1">&amp;\'%41 ünï.mp4'
    (place / name).write_bytes((place / 'talk.mp4').read_bytes())
    user = visit()
    user.open()
    user.page.click('#library button >> nth=0')
    user.settle()
    assert user.page.title() == f'{name} · stt_mm'
    assert user.page.inner_text('#title').startswith(name)
    user.press('n')
    client.studio.session(name).rename('object', 1, name[:50])
    user.until(lambda: user.texts('#objects .text > span') == [name[:50]])
    user.page.reload()
    user.settle()
    assert user.page.query_selector('main img') is None


def test_a_session_that_is_taken_away_is_not_shown_on(visit, client, shapes, place):
    session = given(client, shapes)
    user = visit(expected=['400', '404'])
    user.open('talk.mp4')
    shutil.rmtree(session.folder)
    user.until('document.querySelectorAll("#objects .pick").length === 0')
    user.settle()
    assert not (user.masks[0]).any()
    (place / 'talk.mp4').rename(place / 'away.mp4')
    user.page.wait_for_selector('.toast >> text=There is no talk.mp4')
    write_video(place / 'talk.mp4', shapes[0][:4])
    user.page.wait_for_selector('.toast >> text=has 4 of 96x64')
    assert user.page.locator('.toast').count() == 1
    shutil.rmtree(session.folder)
    user.page.wait_for_selector('#title:has-text("4 frames")')
    user.page.wait_for_selector('.toast', state='detached')


def test_a_stroke_is_seen_while_it_is_drawn(visit, client, shapes):
    """Only what is under the brush is drawn anew; it is what all of it would be."""
    session = given(client, shapes)
    session.add('object')
    session.paint(2, 0, shapes[1][0] == 2)
    user = visit()
    user.open('talk.mp4')

    def picture():
        user.page.wait_for_timeout(100)
        return cv2.imdecode(np.frombuffer(user.page.locator('#canvas').screenshot(), np.uint8), 1)

    before = picture()
    user.page.mouse.move(*user.screen(0, 32))
    user.page.mouse.down()
    user.page.mouse.move(*user.screen(60, 20), steps=5)
    user.page.mouse.move(*user.screen(95, 63), steps=5)
    drawn = picture()
    user.page.keyboard.press('1')  # chooses what is chosen: all is drawn anew
    whole = picture()
    user.page.mouse.up()
    user.settle()
    assert cv2.absdiff(before, drawn).any()
    assert (drawn == whole).all()


def test_points_are_in_doubt_where_no_object_is(visit, client, shapes):
    session = given(client, shapes)
    session.place(0, 20, 20)
    at = np.array([[21, 20]], np.float32)
    session.keep(3, FrameResult(3, '3', shapes[0][3], shapes[1][3], at, None, {1: 0.9}, np.array([0.3])), (1,), {})
    user = visit()
    user.open('talk.mp4')
    assert user.texts('#doubt button') == ['Frame 3 · 0.30']
    session.keep(4, FrameResult(4, '4', shapes[0][4], shapes[1][4], None, None, {1: 0.4}, None), (), {})
    user.until('document.querySelector("#doubt").innerText === "Frame 4 · 0.40"')
    user.press('d')
    assert user.page.input_value('#number') == '4'

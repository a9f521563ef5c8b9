"""Frames by number in all kinds of files, and how they are shown. Each frame shows its number in stripes."""

import pickle
import struct
import wave
from collections import namedtuple
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from tiny_data import shown, write_timed_video

from stt_mm.utils import FrameError, VideoReader
from stt_mm.utils.containers import is_cut_off
from stt_mm.utils.video import open_video
from stt_mm.utils.video_file import _MAX_PIXELS, FrameIndex, VideoFile, _compact, _index, _Waiting

COUNT = 100
STEPS = np.random.default_rng(0).integers(15, 90, COUNT)
# Milliseconds, as a phone in low light or a recorder of screens leaves them: frames are late, and some are missing.
TIMES = np.cumsum(STEPS).tolist()
EVEN = range(COUNT)
X264 = {'g': '24', 'x264-params': 'open-gop=1:bframes=3:mbtree=0'}
KINDS = {
    'mp4': ('a.mp4', TIMES, dict(options=X264)),
    'mov': ('a.mov', TIMES, dict(options=X264)),
    'mkv': ('a.mkv', TIMES, dict(options=X264)),
    'ts': ('a.ts', TIMES, dict(options=X264)),
    'flv': ('a.flv', TIMES, dict(options=X264)),
    'refresh': ('a.mp4', TIMES, dict(options={'g': '24', 'x264-params': 'intra-refresh=1:mbtree=0'})),
    'hevc': ('a.mp4', TIMES, dict(codec='libx265', options={'x265-params': 'log-level=none:keyint=24:open-gop=1'})),
    'vp9': ('a.webm', TIMES, dict(codec='libvpx-vp9', options={'cpu-used': '8', 'g': '24'})),
    'vp8': ('a.webm', TIMES, dict(codec='libvpx', options={'cpu-used': '8', 'auto-alt-ref': '1', 'g': '24'})),
    'mjpeg': ('a.avi', EVEN, dict(codec='mjpeg', pixels='yuvj420p', base=(1, 30))),
    'mpeg4': ('a.avi', EVEN, dict(codec='mpeg4', options={'bf': '2'}, base=(1, 30))),
    'mpeg2': ('a.ts', EVEN, dict(codec='mpeg2video', options={'bf': '2'}, base=(1, 30))),
    'no times': ('a.h264', EVEN, dict(options=X264, base=(1, 30))),
    'equal times': ('a.mp4', TIMES, dict(options=X264)),
    'one key frame': ('a.mp4', TIMES, dict()),
}


def make(folder, kind):
    name, times, arguments = KINDS[kind]
    if kind == 'equal times':
        # Encoders refuse two frames for one time.
        write_timed_video(folder / 'fine.mp4', TIMES, **arguments)
        return equal_times(folder / 'fine.mp4', folder / name)
    write_timed_video(folder / name, times, **arguments)
    return folder / name


def equal_times(source, target):
    """The packets of a file with pairs of frames at one time, as a coarse clock leaves them."""
    with av.open(str(source)) as old, av.open(str(target), 'w') as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(old.streams.video[0]) if packet.size]
        order = {pts: number for number, pts in enumerate(sorted(packet.pts for packet in packets))}
        for number, packet in enumerate(packets):
            packet.pts = (order[packet.pts] // 2 + 4) * 1600
            packet.dts = number * 700
            packet.stream = stream
            new.mux(packet)
    return target


@pytest.mark.parametrize('kind', KINDS)
def test_frames_by_number_are_those_in_order_whatever_was_read_before(tmp_path, kind):
    path = make(tmp_path, kind)
    frames = [frame for _, frame, _ in open_video(path).frames]
    assert [shown(frame) for frame in frames] == list(range(COUNT))
    reader = VideoReader(path)
    assert len(reader) == COUNT
    assert reader.index.whole
    for number in np.random.default_rng(1).integers(0, COUNT, 200).tolist():
        np.testing.assert_array_equal(reader.read(number), frames[number])
    known = VideoReader(path, pickle.loads(pickle.dumps(reader.index)))
    for number in range(90):
        known.read(number)
    np.testing.assert_array_equal(known.read(90), VideoReader(path).read(90))


def test_times_are_those_of_the_file(tmp_path):
    path = make(tmp_path, 'mp4')
    times = [seconds for _, _, seconds in open_video(path).frames]
    np.testing.assert_allclose(times, (np.array(TIMES) - TIMES[0]) / 1000, atol=1e-4)


def test_index_of_an_even_video_is_small(tmp_path):
    write_timed_video(tmp_path / 'a.mp4', EVEN, base=(1, 30))
    assert isinstance(VideoReader(tmp_path / 'a.mp4').index.times, range)
    assert len(pickle.dumps(VideoReader(tmp_path / 'a.mp4').index)) < 200


def test_edit_list_leaves_frames_out(tmp_path):
    """The file holds all frames; its edit list starts with number 10, which needs the frames before to be decoded."""
    write_timed_video(
        tmp_path / 'a.mp4', [40 * (t - 10) for t in EVEN], options={'g': '24'}, muxer={'avoid_negative_ts': 'disabled'}
    )
    with av.open(str(tmp_path / 'a.mp4')) as file:
        assert file.streams.video[0].frames == COUNT
    stream = list(open_video(tmp_path / 'a.mp4').frames)
    assert [shown(frame) for _, frame, _ in stream] == list(range(10, COUNT))
    reader = VideoReader(tmp_path / 'a.mp4')
    assert reader.index.whole
    assert [shown(reader.read(number)) for number in (0, 70, 3, 89)] == [10, 80, 13, 99]


@pytest.mark.parametrize('kind', ['ts', 'mpeg2'])
def test_recording_that_starts_between_two_key_frames(tmp_path, kind):
    path = make(tmp_path, kind)
    data = path.read_bytes()
    path.write_bytes(data[: 3 * 188] + data[len(data) // 3 // 188 * 188 :])
    frames = [frame for _, frame, _ in open_video(path).frames]
    assert 30 < len(frames) < 80
    reader = VideoReader(path)
    assert len(reader) == len(frames)
    for number in (len(frames) - 1, 0, 20, 5):
        np.testing.assert_array_equal(reader.read(number), frames[number])


def test_joined_recordings_whose_times_start_anew(tmp_path):
    path = make(tmp_path, 'ts')
    path.write_bytes(2 * path.read_bytes())
    stream = list(open_video(path).frames)
    assert [shown(frame) for _, frame, _ in stream] == 2 * list(range(COUNT))
    times = [seconds for _, _, seconds in stream]
    assert times == sorted(times)
    reader = VideoReader(path)
    assert [shown(reader.read(number)) for number in (130, 30, 199, 0)] == [30, 30, 99, 0]


def test_header_that_promises_too_much_does_not_make_a_whole_file_damaged(tmp_path):
    path = make(tmp_path, 'mjpeg')
    data = bytearray(path.read_bytes())
    for name, offset in ((b'avih', 24), (b'strh', 40)):
        struct.pack_into('<I', data, data.find(name) + offset, 500)
    path.write_bytes(data)
    stream = open_video(path)
    assert stream.num_frames == 500
    assert len(list(stream.frames)) == COUNT
    index = VideoReader(path).index
    assert (len(index.times), index.whole) == (COUNT, True)


@pytest.mark.parametrize(
    ('kind', 'muxer'), [('mp4', {'movflags': 'faststart'}), ('mkv', {}), ('vp9', {}), ('mjpeg', {}), ('mpeg4', {})]
)
def test_file_that_is_cut_off_keeps_the_frames_that_it_holds(tmp_path, kind, muxer):
    name, times, arguments = KINDS[kind]
    path = tmp_path / name
    write_timed_video(path, times, muxer=muxer, **arguments)
    assert not is_cut_off(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * (9 if kind == 'mp4' else 6) // 10])
    frames = []
    with pytest.raises(FrameError, match=rf'{name} ended after \d+ .*: it is cut off'):
        frames.extend(frame for _, frame, _ in open_video(path).frames)
    reader = VideoReader(path)
    assert not reader.index.whole
    assert len(reader) == len(frames)
    numbers = [shown(frame) for frame in frames]
    assert [shown(reader.read(t)) for t in range(len(frames))] == numbers
    # Frames are not stored in the order in which they are shown: the last may be there without those just before.
    assert numbers[:-3] == list(range(len(numbers) - 3))
    assert COUNT // 4 < len(frames) < COUNT


def test_damage_in_the_middle_is_told_and_never_shifts_the_numbers(tmp_path):
    path = make(tmp_path, 'mjpeg')
    data = path.read_bytes()
    with av.open(str(path)) as file:
        broken = [packet for packet in file.demux(file.streams.video[0]) if packet.size][40]
        start = data.find(bytes(broken))
    path.write_bytes(data[:start] + bytes(broken.size) + data[start + broken.size :])
    read = []
    with pytest.raises(FrameError, match=r'a\.avi ended after 40 .*damaged there.*ffmpeg -i'):
        read.extend(open_video(path).frames)
    assert len(read) == 40
    reader = VideoReader(path)
    assert [shown(reader.read(number)) for number in (39, 41, 99, 0)] == [39, 41, 99, 0]
    with pytest.raises(FrameError, match=r'Frame 40 of 100 cannot be read from .*a\.avi \(codec mjpeg\)'):
        reader.read(40)
    assert shown(reader.read(41)) == 41


@pytest.mark.parametrize(
    ('kind', 'broken'),
    [(kind, broken) for kind in ('mpeg4', 'mjpeg') for broken in (0, 37, 48)] + [('mp4', 37), ('mp4', 48), ('hevc', 3)],
)
def test_a_packet_with_a_hole_never_gives_a_wrong_frame(tmp_path, kind, broken):
    path = make(tmp_path, kind)
    whole = [frame for _, frame, _ in open_video(path).frames]
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(file.streams.video[0]) if packet.size][broken]
    data, start, hole = path.read_bytes(), packet.pos + packet.size // 3, packet.size // 3
    path.write_bytes(data[:start] + bytes(hole) + data[start + hole :])
    read = []
    with pytest.raises(FrameError, match='damaged there|no frame that can be decoded'):
        read.extend(frame for _, frame, _ in open_video(path).frames)
    assert np.array_equal(read, whole[: len(read)])
    try:
        reader = VideoReader(path)
    except FrameError:
        return
    refused = 0
    for number in np.random.default_rng(0).permutation(len(reader)).tolist():
        try:
            assert np.array_equal(reader.read(number), whole[number])
        except FrameError:
            refused += 1
    assert refused or not reader.index.whole


@pytest.mark.parametrize('kind', ['mkv', 'vp9', 'vp8'])
def test_frames_behind_a_broken_structure_are_not_taken_for_those_before(tmp_path, kind):
    """FFmpeg looks for the next cluster without a word: the frames in between would be gone."""
    path = make(tmp_path, kind)
    whole = [frame for _, frame, _ in open_video(path).frames]
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(file.streams.video[0]) if packet.size][60]
    data = path.read_bytes()
    # The name of the element that holds the packet: one byte of two stands before its size, track, time and flags.
    start = data.rindex(b'\xa3', 0, data.index(bytes(packet)))
    path.write_bytes(data[:start] + b'\0' + data[start + 1 :])
    read = []
    with pytest.raises(FrameError, match='damaged there'):
        read.extend(frame for _, frame, _ in open_video(path).frames)
    assert 50 < len(read) <= 60
    assert np.array_equal(read, whole[: len(read)])
    reader = VideoReader(path)
    assert not reader.index.whole
    assert len(reader) == len(read)
    assert all(np.array_equal(reader.read(number), whole[number]) for number in (len(read) - 1, 0, 30))


def test_a_packet_that_repeats_a_frame_shows_none(tmp_path):
    """Of MPEG-4, which has pictures that are not coded: a file of them is whole, and its frames are those that are."""
    write_timed_video(tmp_path / 'full.avi', EVEN, codec='mpeg4', options={'g': '100'}, base=(1, 30))
    with av.open(str(tmp_path / 'full.avi')) as old, av.open(str(tmp_path / 'a.avi'), 'w') as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(old.streams.video[0])):
            if not packet.size:
                continue
            if number % 10 == 5:
                # The start of the picture, up to its time of five bits, then: not coded.
                bits = ''.join(f'{byte:08b}' for byte in bytes(packet)[4:20])
                seconds = bits.index('0', 2) + 1
                head = bits[: seconds + 1 + 5] + '1' + '0' + '0'
                head += '1' * (-len(head) % 8)
                data = bytes(packet)[:4] + int(head, 2).to_bytes(len(head) // 8, 'big')
                repeated = av.Packet(data)
                repeated.pts, repeated.dts, repeated.time_base = packet.pts, packet.dts, packet.time_base
                packet = repeated
            packet.stream = stream
            new.mux(packet)
    reader = VideoReader(tmp_path / 'a.avi')
    assert reader.index.whole
    assert len(list(open_video(tmp_path / 'a.avi').frames)) == len(reader) == COUNT - COUNT // 10
    coded = [number for number in range(COUNT) if number % 10 != 5]
    assert [reader.index.times[place] - reader.index.times[0] for place in (0, 5, 50)] == [
        coded[0],
        coded[5],
        coded[50],
    ]
    assert reader.read(50).shape == reader.read(3).shape


def test_frames_that_are_not_to_be_shown_where_recordings_of_hevc_were_joined(tmp_path):
    """A key frame in the middle is said to follow a break: frames stored after it and shown before are left out."""
    options = {'x265-params': 'log-level=none:keyint=24:open-gop=1:bframes=3:b-adapt=0:scenecut=0'}
    write_timed_video(tmp_path / 'a.mp4', EVEN, codec='libx265', options=options, base=(1, 30))
    data, changed = bytearray((tmp_path / 'a.mp4').read_bytes()), 0
    with av.open(str(tmp_path / 'a.mp4')) as file:
        packets = [packet for packet in file.demux(file.streams.video[0]) if packet.size]
    for packet in packets[1:]:
        content, place = bytes(packet), 0
        while place + 4 < len(content):
            if content[place + 4] >> 1 & 63 == 21 and not changed:
                data[packet.pos + place + 4] = 16 << 1
                changed += 1
            place += 4 + int.from_bytes(content[place : place + 4], 'big')
    assert changed == 1
    (tmp_path / 'a.mp4').write_bytes(data)
    shown_in_order = [shown(frame) for _, frame, _ in open_video(tmp_path / 'a.mp4').frames]
    reader = VideoReader(tmp_path / 'a.mp4')
    assert reader.index.whole
    assert [shown(reader.read(number)) for number in range(len(reader))] == shown_in_order
    assert COUNT - 10 < len(reader) < COUNT


@pytest.mark.parametrize(
    ('events', 'lost', 'left'),
    [
        ('+0 +3 0 +1 1 +2 2 3', '', False),
        ('+0 +3 0 +1 +2 2 3', '2', False),
        ('+0 +3 0 +1 1 +2 3', '3', False),
        ('+0 +1 0 1 +2', '', True),
        ('+0 +1 1 +2 2', '1', False),  # Whether it should have come is up to the caller: decoding has begun with it.
        ('+9 +7 +8 9 +10 10', '9', False),
        ('+9 9 +7 +8 +10 10', '', False),  # Not before those that it began with.
        ('+5 5 +6 6 *7 +8 8', '', False),  # An edit list leaves out 7.
        ('+5 5 +6 +0 6 +1 0 1', '', False),  # Two recordings.
        ('+5 5 ? +6 +7 7', '', False),
        ('+5 +5 5 5', '', False),
        ('+5 +5 5 +6 6', '6', False),
    ],
)
def test_what_the_decoder_owes(events, lost, left):
    """Packets are marked by +, and by * where they are not to be shown; ? has no time. The rest are frames."""
    waiting, missed, order = _Waiting(True), [], 0
    for event in events.split():
        if event[0] in '+*?':
            time = None if event == '?' else int(event[1:])
            order = -1 if time == 0 and order else order + 1
            waiting.add(packet(time, order, discard=event[0] == '*'))
        elif waiting.shown(SimpleNamespace(pts=int(event))):
            missed.append(event)
    waiting.add(None)
    assert (' '.join(missed), waiting.left) == (lost, left)
    nothing = _Waiting(False)
    nothing.add(packet(1))
    assert not nothing.left
    assert not nothing.shown(SimpleNamespace(pts=5))


def test_whole_files_that_do_not_know_their_size_or_hold_more(tmp_path):
    """A live WebM, an AVI from a pipe, and an MP4 behind which a camera wrote something of its own."""
    webm, avi, mp4 = (make(tmp_path, kind) for kind in ('vp9', 'mjpeg', 'mp4'))
    data = webm.read_bytes()
    segment = data.find(b'\x18\x53\x80\x67') + 4
    assert data[segment] == 1, 'a size of eight bytes'
    webm.write_bytes(data[:segment] + b'\x01' + 7 * b'\xff' + data[segment + 8 :])
    avi.write_bytes(b'RIFF' + 4 * b'\xff' + avi.read_bytes()[8:])
    mp4.write_bytes(mp4.read_bytes() + b'\x7f\xff\xff\xffgps 12.5')
    for path in (webm, avi, mp4):
        assert not is_cut_off(path)
        assert len(list(open_video(path).frames)) == len(VideoReader(path)) == COUNT


ROTATIONS = {
    'upright': ((1, 0, 0, 1), lambda x: x),
    '90': ((0, -1, 1, 0), np.rot90),
    '180': ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
    '270': ((0, 1, -1, 0), lambda x: np.rot90(x, 3)),
    'mirrored': ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
    'upside down': ((1, 0, 0, -1), lambda x: x[::-1]),
    'transposed': ((0, 1, 1, 0), lambda x: x.transpose(1, 0, 2)),
    '45': ((1, -1, 1, 1), lambda x: x),
}


@pytest.mark.parametrize('name', ROTATIONS)
def test_video_is_turned_as_its_display_matrix_says(tmp_path, name):
    path = tmp_path / 'a.mp4'
    write_timed_video(path, range(12), base=(1, 30))
    stored = VideoReader(path).read(5)
    data, (numbers, turn) = bytearray(path.read_bytes()), ROTATIONS[name]
    for offset, number in zip((44, 48, 56, 60), numbers, strict=True):
        struct.pack_into('>i', data, data.find(b'tkhd') + offset, number << 16)
    path.write_bytes(data)
    np.testing.assert_array_equal(VideoReader(path).read(5), turn(stored))
    np.testing.assert_array_equal(list(open_video(path).frames)[5][1], turn(stored))


@pytest.mark.parametrize(
    ('pixels', 'matrix', 'full_range'),
    [
        ('yuv420p', 'ITU709', False),
        ('yuv420p', 'ITU601', False),
        ('yuv444p', 'ITU709', False),
        ('yuv420p10le', 'ITU709', False),
        ('yuvj420p', 'ITU601', True),
        ('yuv422p', 'ITU709', True),
    ],
)
def test_colours_come_back_under_each_matrix_and_range(tmp_path, pixels, matrix, full_range):
    """Taking one matrix for the other would cost 20 levels, one range for the other as many."""
    colours = np.array([(200, 30, 40), (20, 180, 60), (40, 50, 220), (250, 250, 250)], np.uint8)
    picture = np.repeat(np.repeat(colours.reshape(2, 2, 3), 32, 0), 48, 1)
    with av.open(str(tmp_path / 'a.mp4'), 'w') as file:
        stream = file.add_stream('libx264', rate=10, options={'crf': '1'})
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        codec = stream.codec_context
        codec.colorspace, codec.color_range = {'ITU709': 1, 'ITU601': 6}[matrix], 2 if full_range else 1
        frame = VideoReformatter().reformat(
            av.VideoFrame.from_ndarray(picture, format='rgb24'),
            format=pixels,
            dst_colorspace=matrix,
            dst_color_range=codec.color_range,
        )
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    read = VideoReader(tmp_path / 'a.mp4').read(0)
    np.testing.assert_allclose(read[16::32, 24::48].astype(int), picture[16::32, 24::48], atol=4)


def test_a_path_is_never_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_timed_video('a.mp4', range(3), base=(1, 30))
    (tmp_path / 'a.mp4').rename('http:x%03d.mp4')
    assert len(VideoReader('http:x%03d.mp4')) == 3
    (tmp_path / 'list.m3u8').write_text('#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n')
    with pytest.raises(FrameError, match=r'list\.m3u8 cannot be opened|holds no frame'):
        VideoReader('list.m3u8')


def test_keys_are_found_as_a_search_from_the_start_finds_them():
    rng = np.random.default_rng(0)
    for _ in range(50):
        times = sorted(rng.integers(0, 12, 10).tolist())
        keys = sorted({0, *rng.integers(0, 10, 3).tolist()})
        index = FrameIndex(times, keys, True)
        for number in range(10):
            assert index.key_before(number) == max(key for key in keys if key <= number)
        for time in (None, *range(-1, 14)):
            first = next((number for number in range(10) if times[number] == time), None)
            assert index.key_at(time) == (first if first in keys else None)
    assert (FrameIndex(range(3), (), True).key_before(2), FrameIndex(range(3), (), True).key_at(1)) == (0, None)
    late = FrameIndex(range(9), (4,), True)
    assert [late.key_before(number) for number in (0, 3, 4, 8)] == [0, 0, 4, 4]


def test_an_index_names_the_key_frames_that_are_alone_at_their_time():
    index = _index([7, 3, 5, 5, 9], [9, 3, 5, 3], False)
    assert (list(index.times), list(index.keys), index.whole) == ([3, 5, 5, 7, 9], [0, 4], False)
    assert list(_index([4, 4], [4], True).keys) == []


@pytest.mark.parametrize(
    ('numbers', 'even'),
    [([], True), ([5], True), ([0, 1, 2], True), ([3, 7, 11], True), ([2, 2], False), ([0, 1, 3], False)],
)
def test_even_numbers_are_kept_as_a_range(numbers, even):
    assert list(_compact(numbers)) == numbers
    assert isinstance(_compact(numbers), range if even else tuple)


def test_pictures_up_to_16k_are_decoded():
    assert 15360 * 8640 < _MAX_PIXELS < 2 * 15360 * 8640


def test_pictures_beyond_the_limit_are_not_decoded(tmp_path, monkeypatch):
    write_timed_video(tmp_path / 'a.mp4', range(3), base=(1, 30))
    monkeypatch.setattr('stt_mm.utils.video_file._MAX_PIXELS', 48 * 96 // 2)
    with pytest.raises(FrameError):
        VideoReader(tmp_path / 'a.mp4')


@pytest.fixture
def film(tmp_path):
    write_timed_video(tmp_path / 'a.mp4', range(60), options={'g': '20', 'bf': '0'}, base=(1, 30))
    return VideoFile(str(tmp_path / 'a.mp4'))


def packet(pts, dts=None, key=False, discard=False):
    return SimpleNamespace(pts=pts, dts=dts, is_keyframe=key, is_discard=discard)


@pytest.mark.parametrize(
    ('packets', 'times', 'keys'),
    [
        ([packet(3, 0, True), packet(9, 1), packet(5, 1), packet(20, 2, True)], [3, 5, 9, 20], [0, 3]),
        ([packet(3, None, True), packet(9, 4), packet(5, None), packet(20, 2)], [3, 5, 9, 20], [0]),
        ([packet(3, 0, True, True), packet(9, 1, True)], [9], [0]),
        ([packet(3, 0, True), packet(None, 1)], None, None),
        ([packet(3, 2, True), packet(4, 1)], None, None),
        ([], [], []),
    ],
)
def test_packets_promise_the_times_of_frames(film, monkeypatch, packets, times, keys):
    monkeypatch.setattr(film, '_packets', lambda: iter(packets))
    index = film.packet_index()
    if times is None:
        assert index is None
    else:
        assert (list(index.times), list(index.keys)) == (times, keys)


@pytest.mark.parametrize(
    ('frames', 'times', 'keys'),
    [
        ([(4, True), (4, False), (9, True)], [4, 4, 9], [2]),
        ([(4, True), (3, False)], [0, 1], []),
        ([(4, True), (None, False)], [0, 1], []),
        ([(4, False)], [4], []),
        ([], [], []),
    ],
)
def test_decoded_frames_tell_their_times(film, monkeypatch, frames, times, keys):
    monkeypatch.setattr(film, 'frames', lambda: (SimpleNamespace(pts=pts, key_frame=key) for pts, key in frames))
    index = film.decoded_index()
    assert (list(index.times), list(index.keys)) == (times, keys)


@pytest.mark.parametrize(('cut', 'damaged'), [(False, False), (True, False), (False, True)])
def test_an_index_is_whole_unless_the_file_is_cut_or_damaged(film, cut, damaged):
    film.cut, film.damaged = cut, damaged
    assert film.packet_index().whole is not (cut or damaged)
    film.seek(0)
    film.cut, film.damaged = cut, damaged
    assert film.decoded_index().whole is not (cut or damaged)


def test_a_seek_ends_at_a_key_frame_and_decodes_in_one_thread(film):
    index = film.packet_index()
    assert list(index.keys) == [0, 16, 32, 48]
    for number, key in ((59, 48), (32, 32), (31, 16)):
        assert film.seek(index.times[number])
        assert [shown(film.rgb(frame)) for frame, _ in zip(film.frames(from_key=True), range(3), strict=False)] == [
            key,
            key + 1,
            key + 2,
        ]
    assert film._codec.thread_count == 1
    assert (film.promised, film.fps, film.codec) == (60, 30, 'h264')


def test_a_file_that_is_refused_is_closed_and_none_leads_elsewhere(tmp_path, monkeypatch):
    opened, open_file = [], av.open

    def watched(name, **arguments):
        opened.append((open_file(name, **arguments), name, arguments))
        return opened[-1][0]

    monkeypatch.setattr('stt_mm.utils.video_file.av.open', watched)
    with wave.open(str(tmp_path / 'a.wav'), 'wb') as file:
        file.setparams((1, 2, 8000, 0, 'NONE', None))
        file.writeframes(bytes(800))
    with pytest.raises(FrameError, match='holds no video stream, only audio'):
        VideoFile(str(tmp_path / 'a.wav'))
    ((container, name, arguments),) = opened
    assert (name, arguments) == (f'file:{tmp_path}/a.wav', dict(options={'protocol_whitelist': 'file'}))
    with pytest.raises(AssertionError, match='not open'):
        container.seek(0)


def test_a_cover_picture_or_a_stream_of_an_unknown_codec_is_not_the_video(tmp_path, monkeypatch):
    class Streams(list):
        @property
        def video(self):
            return self

    def stream(codec, disposition):
        codec = None if codec is None else SimpleNamespace(name=codec)
        return SimpleNamespace(type='video', codec_context=codec, disposition=disposition)

    (tmp_path / 'a.mp4').touch()
    streams, closed = Streams(), []
    form = SimpleNamespace(name='mov,mp4')
    container = SimpleNamespace(streams=streams, format=form, close=lambda: closed.append(True))
    monkeypatch.setattr('stt_mm.utils.video_file.av.open', lambda *_, **__: container)
    unknown, cover = stream(None, Disposition.default), stream('png', Disposition.attached_pic)
    film, other = (stream('h264', disposition) for disposition in (Disposition.default, Disposition(0)))
    for held, taken in (
        ([unknown, cover, film], film),
        ([film, other], film),
        ([other, film], other),
        ([cover], cover),
        ([cover, film, other], film),
    ):
        streams[:] = held
        assert VideoFile(str(tmp_path / 'a.mp4'))._stream is taken
    assert not closed
    streams[:] = [unknown]
    with pytest.raises(FrameError, match='cannot be opened'):
        VideoFile(str(tmp_path / 'a.mp4'))
    assert closed == [True]


@pytest.mark.parametrize(
    ('packets', 'from_key', 'frames', 'damaged'),
    [
        ('K1 p2 p3', False, [1, 2, 3], False),
        ('p1 K2 p3', True, [2, 3], False),
        ('p1 K2 p3', False, [1, 2, 3], False),
        ('x x K1 p2', False, [1, 2], False),  # A recording that starts in the middle.
        ('K1 p2 x p3', False, [1, 2], True),
        ('K- x K1', False, [1], False),
        ('p1 x K2', True, [2], False),
        ('K1 p- x p3', False, [1], True),
        ('Kx p1', False, [], True),
        ('K1 p2! p3', False, [1], True),
        ('K1! p2', False, [], True),
        ('p1! p2! K3 p4!', False, [1, 2, 3], True),
        ('p1 K2! p3', True, [], True),
    ],
)
@pytest.mark.parametrize('end', ['', '9', 'x'])
def test_frames_up_to_where_a_film_is_damaged(film, monkeypatch, packets, from_key, frames, damaged, end):
    """Packets that are key frames or not, and the frame that each gives, none, or an error; and what the end gives.

    A frame with a mark of exclamation has gaps that the decoder filled.
    """
    Frame = namedtuple('Frame', 'number is_corrupt key_frame pts', defaults=[None])

    def decode(packet):
        text = end if packet is None else packet.text
        if text == 'x':
            raise av.error.InvalidDataError(1, 'broken')
        number = text.strip('!')
        return [Frame(int(number), '!' in text, packet and packet.is_keyframe)] if number.isdecimal() else []

    # A codec of which nothing is known.
    codec = SimpleNamespace(canonical_name='')
    monkeypatch.setattr(film, '_codec', SimpleNamespace(decode=decode, codec=codec))
    monkeypatch.setattr(
        film,
        '_packets',
        lambda: (SimpleNamespace(text=word.strip('Kp'), is_keyframe=word[0] == 'K') for word in packets.split()),
    )
    # After damage the decoder is not asked for what it holds back.
    read = [frame.number for frame in film.frames(from_key)]
    assert read == frames + [9] * (end == '9' and not damaged)
    assert film.damaged is (damaged or end == 'x')


@pytest.mark.parametrize(
    ('sizes', 'cut', 'read'), [([5, 0, -3, 4], False, [5, 3, 4]), ([5, 0, -3, 4], True, [5, 4]), ([], True, [])]
)
@pytest.mark.parametrize('error', [None, IndexError, av.error.InvalidDataError])
def test_packets_that_are_parts_of_one_are_left_out_where_a_file_is_cut_off(film, monkeypatch, sizes, cut, read, error):
    """A negative size stands for a packet that is corrupt."""

    def demux(stream):
        for size in sizes:
            yield SimpleNamespace(size=abs(size), is_corrupt=size < 0, pos=None)
        if error is not None:
            raise error(1, 'broken')

    film.cut = cut
    monkeypatch.setattr(film, '_container', SimpleNamespace(demux=demux))
    assert [packet.size for packet in film._packets()] == read
    assert film.damaged is (error is av.error.InvalidDataError)


def test_a_container_that_cannot_seek_says_so(film, monkeypatch):
    def seek(time, stream):
        if stream is not film._stream:
            raise ValueError('the clock of another stream')
        if time == 7:
            raise av.error.OSError(1, 'broken')

    monkeypatch.setattr(film, '_container', SimpleNamespace(seek=seek))
    assert film.seek(7) is False
    assert film.seek(8) is True


def test_what_cannot_become_rgb_is_told(film, monkeypatch):
    def reformat(frame, **settings):
        raise ValueError('no such pixels')

    frame = next(film.frames())
    monkeypatch.setattr(film, '_to_rgb', SimpleNamespace(reformat=reformat))
    with pytest.raises(FrameError, match=r'The pixels of .*a\.mp4 \(yuv420p, 96x48\) cannot be converted to RGB'):
        film.rgb(frame)

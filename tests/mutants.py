"""Damage of files, by bytes and by what each format is made of: PNG, JPEG, MP4, MATLAB, JSON, lists, zip."""

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

Mutator = Callable[[bytes, random.Random], bytes]

EXTREMES = (0, 1, -1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 30000, 65500, 2**40, 2**62)
BOMB_BYTES = 1536 * 2**20
# What stands in a JSON file in place of something else.
VALUES = (
    None,
    True,
    -1,
    0,
    2**31,
    2**80,
    1e308,
    float('nan'),
    float('inf'),
    '',
    '..',
    '../../x',
    '/etc',
    'a\\b',
    'C:x',
    '\u200b',
    '\ud800',
    '\0',
    'x' * 5000,
    [],
    {},
    [[]],
    [{}],
    {'': {}},
    'NaN',
    '00000',
)
WORDS = (
    '',
    '..',
    '../x',
    '/',
    'a b c d',
    '\ufeff',
    '\u200b',
    '\0',
    '-1',
    '1e999',
    'nan',
    '99999999999999999999',
    '#',
    '"',
    'x' * 5000,
    '\\',
    'video0/',
    '1 2 3',
    '\x85',
    '\ud800',
)


def place(data: bytes, rng: random.Random, longest: int = 64) -> slice:
    """A random run of at least one byte."""
    start = rng.randrange(max(len(data), 1))
    return slice(start, start + rng.randint(1, longest))


def replaced(data: bytes, where: slice, new: bytes) -> bytes:
    return data[: where.start] + new + data[where.stop :]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 32))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, rng: random.Random) -> bytes:
    where = place(data, rng)
    return replaced(data, where, rng.randbytes(where.stop - where.start))


def clear(data: bytes, rng: random.Random) -> bytes:
    where = place(data, rng, max(len(data) // 4, 1))
    return replaced(data, where, bytes(len(data[where])))


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 64)), len(data) - 1))]


def remove(data: bytes, rng: random.Random) -> bytes:
    return replaced(data, place(data, rng), b'')


def repeat(data: bytes, rng: random.Random) -> bytes:
    where = place(data, rng, max(len(data) // 4, 1))
    return replaced(data, where, data[where] * rng.randint(2, 4))


def insert(data: bytes, rng: random.Random) -> bytes:
    where = rng.randrange(len(data))
    return replaced(data, slice(where, where), rng.randbytes(rng.randint(1, 64)))


def extreme_number(data: bytes, rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4, 4, 8))
    number = rng.choice(EXTREMES) % 256**size
    return replaced(
        data,
        slice(where := rng.randrange(len(data)), where + size),
        number.to_bytes(size, rng.choice(('big', 'little'))),
    )


def early(data: bytes, rng: random.Random) -> bytes:
    """One of the others, in the first bytes, where headers are."""
    head = rng.choice((16, 64, 256))
    return rng.choice(BYTES[:-1])(data[:head], rng) + data[head:]


BYTES: tuple[Mutator, ...] = (flip_bits, overwrite, clear, truncate, remove, repeat, insert, extreme_number, early)


def any_bytes(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(BYTES)(data, rng)


def split_png(data: bytes) -> list[tuple[bytes, bytes]]:
    """(name, content) of each chunk."""
    chunks, position = [], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack('>I', data[position : position + 4])
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def join_png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file, with checksums that fit."""
    parts = [
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def png_chunks(data: bytes, rng: random.Random) -> bytes:
    """Chunks with other content, doubled, dropped or swapped."""
    chunks = split_png(data)
    index = 0 if rng.random() < 0.4 else rng.randrange(len(chunks))
    kind, body = chunks[index]
    change = rng.randrange(5)
    if change == 0 and kind == b'IHDR':
        sides = [rng.choice((1, 2, 2**31 - 1, 2**32 - 1, 65535, 40000, 20000)) for _ in range(2)]
        chunks[index] = kind, struct.pack('>II', *sides) + body[8:]
    elif change <= 2 and body:
        chunks[index] = kind, any_bytes(body, rng)
    elif change == 3:
        bomb = b'zTXt', b'a\0\0' + zlib.compress(bytes(10**7))
        chunks[index : index + 1] = rng.choice(([], [chunks[index]] * 2, [chunks[index], bomb]))
    else:
        rng.shuffle(chunks)
    return join_png(chunks)


def png_pixels(data: bytes, rng: random.Random) -> bytes:
    """The compressed pixels, changed and compressed again."""
    chunks = split_png(data)
    pixels = zlib.decompress(b''.join(body for kind, body in chunks if kind == b'IDAT'))
    others = [chunk for chunk in chunks if chunk[0] != b'IDAT']
    return join_png([*others[:-1], (b'IDAT', zlib.compress(any_bytes(pixels, rng))), others[-1]])


def jpeg_segments(data: bytes, rng: random.Random) -> bytes:
    """The head of a segment, its length and the sides of the picture among it."""
    marks = [match.start() for match in re.finditer(rb'\xff[\xc0-\xfe]', data)]
    frames = [mark for mark in marks if data[mark + 1] in (0xC0, 0xC2)]
    if frames and rng.random() < 0.3:
        sides = struct.pack('>HH', *(rng.choice((0, 1, 65500, 65535, 20000)) for _ in range(2)))
        return replaced(data, slice(frames[0] + 5, frames[0] + 9), sides)
    mark = rng.choice(marks)
    return data[:mark] + any_bytes(data[mark : mark + 24], rng) + data[mark + 24 :]


def mp4_boxes(data: bytes, rng: random.Random) -> bytes:
    """The head of a box, and the numbers that follow it."""
    names = rb'ftyp|moov|mvhd|trak|tkhd|edts|elst|mdia|mdhd|stbl|stsd|avc1|avcC|stts|ctts|stsc|stsz|stco|stss|mdat'
    mark = rng.choice([match.start() for match in re.finditer(names, data)] or [0])
    start = max(mark - 4, 0)
    return data[:start] + any_bytes(data[start : start + 48], rng) + data[start + 48 :]


def mat_elements(data: bytes, rng: random.Random) -> bytes:
    """A compressed variable, changed and compressed again; the tags of one that is not."""
    kind, length = struct.unpack('<II', data[128:136])
    if kind != 15:
        return data[:128] + any_bytes(data[128:256], rng) + data[256:]
    inner = zlib.decompress(data[136 : 136 + length])
    inner = rng.choice((any_bytes(inner, rng), any_bytes(inner[:96], rng) + inner[96:]))
    if rng.random() < 0.02:
        inner = inner[:4] + struct.pack('<I', 2**28) + bytes(2**28)
    packed = zlib.compress(inner)
    return data[:128] + struct.pack('<II', 15, len(packed)) + packed


def json_values(data: bytes, rng: random.Random) -> bytes:
    """Values, keys and encodings that a program would not write."""
    content = json.loads(data)
    nodes = []

    def collect(node: object) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            nodes.append((node, key))
            collect(node[key])

    collect(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        node, key = rng.choice(nodes)
        change = rng.randrange(4)
        if change == 0 and isinstance(node, dict) and key in node:
            node[str(rng.choice(VALUES))] = node.pop(key)
        elif change == 1 and isinstance(node, dict):
            node.pop(key, None)
        elif isinstance(node, dict) or key < len(node):
            node[key] = rng.choice(VALUES)
    if rng.random() < 0.05:
        content = rng.choice(VALUES)
    text = json.dumps(content)
    if rng.random() < 0.1:
        text = rng.choice(('[' * 10**5, '{"a":' * 10**5, '1' * 10**5, f'{{"videos": {text}}}', f'{text} {text}'))
    return text.encode(rng.choice(('utf-8', 'utf-8', 'utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32')))


def list_lines(data: bytes, rng: random.Random) -> bytes:
    """Words and lines of a list, its line ends and its encoding."""
    lines = data.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        index = rng.randrange(len(lines) + 1)
        words = lines[index].split(' ') if index < len(lines) else ['']
        change = rng.randrange(4)
        if change == 0:
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        elif change == 1:
            words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
        elif change == 2:
            words = words[:-1]
        else:
            words = rng.choice((words * 2, words[::-1], ['']))
        lines[index : index + 1] = [' '.join(words)]
    text = rng.choice(('\n', '\n', '\r\n', '\r')).join(lines) + rng.choice(('', '\n'))
    encoding = rng.choice(('utf-8', 'utf-8', 'utf-8', 'utf-8-sig', 'utf-16', 'utf-16-be', 'latin-1'))
    return text.encode(encoding, 'surrogatepass' if 'utf' in encoding else 'replace')


_bombs: list[bytes] = []


def _bomb() -> bytes:
    """A deflated run of zeros, made once."""
    if not _bombs:
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        block = bytes(2**24)
        _bombs.append(b''.join([*(packer.compress(block) for _ in range(BOMB_BYTES // 2**24)), packer.flush()]))
    return _bombs[0]


def zip_members(data: bytes, rng: random.Random) -> bytes:
    """Members of a zip file with other content, another name, doubled or gone; the checksums fit."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            members = [(name, source.read(name)) for name in source.namelist()]
    except zipfile.BadZipFile:
        return any_bytes(data, rng)
    index = rng.randrange(len(members)) if rng.random() < 0.4 else 0
    name, content = members[index]
    change = rng.randrange(8)
    if change <= 4 and content:
        members[index] = name, any_bytes(content, rng)
    elif change == 5:
        members[index : index + 1] = rng.choice(([], [(f'{name}x', content)], [(f'../{name}', content)]))
    elif change == 6:
        rng.shuffle(members)
    else:
        members[index] = name, bytes(rng.choice((0, 1, 2**20)))
    target = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(target, 'w', method) as file:
        for name, content in members:
            file.writestr(name, content)
    return target.getvalue()


def zip_bomb(data: bytes, name: str) -> bytes:
    """A zip file one of whose members becomes 1.5 GiB when it is unpacked."""
    packed = _bomb()
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = [(other, source.read(other)) for other in source.namelist()]
    checksum = zlib.crc32(bytes(2**24))
    for _ in range(BOMB_BYTES // 2**24 - 1):
        checksum = zlib.crc32(bytes(2**24), checksum)
    body, directory = b'', b''
    for other, content in members:
        method, crc, size, stored = 0, zlib.crc32(content), len(content), content
        if other.endswith(name):
            method, crc, size, stored = 8, checksum, BOMB_BYTES, packed
        fields = struct.pack('<HHHHHIIIHH', 20, 0, method, 0, 33, crc, len(stored), size, len(other), 0)
        directory += b'PK\1\2' + struct.pack('<H', 20) + fields + struct.pack('<HHHII', 0, 0, 0, 0, len(body))
        directory += other.encode()
        body += b'PK\3\4' + fields + other.encode() + stored
    end = struct.pack('<HHHHIIH', 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + b'PK\5\6' + end

"""Many pictures in one: strips below each other, and pages that hold their pictures."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stt_mm.utils.checkpoint import write_atomically

_STYLE = (
    'body{font-family:sans-serif;margin:1.5em}td,th{padding:4px;text-align:left;vertical-align:top}'
    'img{width:100%;min-width:12em;display:block}small{color:#444}'
)


def to_height(image: np.ndarray, height: int) -> np.ndarray:
    """A picture ``[H, W, 3]`` at another height, its aspect ratio kept."""
    return cv2.resize(image, (max(round(image.shape[1] * height / image.shape[0]), 1), height))


def stack_rows(rows: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Rows of unequal width below each other, filled up with black."""
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, gap), (0, width - row.shape[1]), (0, 0))) for row in rows])


def with_title(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture ``[H, W, 3]`` below a line of text, as far as it fits; what is not ASCII is ``?``."""
    line = np.zeros((20, *picture.shape[1:]), np.uint8)
    text = text.encode('ascii', 'replace').decode()
    cv2.putText(line, text, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([line, picture])


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture, uint8 ``[H, W, 3]`` RGB, as a PNG file."""
    return cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def write_page(
    path: str | Path,
    title: str,
    rows: Sequence[tuple[str, Sequence[np.ndarray]]],
    columns: Sequence[str],
    captions: Sequence[Sequence[str]],
) -> None:
    """Writes an HTML page that needs no other file.

    Args:
        path: of the page.
        title: of the page.
        rows, columns: as of :func:`stt_mm.visualization.write_comparison`.
        captions: below the pictures, one for each.
    """
    parts = [f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{html.escape(title)}</title>']
    parts.append(f'<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1><table><tr>')
    parts += [f'<th>{html.escape(column)}</th>' for column in columns]
    for (label, pictures), texts in zip(rows, captions, strict=True):
        parts.append(f'</tr>\n<tr><th colspan="{len(columns)}">{html.escape(label)}</th></tr>\n<tr>')
        for picture, text in zip(pictures, texts, strict=True):
            data = base64.b64encode(png_bytes(picture)).decode()
            parts.append(f'<td><img alt="" src="data:image/png;base64,{data}"><small>{html.escape(text)}</small></td>')
    write_atomically(''.join([*parts, '</tr></table></body></html>\n']).encode(), path)

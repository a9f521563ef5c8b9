"""Measure how well confidence finds lost objects, and what one correction gains."""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stt_mm.apis import FrameResult, VideoPropagator
from stt_mm.apis.labels import lowest
from stt_mm.datasets import DAVIS
from stt_mm.engine.cli import add_config_options, add_weight_arguments, one_line_errors, tool_parser, tracked
from stt_mm.errors import InputError
from stt_mm.evaluation.functional import region_similarity
from stt_mm.evaluation.metrics.tables import text_table
from stt_mm.utils import read_mask

EPILOG = """example:
  python tools/analysis/doubt.py configs/eval/davis_r18_s8.py stt_r18_demo demo/data/davis

The data set is in the layout of DAVIS-2017, with masks of all frames. An object is lost in a frame if its J is below
0.5; where nothing or everything is lost, there is no AUC (nan).

The correction gives the true masks of all objects in the frame most in doubt, which is chosen without looking at the
truth. J is averaged over objects and over all frames but the first and that one: without the correction, with it, and
with labels carried both ways."""
LOST = 0.5


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('config', help='config with the network and the protocol')
    parser.add_argument('checkpoint', help='weights of the backbone, or "none"')
    parser.add_argument('data', type=Path, help='data set in the layout of DAVIS-2017')
    parser.add_argument('--device', help='device, such as cpu or cuda:1 (default: the first GPU if there is one)')
    add_config_options(parser)
    add_weight_arguments(parser)
    return parser.parse_args(argv)


def auc(scores: Iterable[float], lost: Iterable[bool]) -> float:
    """Area under the ROC curve: how often a frame that is not lost has the higher score; ties count a half."""
    scores, lost = np.asarray(list(scores)), np.asarray(list(lost))
    good, bad = scores[~lost], scores[lost]
    if not len(good) or not len(bad):
        return float('nan')
    return float((good[:, None] > bad).mean() + (good[:, None] == bad).mean() / 2)


def similarities(results: Iterable[FrameResult], truths: Iterable[np.ndarray], ids: list[int]) -> np.ndarray:
    """``[T, K]``: J of each object in each frame."""
    pairs = zip(results, truths, strict=True)
    return np.array([[region_similarity((r.mask == k)[None], (t == k)[None])[0] for k in ids] for r, t in pairs])


def examine(propagator: VideoPropagator, frames: list[str], masks: list[str]) -> dict[str, Any]:
    """Confidence and J of each object and frame of a video, and J without and with a correction."""
    folder, truths = Path(frames[0]).parent, [without_void(read_mask(path)) for path in masks]
    ids = np.unique(truths[0][truths[0] > 0]).tolist()
    plain = list(propagator.stream(folder, truths[0]))
    found = similarities(plain, truths, ids)
    sure = {t: result.least_confidence for t, result in enumerate(plain) if t}
    (doubtful, _), *_ = lowest(sure, 1)
    given = {0: truths[0], doubtful: truths[doubtful]}
    rest = [t for t in range(1, len(truths)) if t != doubtful]
    corrected = {
        direction: similarities(propagator.stream(folder, given, direction=direction), truths, ids)[rest].mean()
        for direction in ('forward', 'both')
    }
    return dict(
        frame=doubtful,
        before=found[rest].mean(),
        **corrected,
        confidence=[plain[t].confidence.get(k, 0.0) for t in range(1, len(truths)) for k in ids],
        lost=(found[1:] < LOST).flatten().tolist(),
    )


def without_void(mask: np.ndarray) -> np.ndarray:
    """The ids, with 255 as background."""
    return np.where(mask == 255, 0, mask)


def summary(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of all videos, and the area under the ROC curve of all their frames together."""
    columns = {'before': 'J', 'forward': 'corrected', 'both': 'both ways'}
    table = {
        f'{name} ({sum(row["lost"])} of {len(row["lost"])} lost, frame {row["frame"]})': {
            'AUC': auc(row['confidence'], row['lost']),
            **{title: row[key] for key, title in columns.items()},
        }
        for name, row in rows.items()
    }
    mean = {title: float(np.mean([row[title] for row in table.values()])) for title in columns.values()}
    together = [[value for row in rows.values() for value in row[key]] for key in ('confidence', 'lost')]
    return (
        f'{text_table(table)}\n'
        f'all objects and frames: {sum(together[1])} of {len(together[1])} are lost, AUC {auc(*together):.3f}\n'
        f'mean over the videos: {", ".join(f"{title} {value:.4f}" for title, value in mean.items())}'
    )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        checkpoint = None if args.checkpoint == 'none' else args.checkpoint
        propagator = VideoPropagator(
            args.config,
            checkpoint,
            args.device,
            args.cfg_options,
            args.trust_checkpoint,
            args.allow_partial,
            args.prefix,
            args.allow_other_geometry,
        )
        data = DAVIS(str(args.data))
        data.full_init()
        rows = {}
        for video in tracked(data.data_list):
            if None in video['mask_paths']:
                raise InputError(f'{video["video_id"]} of {args.data} has no mask of some frames: all are compared.')
            rows[video['video_id']] = examine(propagator, video['frame_paths'], video['mask_paths'])
        print(summary(rows))


if __name__ == '__main__':
    main()

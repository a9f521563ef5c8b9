"""What data sets, samplers, transforms and metrics are without an argument."""

import inspect

import pytest

from stt_mm import datasets
from stt_mm.datasets import transforms
from stt_mm.datasets.benchmark import check_mask_size
from stt_mm.evaluation import metrics
from stt_mm.evaluation.metrics.dumped import claim_dump

CLIPS = dict(pipeline=(), clip_length=2, interval=1, interval_probs=None, on_error='raise', indices=None)
VIDEOS = dict(max_frames=None, indices=None, skip=())
FILES = dict(out_dir=None, dump_masks=None, resume=False, run_id='', dump_points=None)
USUAL = {
    datasets.VideoDataset: CLIPS,
    datasets.VideoFolder: CLIPS,
    datasets.YouTubeVOS: dict(CLIPS, split='train', video_list=None),
    datasets.ImageFolder: dict(pipeline=(), on_error='raise', indices=None),
    datasets.VideoDataset.get_clip: dict(draw=0, seed=0),
    datasets.VideoBenchmark: VIDEOS,
    datasets.DAVIS: dict(VIDEOS, split='val', year=2017, resolution='480p', annotations='full'),
    datasets.YouTubeVOSBenchmark: dict(VIDEOS, year=2018, split='valid', all_frames=False, video_list=None),
    datasets.VIP: dict(VIDEOS, labels='category', split='val'),
    datasets.JHMDB: dict(VIDEOS, split=1, video_list=None),
    datasets.TAPVid: dict(VIDEOS, query_mode='first', size=(256, 256)),
    datasets.BADJA: dict(VIDEOS, davis_root=None),
    datasets.TrainSampler: dict(seed=None, shuffle=True),
    check_mask_size: dict(index=0),
    transforms.ClipResize: dict(size=(256, 256)),
    transforms.ClipRandomResizedCrop: dict(size=(256, 256), area=(0.6, 1.0), aspect=(1.5, 2.0)),
    transforms.ClipFlip: dict(prob=0.5),
    transforms.JigsawMosaic: dict(grid=3, patch_size=64),
    transforms.ColorJitter: dict(brightness=0, contrast=0, saturation=0, hue=0),
    metrics.VideoMetric: FILES,
    metrics.DAVISMetric: FILES,
    metrics.YouTubeVOSMetric: dict(FILES, seen_categories=None),
    metrics.VIPMetric: FILES,
    metrics.VIPInstanceMetric: dict(FILES, drop_incomplete=True),
    metrics.JHMDBMetric: FILES,
    metrics.TAPVidMetric: FILES,
    metrics.BADJAMetric: FILES,
    claim_dump: dict(overwrite=False, kind='masks'),
}


@pytest.mark.parametrize('part', USUAL, ids=lambda part: part.__qualname__)
def test_the_usual_arguments(part):
    found = {
        name: argument.default
        for name, argument in inspect.signature(part).parameters.items()
        if argument.default is not inspect.Parameter.empty
    }
    assert found == USUAL[part]

# YouTube-VOS 2018 valid: 474 videos; only the masks of first appearance are public.
_base_ = './benchmark.py'
val_dataloader = dict(
    dataset=dict(type='YouTubeVOSBenchmark', data_root='{{$STT_DATA:data}}/YouTubeVOS', year=2018, split='valid')
)
val_evaluator = dict(type='YouTubeVOSMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator

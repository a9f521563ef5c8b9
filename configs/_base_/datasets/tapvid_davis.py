# TAP-Vid DAVIS: 30 videos at 256 x 256, each point from the first frame in which it is visible.
_base_ = './benchmark.py'
val_dataloader = dict(
    dataset=dict(
        type='TAPVid',
        data_root='{{$STT_DATA:data}}/tapvid_davis/tapvid_davis.pkl',
        query_mode='first',
        size=(256, 256),
    )
)
val_evaluator = dict(type='TAPVidMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator

# BADJA: 7 animals in DAVIS, 20 joints.
_base_ = './benchmark.py'
val_dataloader = dict(
    dataset=dict(type='BADJA', data_root='{{$STT_DATA:data}}/BADJA', davis_root='{{$STT_DATA:data}}/DAVIS')
)
val_evaluator = dict(type='BADJAMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator

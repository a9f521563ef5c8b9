# DAVIS-2016 val: 20 of the videos of DAVIS-2017, all objects of a video as one.
_base_ = './benchmark.py'
val_dataloader = dict(dataset=dict(type='DAVIS', data_root='{{$STT_DATA:data}}/DAVIS', year=2016, split='val'))
val_evaluator = dict(type='DAVISMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator

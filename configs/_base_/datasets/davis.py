# DAVIS-2017 val, scored by label propagation.
_base_ = './benchmark.py'
val_dataloader = dict(dataset=dict(type='DAVIS', data_root='{{$STT_DATA:data}}/DAVIS', year=2017, split='val'))
val_evaluator = dict(type='DAVISMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator

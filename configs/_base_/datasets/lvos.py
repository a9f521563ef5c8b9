# LVOS valid: objects that come later, each scored from the frame in which it is given to the one before its last.
_base_ = './benchmark.py'
val_dataloader = dict(dataset=dict(type='LVOS', data_root='{{$STT_DATA:data}}/LVOS', split='valid'))
val_evaluator = dict(type='ObjectVideoMetric', given_frame=True, last_frame=True)

test_dataloader = val_dataloader
test_evaluator = val_evaluator

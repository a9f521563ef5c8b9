# DAVIS-2016 val, 20 of the videos of DAVIS-2017, all objects of a video as one: ResNet-18 at stride 8 under STT's
# protocol.
_base_ = './davis_r18_s8.py'
val_dataloader = dict(dataset=dict(year=2016))
test_dataloader = dict(dataset=dict(year=2016))

# DAVIS-2017 val: ResNet-18 at stride 4 (average-pooled stem) under STT's protocol.
_base_ = './davis_r18_s8.py'
model = dict(backbone=dict(geometry='stride4'), propagator=dict(protocol=dict(name='stt_davis_s4')))

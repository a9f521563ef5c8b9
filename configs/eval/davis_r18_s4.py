# ResNet-18 at stride 4: average-pooled stem, radius 35.
_base_ = './davis_r18_s8.py'
model = dict(backbone=dict(pool='avg', strides=(1, 1, 1)), propagator=dict(protocol='stt_davis_s4', radius=35))

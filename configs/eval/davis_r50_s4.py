# ResNet-50 at stride 4: average-pooled stem, radius 35.
_base_ = './davis_r18_s4.py'
model = dict(backbone=dict(depth=50))

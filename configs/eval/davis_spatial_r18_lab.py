# Spatial learning alone, ResNet-18, on Lab: what the released test config gives a network of stage 1 to see.
_base_ = './davis_spatial_r18_rgb.py'
model = dict(propagator=dict(protocol=dict(color='lab')))

# Spatial learning alone, ResNet-18, on Lab, the colours of the released test configs (paper Table 3: MoCo J&F 60.8,
# SimSiam 62.0; which colours these rows have is not given).
_base_ = './davis_spatial_r18_rgb.py'
model = dict(propagator=dict(protocol=dict(color='lab')))

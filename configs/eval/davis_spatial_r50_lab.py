# Spatial learning alone, ResNet-50, on Lab, the colours of the released test configs (paper Table 2, row "Spatial
# only": J&F 66.5; Table 3: MoCo 65.4, SimSiam 66.3; which colours these rows have is not given).
_base_ = './davis_spatial_r50_rgb.py'
model = dict(propagator=dict(protocol=dict(color='lab')))

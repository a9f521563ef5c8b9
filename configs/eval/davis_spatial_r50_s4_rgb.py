# Spatial learning alone at stride 4, ResNet-50; no row in the paper. See davis_spatial_r18_s4_rgb.py.
_base_ = './davis_spatial_r18_s4_rgb.py'
model = dict(backbone=dict(depth=50))

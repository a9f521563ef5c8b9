# Spatial learning alone, ResNet-50 (paper Table 2, row "Spatial only": J&F 66.5; Table 3: MoCo 65.4, SimSiam 66.3): a
# network of stage 1 on the RGB that it was trained on; see davis_spatial_r18_rgb.py.
_base_ = './davis_spatial_r18_rgb.py'
model = dict(backbone=dict(depth=50))

# Spatial learning alone at stride 4, ResNet-18; no row in the paper. As davis_spatial_r18_rgb, with the max-pool, but
# res3 and res4 keep the stride of res2.
_base_ = './davis_spatial_r18_rgb.py'
model = dict(backbone=dict(geometry='stride4_maxpool'), propagator=dict(protocol=dict(name='stt_davis_s4')))

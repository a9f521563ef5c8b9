# Spatial learning alone, ResNet-18 (paper Table 3: MoCo J&F 60.8, SimSiam 62.0): a network of stage 1 on the RGB it was
# trained on, with its max-pool, res4 at stride 8, under STT's protocol. The paper gives neither the colours nor the
# geometry of these rows; model.propagator.protocol.color=lab has the colours of the released test configs.
_base_ = ['../_base_/models/propagation_r18_s8.py', '../_base_/datasets/davis.py', '../_base_/default_runtime.py']
model = dict(backbone=dict(geometry='stride8_maxpool'), propagator=dict(protocol=dict(color='rgb')))

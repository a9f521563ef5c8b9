# Runtime of stage 1: names that neither this toolbox nor MMEngine has are looked up in mmpretrain.
_base_ = '../default_runtime.py'
fallback_scope = 'mmpretrain'
# One epoch of ImageNet at batch 256.
default_hooks = dict(checkpoint=dict(interval=5004))

# Runtime of stage 1: a checkpoint for each epoch of ImageNet at batch 256.
_base_ = '../default_runtime.py'
default_hooks = dict(checkpoint=dict(interval=5004))

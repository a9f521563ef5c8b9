# Difference 28: BatchNorm statistics per GPU.
_base_ = '../stt_r18_ytv.py'
sync_bn = None

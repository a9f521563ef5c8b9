# First half of temporal-then-spatial: the temporal stage from scratch. As stt_r50_ytv_temporal, but res5 is built: it
# is neither run nor trained here and starts from its first weights in the second half.
_base_ = '../stt/stt_r50_ytv_temporal.py'
model = dict(backbone=dict(out_indices=(1, 2, 3)))

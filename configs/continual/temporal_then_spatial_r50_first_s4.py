# First half of temporal-then-spatial at stride 4; no row in the paper. As stt_r50_ytv_temporal_s4, but res5 is built:
# it is neither run nor trained here and starts from its first weights in the second half.
_base_ = '../stt/stt_r50_ytv_temporal_s4.py'
model = dict(backbone=dict(out_indices=(1, 2, 3)))

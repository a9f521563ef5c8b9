# Temporal stage alone, from scratch, without a teacher (paper Table 1, last row: J&F 69.3): the third row of that table
# and entropy-based selection, which is stt_r18_ytv without res5 and what hangs on it.
_base_ = '../ablations/table1_local_r18.py'
model = dict(local_head=dict(selection='released', keep_ratio=0.7))

# Paper Table 1, row 4: + entropy-based selection (J&F 69.3). This is the temporal stage alone, from scratch and without
# a teacher: stt_r18_ytv without res5 and what hangs on it.
_base_ = '../ablations/table1_local_r18.py'
model = dict(local_head=dict(selection='released', keep_ratio=0.7))

# DAVIS-2017 val: the network of stt_r18_ytv_s4_128 (no pool, res3 at stride 2, res4 at stride 4) under STT's protocol
# for stride 4. davis_r18_s4 has another geometry, of the same grid.
_base_ = './davis_r18_s4.py'
model = dict(backbone=dict(geometry='stride4_pyramid'))

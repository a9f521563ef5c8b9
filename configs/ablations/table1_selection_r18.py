# Paper Table 1, row 4: + entropy-based selection (J&F 69.3). The temporal-only configuration itself.
_base_ = '../stt/stt_r18_ytv_temporal.py'

# Difference 27: MAST's gaps of 2, 5 or 8 frames, on all frames (30 per second).
_base_ = '../stt_r18_ytv.py'
# changed keys: train_dataloader.dataset.interval train_dataloader.dataset.interval_probs train_dataloader.dataset.split
train_dataloader = dict(dataset=dict(split='train_all_frames', interval=(2, 5, 8), interval_probs=(0.4, 0.4, 0.2)))

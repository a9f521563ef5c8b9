"""Copies between devices for which the host does not wait."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host on a device; what has not arrived on a GPU is waited for there, not here."""
    device = torch.device(device)
    if device.type != 'cuda' or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)

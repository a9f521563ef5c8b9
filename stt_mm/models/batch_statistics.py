"""A second set of BatchNorm statistics for a network that sees two kinds of input."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

NAMES = ('running_mean', 'running_var', 'num_batches_tracked')


class BatchStatistics(nn.Module):
    """Running means and variances of their own for the BatchNorm layers of a network; scale and shift stay shared.

    In training each batch is normalised by its own statistics anyway; what is separated are the running averages that
    the network uses in evaluation. They start as the network's own and stand in checkpoints.

    Args:
        network: whose layers are copied; it is not kept.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for layer, norm in _norms(network).items():
            for name in NAMES:
                self.register_buffer(_key(layer, name), getattr(norm, name).clone())

    def init_from(self, network: nn.Module) -> None:
        """Take over the statistics that the network has now."""
        for layer, norm in _norms(network).items():
            for name in NAMES:
                getattr(self, _key(layer, name)).copy_(getattr(norm, name))

    @contextmanager
    def used_by(self, network: nn.Module) -> Iterator[None]:
        """Inside, the network reads and updates these statistics instead of its own."""
        norms = _norms(network)
        own = {layer: {name: getattr(norm, name) for name in NAMES} for layer, norm in norms.items()}
        try:
            for layer, norm in norms.items():
                for name in NAMES:
                    setattr(norm, name, getattr(self, _key(layer, name)))
            yield
        finally:
            for layer, norm in norms.items():
                for name in NAMES:
                    setattr(self, _key(layer, name), getattr(norm, name))
                    setattr(norm, name, own[layer][name])


def _norms(network: nn.Module) -> dict[str, _BatchNorm]:
    return {
        layer: module
        for layer, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }


def _key(layer: str, name: str) -> str:
    return f'{layer}.{name}'.replace('.', '-')

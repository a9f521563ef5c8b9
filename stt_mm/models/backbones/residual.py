"""The residual blocks of ResNets, their parameters named as everywhere."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class ResidualBlock(nn.Module):
    """Convolutions, each with a norm, and a shortcut around them.

    Args:
        in_channels, out_channels: of the map that comes in, and of the one that goes out.
        kernels: (channels, side, stride) of each convolution.
        shortcut: what the map that comes in passes on its way around; ``None``: nothing.
        with_cp: compute the block again for its gradient rather than keep its maps.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernels: Sequence[tuple[int, int, int]],
        shortcut: nn.Module | None,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.with_cp = with_cp
        self.depth = len(kernels)
        for number, (channels, side, stride) in enumerate(kernels, start=1):
            self.add_module(
                f'conv{number}', nn.Conv2d(in_channels, channels, side, stride, padding=side // 2, bias=False)
            )
            self.add_module(f'bn{number}', nn.BatchNorm2d(channels))
            in_channels = channels
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm after which the shortcut is added."""
        return getattr(self, f'bn{self.depth}')

    def _added(self, x: Tensor) -> Tensor:
        out = x
        for number in range(1, self.depth + 1):
            out = getattr(self, f'bn{number}')(getattr(self, f'conv{number}')(out))
            out = out if number == self.depth else self.relu(out)
        out += x if self.downsample is None else self.downsample(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to ``[B, out_channels, H / stride, W / stride]``, rounded up."""
        again = self.with_cp and x.requires_grad
        return self.relu(checkpoint(self._added, x, use_reentrant=False) if again else self._added(x))


class BasicBlock(ResidualBlock):
    """Two 3 x 3 convolutions, as in ResNet-18 and 34."""

    expansion = 1

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module | None, with_cp: bool
    ) -> None:
        kernels = [(out_channels, 3, stride), (out_channels, 3, 1)]
        super().__init__(in_channels, out_channels, kernels, shortcut, with_cp)


class Bottleneck(ResidualBlock):
    """A 3 x 3 convolution, which has the stride, between two of 1 x 1, as in ResNet-50 and deeper ones."""

    expansion = 4

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module | None, with_cp: bool
    ) -> None:
        inner = out_channels // self.expansion
        kernels = [(inner, 1, 1), (inner, 3, stride), (out_channels, 1, 1)]
        super().__init__(in_channels, out_channels, kernels, shortcut, with_cp)


def residual_stage(
    block: type[BasicBlock | Bottleneck], count: int, in_channels: int, out_channels: int, stride: int, with_cp: bool
) -> nn.Sequential:
    """So many blocks, of which the first has the stride; its shortcut is a convolution where the map changes form."""
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
        )
    first = block(in_channels, out_channels, stride, shortcut, with_cp)
    return nn.Sequential(first, *(block(out_channels, out_channels, 1, None, with_cp) for _ in range(count - 1)))

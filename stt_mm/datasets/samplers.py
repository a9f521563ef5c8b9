"""The order of training samples, and how test videos are shared out over processes."""

import heapq
from collections.abc import Iterator, Sized

from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from stt_mm.errors import InputError
from stt_mm.registry import DATA_SAMPLERS
from stt_mm.utils.random import generator


@DATA_SAMPLERS.register_module()
class TrainSampler(Sampler):
    """An endless stream of ``(index, draw, seed)``, shared out over the ranks; for iteration-based training.

    The stream is one permutation of the dataset after another, number k drawn from ``(seed, k)``; ``draw`` is the
    position in the stream. Rank r of w takes the positions r, r + w, and so on. The samples of iteration i are
    therefore the same for any number of processes with the same total batch, and any position can be reached at once.

    Args:
        dataset: anything with a length above 0.
        seed: ``None`` for a random one, the same on all ranks. MMEngine's runner hands over the seed of the run.
        shuffle: ``False`` keeps the order of the dataset.
    """

    def __init__(self, dataset: Sized, seed: int | None = None, shuffle: bool = True) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        if self.size == 0:
            raise InputError('TrainSampler: the dataset is empty.')
        self.seed = sync_random_seed() if seed is None else seed
        self.shuffle = shuffle
        self.start = 0

    def advance(self, num_samples: int) -> None:
        """Lets the next iteration begin after the first ``num_samples`` samples of this rank; loads nothing."""
        if num_samples < 0:
            raise InputError(f'TrainSampler.advance: num_samples must be 0 or more, got {num_samples}.')
        self.start = num_samples

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        draw, known, order = self.start * self.world_size + self.rank, None, range(self.size)
        while True:
            cycle, position = divmod(draw, self.size)
            if self.shuffle and cycle != known:
                known, order = cycle, generator(self.seed, cycle).permutation(self.size)
            yield int(order[position]), draw, self.seed
            draw += self.world_size

    def __len__(self) -> int:
        """Samples of this rank in one pass over the dataset, rounded up. The iteration itself never ends."""
        return -(-self.size // self.world_size)


@DATA_SAMPLERS.register_module()
class LongestFirstSampler(Sampler):
    """Each video once, on one rank; the longest first, each for the rank with the fewest frames so far.

    Ranks get different numbers of videos, down to none, and nothing is padded: what collects the results must not
    count on equal lengths (the metrics here do not). The assignment depends on the frame counts alone.

    Args:
        dataset: has a length, which may be 0, and ``num_frames(index)``, as :class:`VideoBenchmark` does.
        seed: without effect; MMEngine's runner hands it to every sampler.
    """

    def __init__(self, dataset: Sized, seed: int | None = None) -> None:
        rank, world_size = get_dist_info()
        if not hasattr(dataset, 'num_frames'):
            raise InputError(
                f'LongestFirstSampler needs num_frames(index), which {type(dataset).__name__} does not have. Derive '
                "the dataset from VideoBenchmark, or use sampler=dict(type='DefaultSampler', shuffle=False)."
            )
        num_frames = [dataset.num_frames(index) for index in range(len(dataset))]
        loads = [(0, rank) for rank in range(world_size)]
        self.indices: list[int] = []
        for index in sorted(range(len(dataset)), key=lambda index: -num_frames[index]):
            load, owner = loads[0]
            heapq.heapreplace(loads, (load + num_frames[index], owner))
            if owner == rank:
                self.indices.append(index)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        """Videos of this rank."""
        return len(self.indices)

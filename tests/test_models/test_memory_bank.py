import pytest
import torch
import torch.nn.functional as F

from stt_mm.models import memory_bank
from stt_mm.models.memory_bank import MemoryBank


def columns(bank):
    return [tuple(column.tolist()) for column in bank.queue.T]


@pytest.mark.parametrize('sizes', [(4, 4, 4, 4, 4), (3, 5, 1, 10, 7, 2, 9, 10, 10, 3)])
def test_contents_are_those_of_a_list(sizes):
    """Also where a batch does not divide the queue and goes on at its start."""
    bank = MemoryBank(size=10, dim=4)
    twin, pointer = columns(bank), 0
    for batch in sizes:
        keys = F.normalize(torch.randn(batch, 4, dtype=torch.float64), dim=1).float()
        bank.enqueue(3.7 * keys)
        for key in keys:
            twin[pointer] = tuple(key.tolist())
            pointer = pointer + 1 if pointer < 9 else 0
        torch.testing.assert_close(torch.tensor(columns(bank)), torch.tensor(twin))
        assert bank.pointer.item() == pointer
    assert bank.pointer.item() == sum(sizes) % 10


def test_it_starts_full_of_different_directions_and_keeps_them_of_length_one():
    bank = MemoryBank(size=500, dim=16)
    lengths = bank.queue.norm(dim=0)
    torch.testing.assert_close(lengths, torch.ones(500))
    assert bank.queue.std(1).min() > 0.15
    assert (bank.queue.T @ bank.queue).fill_diagonal_(0).max() < 0.95
    bank.enqueue(torch.randn(300, 16) * 100)
    torch.testing.assert_close(bank.queue.norm(dim=0), torch.ones(500))


def test_no_gradient_gets_in():
    bank = MemoryBank(size=6, dim=3)
    bank.enqueue(torch.randn(2, 3, requires_grad=True))
    assert not bank.queue.requires_grad
    assert list(bank.parameters()) == []


def test_a_checkpoint_restores_contents_and_position():
    bank, other = MemoryBank(size=7, dim=3), MemoryBank(size=7, dim=3)
    bank.enqueue(torch.randn(5, 3))
    other.load_state_dict(bank.state_dict())
    keys = torch.randn(4, 3)
    for one in (bank, other):
        one.enqueue(keys)
    assert torch.equal(bank.queue, other.queue)
    assert bank.pointer.item() == other.pointer.item() == 2


def test_half_precision_keys_are_stored_in_the_precision_of_the_queue():
    bank = MemoryBank(size=4, dim=3)
    bank.enqueue(torch.tensor([[0.0, 3.0, 4.0]], dtype=torch.bfloat16))
    assert bank.queue.dtype == torch.float32
    torch.testing.assert_close(bank.queue[:, 0], torch.tensor([0.0, 0.6, 0.8]))


def test_wrong_keys_are_refused_before_anything_is_written():
    bank = MemoryBank(size=4, dim=3)
    before = bank.queue.clone()
    with pytest.raises(ValueError, match=r'expects keys \[B, 3\], got \[2, 4\]'):
        bank.enqueue(torch.randn(2, 4))
    with pytest.raises(ValueError, match=r'expects keys \[B, 3\], got \[3\]'):
        bank.enqueue(torch.randn(3))
    with pytest.raises(ValueError, match=r'5 keys of each of 1 process\(es\) do not fit a queue of 4: choose a longer'):
        bank.enqueue(torch.randn(5, 3))
    assert torch.equal(bank.queue, before)
    assert bank.pointer.item() == 0
    for wrong in (dict(size=0, dim=3), dict(size=3, dim=0)):
        with pytest.raises(ValueError, match=f'at least 1, got size={wrong["size"]}, dim={wrong["dim"]}'):
            MemoryBank(**wrong)
    assert repr(MemoryBank(size=1, dim=1)) == 'MemoryBank(size=1, dim=1)'


def test_the_keys_of_all_processes_are_written_in_the_order_of_their_ranks(monkeypatch):
    bank, mine, theirs = MemoryBank(size=5, dim=3), torch.eye(3)[:2], torch.eye(3)[1:]
    monkeypatch.setattr(memory_bank, 'get_world_size', lambda: 2)
    monkeypatch.setattr(memory_bank, 'all_gather', lambda keys: [theirs, keys])
    bank.enqueue(2 * mine)
    assert torch.equal(bank.queue[:, :4].T, torch.cat([theirs, mine]))
    assert bank.pointer.item() == 4
    with pytest.raises(ValueError, match=r'3 keys of each of 2 process\(es\) do not fit a queue of 5'):
        bank.enqueue(torch.eye(3))


def test_entries_may_be_points_of_frames_as_they_are():
    bank = MemoryBank(size=3, dim=4, points=2, normalize=False)
    assert not bank.queue.any()
    assert bank.videos.tolist() == [-1, -1, -1]
    points = torch.randn(2, 2, 4)
    bank.enqueue(points, torch.tensor([5, 9]))
    bank.enqueue(points.flip(0), torch.tensor([9, 5]))
    assert torch.equal(bank.queue, torch.stack([points[0], points[1], points[1]]))
    assert (bank.videos.tolist(), bank.pointer.item()) == ([5, 9, 9], 1)
    assert set(bank.state_dict()) == {'queue', 'videos', 'pointer'}
    assert repr(bank) == 'MemoryBank(size=3, dim=4, points=2)'
    assert set(MemoryBank(3, 4).state_dict()) == {'queue', 'pointer'}
    other = MemoryBank(size=3, dim=4, points=2)
    other.enqueue(points, torch.tensor([5, 9]))
    torch.testing.assert_close(other.queue[:2], F.normalize(points, dim=-1))
    with pytest.raises(ValueError, match=r'expects keys \[B, 2, 4\], got \[2, 4\]'):
        bank.enqueue(points[0], torch.tensor([5, 9]))
    with pytest.raises(ValueError, match='at least 1 of points, got 0'):
        MemoryBank(size=3, dim=4, points=0)


def test_videos_of_all_processes_are_written_with_their_points(monkeypatch):
    bank = MemoryBank(size=5, dim=1, points=1, normalize=False)
    monkeypatch.setattr(memory_bank, 'get_world_size', lambda: 2)
    monkeypatch.setattr(memory_bank, 'all_gather', lambda mine: [mine + 1, mine])
    bank.enqueue(torch.tensor([[[10.0]], [[20.0]]]), torch.tensor([10, 20]))
    assert bank.queue.flatten().tolist() == [11, 21, 10, 20, 0]
    assert bank.videos.tolist() == [11, 21, 10, 20, -1]

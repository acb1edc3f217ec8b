"""What two processes on the CPU compute together."""

import multiprocessing

import torch
import torch.distributed as dist


def _run(target, rank, store, arguments, results):
    dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
    results.put((rank, [t.detach().numpy() for t in target(rank, *arguments)]))


def in_two_processes(target, store, *arguments):
    """The tensors of ``target(rank, *arguments)`` as pairs, of the first process first."""
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    processes = [
        fork.Process(target=_run, args=(target, rank, str(store), arguments, results))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    _, found = zip(*sorted(results.get(timeout=300) for _ in processes), strict=True)
    for process in processes:
        process.join()
    return [[torch.from_numpy(t) for t in pair] for pair in zip(*found, strict=True)]

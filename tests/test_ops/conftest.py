"""Where an operation is tried."""

import pytest

from mmseg_papers.ops import triton_device


@pytest.fixture(
    params=[
        "cpu",
        pytest.param("cuda", marks=pytest.mark.cuda),
        pytest.param("cuda without Triton", marks=pytest.mark.cuda),
    ]
)
def device(request, monkeypatch):
    """The CPU; a GPU, by Triton kernels and by PyTorch alone."""
    if request.param.endswith("without Triton"):
        monkeypatch.setattr(triton_device, "_is_installed", lambda: False)
    return request.param.split()[0]


@pytest.fixture(params=["every second", "one value"])
def strided(request):
    """Gives a vector other strides; of one value, other values, too."""
    if request.param == "one value":
        return lambda vector: vector[:1].expand(len(vector))
    return lambda vector: vector.repeat_interleave(2)[::2]

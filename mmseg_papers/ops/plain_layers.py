"""Where the parameters of a layer may be read in place of calling it."""

from __future__ import annotations

from torch import nn

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def is_hooked(*modules: nn.Module) -> bool:
    """Whether a call of modules does more than their class's ``forward``.

    ``torch.nn.utils.prune`` and ``spectral_norm`` make a layer's weight in a hook of its call,
    ``Module.compile`` and MMEngine's ``activation_checkpointing`` replace a module's own call, and
    other tools look at what goes in and comes out: such modules must be called. Hooks of all
    modules (``register_module_forward_hook``) do not count: profilers set them, to see what is
    computed.

    Args:
        *modules (nn.Module): Any.

    Returns:
        bool: True if one of them has a hook of the forward or the backward pass, or a call of its
        own.
    """
    return any(
        "forward" in module.__dict__
        or getattr(module, "_compiled_call_impl", None) is not None
        or any(getattr(module, hooks) for hooks in _HOOKS)
        for module in modules
    )


def is_plain_conv(conv: nn.Module) -> bool:
    """Whether a layer convolves a zero-padded map with its parameters and does nothing else.

    Args:
        conv (nn.Module): Any layer.

    Returns:
        bool: True for an ``nn.Conv2d`` without hooks; False for other paddings and for derived
        classes, to which ``torch.nn.utils.parametrize`` changes a layer, too.
    """
    return type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not is_hooked(conv)


def is_dense_conv(conv: nn.Module, side: int) -> bool:
    """Whether a layer is a plain conv of all channels at every pixel, which keeps the map's size.

    Args:
        conv (nn.Module): Any layer.
        side (int): Of its square kernel, odd.

    Returns:
        bool: True for one that :func:`is_plain_conv` of that kernel, stride 1, one group, and the
        same dilation, times (side - 1) / 2 as padding, on both axes.
    """
    return (
        is_plain_conv(conv)
        and conv.kernel_size == (side, side)
        and conv.stride == (1, 1)
        and conv.dilation[0] == conv.dilation[1]
        and conv.padding == tuple(side // 2 * d for d in conv.dilation)
        and conv.groups == 1
    )

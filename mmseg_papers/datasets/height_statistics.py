"""How much the height of a pixel says about its class (HANet, arXiv:2003.05128, section 1)."""

from __future__ import annotations

import numpy as np


def count_classes(label: np.ndarray, num_classes: int, sections: int) -> np.ndarray:
    """Pixels of every class in horizontal sections of a label map.

    Args:
        label (np.ndarray): Class indices, (H, W); indices from ``num_classes`` on are ignored.
        num_classes (int): K.
        sections (int): S; row y is in section floor(S y / H).

    Returns:
        np.ndarray: (S, K), int64.
    """
    section = np.arange(len(label)) * sections // len(label)
    classes = np.minimum(label.astype(np.int64), num_classes)
    keys = (section[:, None] * (num_classes + 1) + classes).ravel()
    counts = np.bincount(keys, minlength=sections * (num_classes + 1))
    return counts.reshape(sections, num_classes + 1)[:, :num_classes]


def entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy of the classes in nats.

    Args:
        counts (np.ndarray): (..., K).

    Returns:
        np.ndarray: (...), 0 where there are no pixels.
    """
    share = probabilities(counts)
    return (share * np.log(1 / np.where(share > 0, share, 1))).sum(-1)


def probabilities(counts: np.ndarray) -> np.ndarray:
    """Shares of the classes.

    Args:
        counts (np.ndarray): Pixels of every class, (..., K).

    Returns:
        np.ndarray: (..., K), of sum 1; zeros where there are no pixels.
    """
    return counts / np.maximum(counts.sum(-1, keepdims=True), 1)


def mutual_information(counts: np.ndarray) -> float:
    """Nats by which the section reduces the entropy of the class: H(c) - sum_s p(s) H(c | s).

    Args:
        counts (np.ndarray): (S, K).

    Returns:
        float: 0 where the section says nothing.
    """
    share = probabilities(counts.sum(1))
    return float(entropy(counts.sum(0)) - share @ entropy(counts))

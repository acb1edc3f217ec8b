"""Where the rows of a crop lay in the whole image, for height attention."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

from ...models.layers.height_attention import row_positions

KEY = "row_position"


@TRANSFORMS.register_module()
class AddRowPosition(BaseTransform):
    """Give every pixel the height of its row in the image, 0 (top) .. 127 (bottom).

    The map is one of ``seg_fields``, so ``mmseg``'s resizing, cropping and flipping carry it as
    they carry labels. Put it after the resize: there it is the authors' map to the bit. Before it,
    a position may differ by one level, since OpenCV's nearest sampling reads other rows than
    Pillow's.
    """

    def transform(self, results: dict) -> dict:
        """Add the map.

        Args:
            results (dict): With ``img``, (H, W, 3).

        Returns:
            dict: The same with ``row_position``, (H, W), uint8.
        """
        height, width = results["img"].shape[:2]
        positions = row_positions(height).numpy().astype(np.uint8)
        results[KEY] = np.repeat(positions[:, None], width, axis=1)
        results.setdefault("seg_fields", []).append(KEY)
        return results


@TRANSFORMS.register_module()
class PackRowPosition(PackSegInputs):
    """``PackSegInputs`` that also packs the positions of :class:`AddRowPosition`, one a row.

    They are ``row_position`` of the sample's meta information, (H,), uint8; rows of padding alone
    have 128 or more. Arguments are those of ``PackSegInputs``.
    """

    def transform(self, results: dict) -> dict:
        """Pack.

        Args:
            results (dict): With ``img`` and ``row_position``.

        Returns:
            dict: ``inputs`` and ``data_samples``.

        Raises:
            KeyError: If there are no positions.
        """
        if KEY not in results:
            raise KeyError(
                "PackRowPosition needs dict(type='AddRowPosition') earlier in the pipeline"
            )
        packed = super().transform(results)
        # Of a row that is padded at its sides, the image's part counts.
        packed["data_samples"].set_metainfo({KEY: results[KEY].min(axis=1)})
        return packed

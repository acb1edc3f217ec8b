"""``mmseg``'s data sets that our configs train on, with the way to get them where they are absent.

They take ``mmseg``'s names, so that its configs have it too; what they load is the same.
"""

from __future__ import annotations

from mmseg.datasets import (
    ADE20KDataset,
    BDD100KDataset,
    CityscapesDataset,
    COCOStuffDataset,
    LIPDataset,
    PascalContextDataset,
    PascalContextDataset59,
    PascalVOCDataset,
)
from mmseg.registry import DATASETS

from .prepared import PreparedMixin
from .replacing import replaces

PASCAL_CONTEXT = """\
Get PASCAL VOC 2010 into data/VOCdevkit and trainval_merged.json of PASCAL-Context into its folder
VOC2010, install the Detail API (github.com/zhanghang1989/detail-api), and run
    mim run mmseg pascal_context data/VOCdevkit data/VOCdevkit/VOC2010/trainval_merged.json"""


@replaces(CityscapesDataset, DATASETS)
class PreparedCityscapes(PreparedMixin, CityscapesDataset):
    """``mmseg``'s ``CityscapesDataset``; its absence is an error that says how to get it."""

    PREPARATION = """\
Get leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from www.cityscapes-dataset.com, unpack
both into data/cityscapes, and run, for the label maps *_gtFine_labelTrainIds.png,
    mim run mmseg cityscapes data/cityscapes --nproc 8"""


@replaces(ADE20KDataset, DATASETS)
class PreparedADE20K(PreparedMixin, ADE20KDataset):
    """``mmseg``'s ``ADE20KDataset``; its absence is an error that says how to get it."""

    PREPARATION = """\
Get ADEChallengeData2016.zip from data.csail.mit.edu/places/ADEchallenge and unpack it into data/ade
(the full ADE20K has other labels)."""


@replaces(PascalContextDataset, DATASETS)
class PreparedPascalContext(PreparedMixin, PascalContextDataset):
    """``mmseg``'s ``PascalContextDataset``; its absence is an error that says how to get it."""

    PREPARATION = PASCAL_CONTEXT


@replaces(PascalContextDataset59, DATASETS)
class PreparedPascalContext59(PreparedMixin, PascalContextDataset59):
    """``mmseg``'s ``PascalContextDataset59``; its absence is an error that says how to get it."""

    PREPARATION = PASCAL_CONTEXT


@replaces(PascalVOCDataset, DATASETS)
class PreparedPascalVOC(PreparedMixin, PascalVOCDataset):
    """``mmseg``'s ``PascalVOCDataset``; its absence is an error that says how to get it."""

    PREPARATION = """\
Get PASCAL VOC 2012 into data/VOCdevkit and, for training, the Semantic Boundaries Dataset
(benchmark.tgz) into data/VOCdevkit/VOCaug, and run, for SegmentationClassAug,
    mim run mmseg voc_aug data/VOCdevkit data/VOCdevkit/VOCaug --nproc 8"""


@replaces(COCOStuffDataset, DATASETS)
class PreparedCOCOStuff(PreparedMixin, COCOStuffDataset):
    """``mmseg``'s ``COCOStuffDataset``; its absence is an error that says how to get it."""

    PREPARATION = """\
Get cocostuff-10k-v1.1.zip (github.com/nightrome/cocostuff10k), unpack it into data/coco_stuff10k,
and run
    mim run mmseg coco_stuff10k data/coco_stuff10k --nproc 8"""


@replaces(LIPDataset, DATASETS)
class PreparedLIP(PreparedMixin, LIPDataset):
    """``mmseg``'s ``LIPDataset``; its absence is an error that says how to get it."""

    PREPARATION = """\
Get the images and segmentations of LIP's single-person task (sysu-hcp.net/lip) into
data/LIP/{train,val}/{images,segmentations}."""


@replaces(BDD100KDataset, DATASETS)
class PreparedBDD100K(PreparedMixin, BDD100KDataset):
    """``mmseg``'s ``BDD100KDataset``; its absence is an error that says how to get it."""

    PREPARATION = """\
Get the 10K images and the semantic segmentation labels from bdd-data.berkeley.edu into
data/bdd100k: images/10k/{train,val} and labels/sem_seg/masks/{train,val}."""

"""Faults that users hit: what is broken, what they run, and what the one error must name."""

import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_papers.__main__ import main
from mmseg_papers.apis.configs import packaged_configs

from .generated_data import data_sets

ROOT = Path(__file__).parents[1]
SIZE = (32, 48)
IMAGE, LABEL = "images/train/a.png", "annotations/train/a.png"
NAMED = packaged_configs()


# Data of the user's own


def noise(*shape, values=256, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, values, shape).astype(dtype)


def own_data(root):
    for split in ("train", "val"):
        for name in "ab":
            save(root / f"images/{split}/{name}.png", noise(*SIZE, 3))
            save(root / f"annotations/{split}/{name}.png", noise(*SIZE, values=3))


def save(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, array)
    elif file.suffix == ".tif":
        tifffile.imwrite(file, array)
    else:
        Image.fromarray(array).save(file)


def replace(old, suffix, array):
    """Row action: another file takes the place of ``old``."""

    def act(root):
        (root / old).unlink()
        save((root / old).with_suffix(suffix), array)

    return act


def write(file, content):
    return lambda root: (root / file).write_bytes(content)


def cut(file, suffix=".png"):
    def act(root):
        replace(file, suffix, noise(*SIZE, 3) if file == IMAGE else noise(*SIZE, values=3))(root)
        whole = (root / file).with_suffix(suffix)
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])

    return act


def rename(old, new):
    return lambda root: (root / old).rename(root / new)


def remove(*paths):
    def act(root):
        for path in paths:
            (shutil.rmtree if (root / path).is_dir() else os.unlink)(root / path)

    return act


def broken_link(file):
    def act(root):
        (root / file).unlink()
        (root / file).symlink_to(root / "moved away")

    return act


def folder_in_place(file):
    def act(root):
        (root / file).unlink()
        (root / file).mkdir()

    return act


def convert(file, mode, suffix=".png"):
    def act(root):
        picture = Image.open(root / file).convert(mode)
        (root / file).unlink()
        picture.save((root / file).with_suffix(suffix))

    return act


def palette_labels(root):
    picture = Image.fromarray(noise(*SIZE, values=3)).convert("P")
    picture.putpalette([0, 0, 0, 128, 64, 128, 70, 70, 70])
    picture.save(root / LABEL)


def huge_png():
    """A header of 60,000 x 60,000 pixels."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(99)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def filled(value, *shape, dtype):
    array = np.zeros(shape, dtype)
    array.flat[7] = value
    return array


SIZES = r"a\.png is 32 x 48 and its image .*a\.png is 48 x 32"
#: What is broken, how, and what the error says.
DATA = [
    ("cut-off PNG", cut(IMAGE), r"image .*a\.png .*truncated"),
    ("cut-off JPEG", cut(IMAGE, ".jpg"), r"image .*a\.jpg .*truncated"),
    ("empty image", write(IMAGE, b""), r"image .*a\.png .*is empty or no image"),
    ("page in place of image", write(IMAGE, b"<html>404"), r"image .*a\.png .*or no image"),
    ("link to nowhere", broken_link(IMAGE), r"image .*a\.png .*No such file"),
    ("folder in place of image", folder_in_place(IMAGE), r"image .*a\.png .*Is a directory"),
    ("image beyond Pillow's limit", write(IMAGE, huge_png()), r"image .*a\.png .*MAX_IMAGE_PIXELS"),
    ("image without pixels", replace(IMAGE, ".npy", noise(0, 0, 3)), r"a\.npy .*\(0, 0, 3\)"),
    ("image of one axis", replace(IMAGE, ".npy", noise(9)), r"image .*a\.npy .*shape \(9,\)"),
    (
        "image of four axes",
        replace(IMAGE, ".npy", noise(1, *SIZE, 3)),
        r"a\.npy .*\(1, 32, 48, 3\)",
    ),
    (
        "NaN in NumPy image",
        replace(IMAGE, ".npy", filled(np.nan, *SIZE, 3, dtype=np.float32)),
        r"image .*a\.npy .*1 of its 4608 values are NaN",
    ),
    (
        "infinity in TIFF image",
        replace(IMAGE, ".tif", filled(np.inf, *SIZE, 3, dtype=np.float32)),
        r"image .*a\.tif .*1 of its 4608 values are NaN or infinite",
    ),
    ("Boolean image", replace(IMAGE, ".npy", noise(*SIZE, 3, dtype=bool)), r"a\.npy .*got bool"),
    ("complex image", replace(IMAGE, ".npy", noise(*SIZE, 3, dtype=complex)), r"a\.npy .*complex"),
    ("pickled image", replace(IMAGE, ".npy", np.array([{}])), r"image .*a\.npy .*allow_pickle"),
    (
        "text named .npy",
        lambda r: (remove(IMAGE)(r), write("images/train/a.npy", b"1")(r)),
        r"image .*a\.npy cannot be loaded",
    ),
    ("image of another suffix", rename(IMAGE, "images/train/a.gif"), r"a\.gif is there, but must"),
    ("image missing", remove(IMAGE), r"1 of 2 label maps .* have no image .*: a\."),
    (
        "no image at all",
        remove(IMAGE, "images/train/b.png"),
        r"no images in .*images.train .*data_root",
    ),
    ("no folder of images", remove("images"), r"no images in .*images.train .*Set data_root"),
    (
        "file in place of the folder",
        lambda r: (remove("images/train")(r), write("images/train", b"")(r)),
        r"no images in .*images.train",
    ),
    (
        "two images of one name",
        lambda r: save(r / "images/train/a.bmp", noise(*SIZE, 3)),
        r"a\.bmp and .*a\.png have one name",
    ),
    ("image turned, labels not", replace(LABEL, ".png", noise(48, 32, values=3)), SIZES),
    ("label map missing", remove(LABEL), r"1 of 2 images .*images.train have no label map .*: a\."),
    ("no folder of labels", remove("annotations"), r"2 of 2 images .* no label map .*a, b"),
    ("labels as JPEG", convert(LABEL, "L", ".jpg"), r"a\.jpg is there, but must be one of .*\.png"),
    ("cut-off labels", cut(LABEL), r"annotations.train.a\.png .*truncated"),
    ("empty labels", write(LABEL, b""), r"annotations.train.a\.png .*is empty or no image"),
    ("page in place of labels", write(LABEL, b"<html>404"), r"annotations.*a\.png .*no image"),
    ("labels beyond Pillow's limit", write(LABEL, huge_png()), r"annotations.*a\.png .*MAX_IMAGE"),
    ("link of labels to nowhere", broken_link(LABEL), r"annotations.train.a\.png .*No such file"),
    ("folder in place of labels", folder_in_place(LABEL), r"annotations.*a\.png .*Is a directory"),
    ("RGB labels", replace(LABEL, ".png", noise(*SIZE, 3)), r"annotations.*a\.png.*label_colors"),
    ("RGBA labels", replace(LABEL, ".png", noise(*SIZE, 4)), r"annotations.*a\.png.*label_colors"),
    (
        "label beyond the classes",
        replace(LABEL, ".png", filled(7, *SIZE, dtype=np.uint8)),
        r"\b7\b.* 3 classes|3 classes 0\.\.2: 7",
    ),
    (
        "16-bit label",
        replace(LABEL, ".png", filled(300, *SIZE, dtype=np.uint16)),
        r"annotations.*a\.png holds the value 300",
    ),
    (
        "label of a fraction",
        replace(LABEL, ".tif", filled(1.5, *SIZE, dtype=np.float32)),
        r"annotations.*a\.tif holds the value 1\.5",
    ),
    (
        "NaN as label",
        replace(LABEL, ".npy", filled(np.nan, *SIZE, dtype=np.float32)),
        r"annotations.*a\.npy holds the value nan",
    ),
    (
        "negative label",
        replace(LABEL, ".npy", filled(-5, *SIZE, dtype=int)),
        r"annotations.*a\.npy holds the value -5",
    ),
]
#: What looks like a fault and is none.
SOUND = [
    ("alpha", convert(IMAGE, "RGBA")),
    ("grey", convert(IMAGE, "L")),
    ("CMYK", convert(IMAGE, "CMYK", ".jpg")),
    ("16 bits", replace(IMAGE, ".png", noise(*SIZE, values=60_000, dtype=np.uint16))),
    ("palette of labels", palette_labels),
    ("labels of one bit", convert(LABEL, "1")),
    ("float labels of whole numbers", replace(LABEL, ".tif", filled(2, *SIZE, dtype=np.float32))),
    (
        "Unicode and spaces",
        lambda r: [
            rename(file, f"{Path(file).parent}/Straße 街 1.png")(r) for file in (IMAGE, LABEL)
        ],
    ),
    ("upper-case suffix", rename(IMAGE, "images/train/a.PNG")),
    ("crop larger than the image", lambda r: None),
]


def data_set(root, split="train", **options):
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", num_classes=3),
        dict(type="RandomCrop", crop_size=(64, 64), cat_max_ratio=0.75),
        dict(type="PhotoMetricDistortion"),
        dict(type="PackSegInputs"),
    ]
    prefix = dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}")
    own = dict(type="FolderDataset", classes=("road", "car", "sky"), data_root=str(root))
    return {**own, "data_prefix": prefix, "pipeline": pipeline, **options}


def read(root, **options):
    for sample in DATASETS.build(data_set(root, **options)):
        assert sample["inputs"].shape[0] == 3


def cases(rows):
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


@pytest.mark.parametrize(("damage", "culprit"), cases(DATA))
def test_reading_data_names_the_culprit(damage, culprit, tmp_path):
    own_data(tmp_path)
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=culprit):
        read(tmp_path)


@pytest.fixture(scope="module")
def check_dataset():
    file = ROOT / "tools" / "analysis_tools" / "check_dataset.py"
    spec = importlib.util.spec_from_file_location("check_dataset", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.contact_sheet = lambda *_: None  # a second of drawing a row
    return module.main


@pytest.mark.parametrize(("damage", "culprit"), cases(DATA))
def test_checking_data_names_the_culprit(damage, culprit, tmp_path, check_dataset, capsys):
    own_data(tmp_path)
    damage(tmp_path)
    config = {f"{s}_dataloader": dict(dataset=data_set(tmp_path, s)) for s in ("train", "val")}
    Config(config).dump(tmp_path / "mine.py")
    assert check_dataset([str(tmp_path / "mine.py"), "--out", str(tmp_path / "out")]) == 1
    findings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fault")]
    assert any(re.search(culprit, line) for line in findings), findings


@pytest.mark.parametrize("change", cases(SOUND))
def test_reads_what_is_no_fault(change, tmp_path):
    own_data(tmp_path)
    change(tmp_path)
    read(tmp_path)


#: What is wrong, options of FolderDataset or of its pipeline, what the error says.
DATA_OPTIONS = [
    ("single class without a comma", dict(classes="road"), r"classes .*'road'.* comma"),
    ("class twice", dict(classes=("road", "road")), r"classes must differ .*road"),
    ("colours of other classes", dict(palette=[(0, 0, 0)]), r"palette .* 3 classes, got 1"),
    (
        "two ways to read labels",
        dict(label_colors=[(i, 0, 0) for i in range(3)], label_values={255: 1}),
        r"label_colors or label_values, not both",
    ),
    (
        "one colour of two classes",
        dict(label_colors=[(0, 0, 0), (0, 0, 0), (1, 1, 1)]),
        r"label_colors and void_colors must differ",
    ),
    (
        "colour that is not listed",
        dict(label_colors=[(9, 9, i) for i in range(3)]),
        r"a\.png holds 3 colours .*\(0, 0, 0\)",
    ),
    ("list with an unknown name", dict(ann_file="list.txt"), r"list\.txt names 1 .*: zebra"),
    ("list that is empty", dict(ann_file="empty.txt"), r"empty\.txt is empty"),
    ("list that is missing", dict(ann_file="none.txt"), r"none\.txt"),
    ("unknown option", dict(label_colours=[]), r"label_colours"),
    ("unknown transform", dict(pipeline=[dict(type="RandomCropp")]), r"RandomCropp"),
    (
        "no class",
        dict(pipeline=[dict(type="LoadAnnotations", num_classes=0)]),
        r"num_classes .*got 0",
    ),
]


@pytest.mark.parametrize(("options", "culprit"), cases(DATA_OPTIONS))
def test_options_of_data_name_the_culprit(options, culprit, tmp_path):
    own_data(tmp_path)
    (tmp_path / "list.txt").write_text("a\nzebra\n")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises((ValueError, TypeError, KeyError, OSError), match=culprit):
        read(tmp_path, **options)


def test_a_list_chooses_the_pairs(tmp_path):
    own_data(tmp_path)
    (tmp_path / "list.txt").write_text("b\n")
    (sample,) = DATASETS.build(data_set(tmp_path, ann_file="list.txt"))
    assert sample["data_samples"].img_path.endswith("b.png")


#: Config of public data that are not there, and what the error says besides the folder.
ABSENT = [
    ("cityscapes", r"mim run mmseg cityscapes"),
    ("ade20k", r"ADEChallengeData2016\.zip"),
    ("pascal_context", r"train\.txt.*\n.*PASCAL-Context"),
    ("voc12_aug", r"mim run mmseg voc_aug"),
    ("coco_stuff10k", r"mim run mmseg coco_stuff10k"),
    ("lip", r"data/LIP"),
    ("bdd100k", r"images/10k"),
    ("camvid", r"dataset_converters/camvid\.py"),
    ("sunrgbd", r"dataset_converters/sunrgbd\.py"),
]


@pytest.mark.parametrize("state", ["missing", "empty"])
@pytest.mark.parametrize(("name", "cure"), ABSENT)
def test_absent_data_say_where_they_come_from(name, cure, state, tmp_path):
    parts = NAMED["hrnetv2_w48_4xb3-120k_cityscapes-512x1024"].parents[1] / "_base_" / "datasets"
    dataset = Config.fromfile(parts / f"{name}.py").train_dataloader.dataset
    for part in data_sets(dataset):
        part.data_root = str(tmp_path)
        if state == "empty":
            (tmp_path / part.data_prefix["img_path"]).mkdir(parents=True, exist_ok=True)
    with pytest.raises(FileNotFoundError, match=rf"(?s)no .*{tmp_path}.*{cure}"):
        DATASETS.build(dataset)


def test_cityscapes_without_its_converted_labels(tmp_path):
    save(tmp_path / "leftImg8bit/train/aachen/a_leftImg8bit.png", noise(*SIZE, 3))
    prefix = dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train")
    cityscapes = dict(type="CityscapesDataset", data_root=str(tmp_path), data_prefix=prefix)
    assert len(DATASETS.build(cityscapes)) == 1  # as for a benchmark's images without labels
    load = dict(type="LoadAnnotations")
    nested = dict(type="TestTimeAug", transforms=[[load]])
    for step in (load, nested):
        with pytest.raises(
            FileNotFoundError, match=r"(?s)a_gtFine_labelTrainIds\.png .*mim run mmseg c"
        ):
            DATASETS.build(dict(cityscapes, pipeline=[step]))


# Models

BN = dict(type="BN")
CROSS_ENTROPY = dict(type="CrossEntropyLoss")
#: Small models whose options the rows change.
MODEL = dict(
    hrnet=dict(
        backbone=dict(type="HighResolutionNet", arch="w18_small_v1", norm_cfg=BN),
        decode_head=dict(type="HRNetV2Head", in_channels=(16, 32, 64, 128)),
    ),
    cpnet=dict(
        backbone=dict(
            type="ResNetV1c", depth=18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), norm_cfg=BN
        ),
        decode_head=dict(
            type="CPHead",
            in_channels=512,
            in_index=3,
            channels=16,
            prior_channels=16,
            prior_size=8,
        ),
        auxiliary_head=dict(
            type="FCNHead", in_channels=256, in_index=2, channels=8, num_convs=1, num_classes=3
        ),
    ),
    deeplab=dict(
        type="AtrousEncoderDecoder",
        output_stride=16,
        backbone=dict(type="AtrousResNet", depth=18, norm_cfg=BN),
        decode_head=dict(type="DeepLabV3PlusHead", in_channels=512, c1_in_channels=64, in_index=3),
    ),
    refinenet=dict(
        backbone=dict(type="AtrousResNet", depth=18, output_stride=32, norm_cfg=BN),
        decode_head=dict(type="RefineNetHead", in_channels=(64, 128, 256, 512)),
    ),
    denseaspp=dict(
        backbone=dict(type="DilatedDenseNet", arch="121", out_indices=(3,), norm_cfg=BN),
        decode_head=dict(
            type="DenseASPPHead", in_channels=512, bottleneck_channels=8, growth_channels=8
        ),
    ),
    spnet=dict(
        backbone=dict(
            type="PluginResNetV1c",
            depth=50,
            norm_cfg=BN,
            plugins=[
                dict(
                    cfg=dict(type="StripPoolingModule"),
                    position="after_conv2",
                    stages=(False, False, False, True),
                )
            ],
        ),
        decode_head=dict(type="SPHead", in_channels=2048, in_index=3, bins=(20, 12)),
    ),
    hanet=dict(
        type="HeightAttentionEncoderDecoder",
        height_attention=dict(
            places=[dict(source="backbone.layer3", target="backbone.layer4", low_channels=256,
                         high_channels=512)]
        ),
        backbone=dict(type="AtrousResNet", depth=18, norm_cfg=BN),
        decode_head=dict(type="DeepLabV3Head", in_channels=512, in_index=3),
    ),
    dsrl=dict(
        type="DSRLEncoderDecoder",
        backbone=dict(type="AtrousResNet", depth=18, norm_cfg=BN),
        decode_head=dict(type="DeepLabV3Head", in_channels=512, in_index=3),
    ),
)  # fmt: skip
SLIDE = dict(mode="slide", crop_size=(32, 32), stride=(16, 16))
#: What is wrong, model, the options changed in it, what the error says.
MODEL_OPTIONS = [
    ("unknown backbone", "hrnet", {"backbone.type": "HighResolutionNett"},
     r"model\.backbone\.type='HighResolutionNett' .*mean HighResolutionNet\b"),
    ("unknown head", "hrnet", {"decode_head.type": "HRNetHead"}, r"'HRNetHead' .*HRNetV2Head"),
    ("unknown loss", "hrnet", {"decode_head.loss_decode.type": "CrossEntropyLos"},
     r"model\.decode_head\.loss_decode\.type='CrossEntropyLos' .*mean CrossEntropyLoss"),
    ("unknown norm", "hrnet", {"backbone.norm_cfg.type": "BatchNorm"},
     r"model\.backbone\.norm_cfg\.type='BatchNorm'"),
    ("unknown sampler", "hrnet", {"decode_head.sampler": dict(type="OHEMSampler")},
     r"'OHEMSampler' .*OHEMPixelSampler"),
    ("unknown option of backbone", "hrnet", {"backbone.archh": "w18"},
     r"model\.backbone\.archh: HighResolutionNet has no option 'archh'\. Did you mean arch"),
    ("unknown option of head", "hrnet", {"decode_head.num_clases": 3}, r"num_clases.*num_classes"),
    ("unknown option of segmentor", "hrnet", {"output_stride": 8}, r"model\.output_stride"),
    ("unknown arch", "hrnet", {"backbone.arch": "w49"}, r"arch must be one of .*w48.*got 'w49'"),
    ("channels of another width", "hrnet", {"decode_head.in_channels": (18, 36, 72, 144)},
     r"decode_head\.in_channels=270.* 16, 32, 64, 128 channels"),
    ("level that does not exist", "hrnet", {"decode_head.in_index": (0, 1, 2, 4)},
     r"decode_head\.in_index=\(0, 1, 2, 4\).* 4 maps"),
    ("too few levels", "hrnet", {"decode_head.in_index": (0, 1)}, r"in_index .*got \(0, 1\)"),
    ("no class", "hrnet", {"decode_head.num_classes": 0}, r"decode_head\.num_classes .*got 0"),
    ("negative classes", "hrnet", {"decode_head.num_classes": -3}, r"num_classes .*got -3"),
    ("classes in words", "hrnet", {"decode_head.num_classes": "three"}, r"num_classes .*'three'"),
    ("pretrained of another backbone", "denseaspp", {"pretrained": "open-mmlab://resnet50_v1c"},
     r"DilatedDenseNet takes none; set model\.pretrained=None.* model\.backbone\.init_cfg"),
    ("fewer classes than labels", "hrnet", {"decode_head.num_classes": 2},
     r"label holds 2, .* 2 classes 0\.\.1"),
    ("negative channels", "hrnet", {"decode_head.channels": -4}, r"decode_head\.channels .*got -4"),
    ("fixed option", "hrnet", {"decode_head.num_convs": 1},
     r"model\.decode_head\.num_convs: HRNetV2Head sets 'num_convs' by itself; remove it"),
    ("index of one map", "hrnet", {"decode_head.in_index": 3}, r"in_index must name one .*got 3"),
    ("index of one level", "refinenet", {"decode_head.in_index": 2}, r"in_index must .*got 2"),
    ("stage that cannot freeze", "hrnet", {"backbone.frozen_stages": 5}, r"frozen_stages .*got 5"),
    ("threshold of 1", "hrnet",
     {"decode_head.num_classes": 2, "decode_head.out_channels": 1, "decode_head.threshold": 1.0,
      "decode_head.loss_decode": dict(type="CrossEntropyLoss", use_sigmoid=True)},
     r"threshold of HRNetV2Head must be between 0 and 1, got 1\.0"),
    ("stride of half pixels", "hrnet", {"test_cfg": dict(SLIDE, stride=(8.0, 8.0))},
     r"test_cfg\.stride must be .*whole numbers.*got \(8\.0, 8\.0\)"),
    ("even kernel", "hrnet", {"decode_head.kernel_size": 2}, r"kernel_size must be 1 or 3, got 2"),
    ("weights of other classes", "hrnet",
     {"decode_head.loss_decode": dict(type="CrossEntropyLoss", class_weight=[1.0, 2.0])},
     r"class_weight of CrossEntropyLoss .* 3 outputs of \w+Head, got 2"),
    ("one output for soft-max", "hrnet", {"decode_head.out_channels": 1}, r"out_channels=1"),
    ("dropout of 150 %", "hrnet", {"decode_head.dropout_ratio": 1.5}, r"dropout .*1\.5"),
    ("channels of the images", "hrnet", {"backbone.in_channels": 4}, r"backbone\.in_channels"),
    ("std of 0", "hrnet", {"data_preprocessor.std": [0.0, 1.0, 1.0]}, r"data_preprocessor\.std"),
    ("two means", "hrnet", {"data_preprocessor.mean": [0.0, 0.0]},
     r"mean.* (1 or 3 .*got 2|2 values and std 3)"),
    ("no test_cfg", "hrnet", {"test_cfg": None}, r"test_cfg must be a dict.*got None"),
    ("unknown mode", "hrnet", {"test_cfg": dict(mode="slid")}, r"test_cfg\.mode .*'slid'"),
    ("stride beyond the crop", "hrnet", {"test_cfg": dict(SLIDE, stride=(48, 48))},
     r"test_cfg\.stride .*\(32, 32\), got \(48, 48\)"),
    ("crop in one number", "hrnet", {"test_cfg": dict(SLIDE, crop_size=32)}, r"crop_size .*got 32"),
    ("slide without crop", "hrnet", {"test_cfg": dict(mode="slide")}, r"test_cfg\.crop_size .*No"),
    ("stride of 0", "hrnet", {"test_cfg": dict(SLIDE, stride=(0, 8))}, r"stride .*got \(0, 8\)"),
    ("unknown map to keep", "hrnet", {"test_cfg": dict(mode="whole", keep="logits")},
     r"test_cfg\.keep .*'logits'"),
    ("no windows a batch", "hrnet", {"test_cfg": dict(SLIDE, window_batch=0)}, r"window_batch .*0"),
    ("prior of another crop", "cpnet", {"decode_head.prior_size": 7}, r"prior_size=\(7, 7\).*crop"),
    ("prior of 0", "cpnet", {"decode_head.prior_size": 0}, r"prior_size .*got 0"),
    ("negative prior channels", "cpnet", {"decode_head.prior_channels": -1}, r"prior_channels=-1"),
    ("groups that do not divide", "cpnet", {"decode_head.groups": 3}, r"groups must .*got 3"),
    ("even aggregation", "cpnet", {"decode_head.am_kernel_size": 4}, r"odd.*got 4"),
    ("channels of another depth", "cpnet", {"decode_head.in_channels": 2048},
     r"decode_head\.in_channels=2048.* 512 channels"),
    ("channels of auxiliary head", "cpnet", {"auxiliary_head.in_channels": 99},
     r"auxiliary_head\.in_channels=99.*FCNHead.* 256 channels"),
    ("level of auxiliary head", "cpnet", {"auxiliary_head.in_index": 7},
     r"auxiliary_head\.in_index=7.* 4 maps"),
    ("unknown depth", "cpnet", {"backbone.depth": 19}, r"depth 19"),
    ("stages that do not exist", "cpnet", {"backbone.out_indices": (0, 9)}, r"out_indices"),
    ("two strides of four", "cpnet", {"backbone.strides": (1, 2)}, r"len\(strides\)"),
    ("unknown affinity", "cpnet",
     {"decode_head.loss_prior_decode": dict(type="AffinityLoss", empty_rows="drop")},
     r"empty_rows .*'drop'"),
    ("output stride between", "deeplab", {"output_stride": 12}, r"one of 4, 8, 16, 32, got 12"),
    ("negative output stride", "deeplab", {"output_stride": -8}, r"output_stride .*got -8"),
    ("output stride as text", "deeplab", {"output_stride": "8"}, r"output_stride .*got '8'"),
    ("negative rates", "deeplab", {"decode_head.rates": (-6, 6)}, r"rates .*got \(-6, 6\)"),
    ("unknown depth of ours", "deeplab", {"backbone.depth": 77}, r"depth .*50.*got 77"),
    ("unknown style", "deeplab", {"backbone.style": "tf"}, r"style .*got 'tf'"),
    ("channels of the low level", "deeplab", {"decode_head.c1_in_channels": 256},
     r"c1_in_channels=256.* 64 channels"),
    ("level before the first", "cpnet", {"auxiliary_head.in_index": -5},
     r"auxiliary_head\.in_index=-5.* 4 maps"),
    ("missing low level", "deeplab", {"decode_head.c1_index": 5}, r"c1_index=5.* 4 map"),
    ("three levels of four", "refinenet", {"decode_head.in_channels": (64, 128, 256)},
     r"in_channels .* 4 levels .*got"),
    ("levels the wrong way round", "refinenet", {"decode_head.in_channels": (512, 256, 128, 64)},
     r"decode_head\.in_channels=.*512.* 64, 128, 256, 512"),
    ("unknown cascade", "refinenet", {"decode_head.cascade": 5}, r"cascade .*4-cascaded.*got 5"),
    ("unknown DenseNet", "denseaspp", {"backbone.arch": "122"}, r"arch .*161.*'122'"),
    ("stride of DenseNet", "denseaspp", {"backbone.output_stride": 7}, r"output_stride .*got 7"),
    ("no dilation", "denseaspp", {"decode_head.dilations": ()}, r"dilations .*got \(\)"),
    ("no growth", "denseaspp", {"decode_head.growth_channels": 0}, r"growth_channels .*0"),
    ("place of a plug-in", "spnet", {"backbone.plugins.0.position": "after_conv9"},
     r"position .*after_conv3, got 'after_conv9'"),
    ("stages of a plug-in", "spnet", {"backbone.plugins.0.stages": (True,)}, r"stages .*4 bools"),
    ("blocks of a plug-in", "spnet", {"backbone.plugins.0.blocks": (9,)}, r"blocks .*got \(9,\)"),
    ("unknown plug-in", "spnet", {"backbone.plugins.0.cfg.type": "StripPooling"},
     r"plugins\[0\]\.cfg\.type='StripPooling' .*StripPoolingModule"),
    ("plug-ins without bottlenecks", "spnet", {"backbone.depth": 18}, r"depth=18"),
    ("bins of 0", "spnet", {"decode_head.bins": (0, 12)}, r"bins .*got \(0, 12\)"),
    ("channels that do not divide", "spnet", {"decode_head.in_channels": 2047}, r"8, got 2047"),
    ("gate of no layer", "hanet", {"height_attention.places.0.source": "backbone.layer9"},
     r"places\[0\]\.source: .*'backbone\.layer9'\. Did you mean backbone\.layer"),
    ("unknown option of a gate", "hanet", {"height_attention.layer": 3},
     r"places\[0\]\.layer: .* no option 'layer'"),
    ("gate of other channels", "hanet", {"height_attention.places.0.high_channels": 8},
     r"places\[0\]\.high_channels is 8.* set it to 512"),
    ("a gate without a source", "hanet",
     {"height_attention.places": [dict(target="backbone.layer4")]},
     r"places\[0\]\.source must name .*missing"),
    ("reduction of 0", "hanet", {"height_attention.reduction": 0}, r"reduction .*got 0"),
    ("affinity without super-resolution", "dsrl",
     {"loss_fa": dict(type="FeatureAffinityLoss")}, r"loss_fa .*needs a sisr_head"),
    ("unknown feature", "dsrl", {"fa_source": "logit"}, r"fa_source .*'logit'"),
]  # fmt: skip


def small_model(name, options):
    head = dict(num_classes=3, norm_cfg=BN, loss_decode=CROSS_ENTROPY)
    model = {"type": "FusedEncoderDecoder", **MODEL[name]}
    for part in {"decode_head", "auxiliary_head"} & model.keys():
        model[part] = {**head, **model[part]}
    preprocessor = dict(mean=[0.0] * 3, std=[255.0] * 3, size=(64, 64))
    model["data_preprocessor"] = dict(type="SegDataPreProcessor", **preprocessor)
    model["test_cfg"] = dict(mode="whole")
    config = Config(dict(model=model))
    config.merge_from_dict({f"model.{k}": v for k, v in options.items() if k != "test_cfg"})
    config.model.test_cfg = options.get("test_cfg", model["test_cfg"])
    return config.model


def train_one_step(model):
    sample = SegDataSample()
    sample.gt_sem_seg = PixelData(data=torch.from_numpy(noise(1, 64, 64, values=3)))
    sample.set_metainfo(dict(img_shape=(64, 64), row_position=np.arange(64)))
    image = torch.from_numpy(noise(3, 64, 64))
    data = dict(inputs=[image, image], data_samples=[sample, sample.clone()])
    return model(**model.data_preprocessor(data, True), mode="loss")


@pytest.mark.parametrize(("name", "options", "culprit"), cases(MODEL_OPTIONS))
def test_options_of_models_name_the_culprit(name, options, culprit):
    with pytest.raises(ValueError, match=culprit):
        train_one_step(MODELS.build(small_model(name, options)))


@pytest.mark.parametrize("name", MODEL)
def test_the_models_without_a_fault_train(name):
    losses = train_one_step(MODELS.build(small_model(name, {})))
    assert torch.isfinite(losses["decode.loss_ce"])


def test_integers_of_numpy_are_numbers_of_classes():
    train_one_step(MODELS.build(small_model("hrnet", {"decode_head.num_classes": np.int64(3)})))


# Checkpoints, images and commands

CLASSES = ("dark", "green", "red")


@MODELS.register_module()
class PixelsAsFeatures(torch.nn.Module):
    """A backbone without weights, so that commands take no time."""

    def forward(self, x):
        return (x,)


class RunsCode:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch was_run",)


def tiny_config(**options):
    head = dict(type="FCNHead", in_channels=3, in_index=0, channels=3, num_convs=0, num_classes=3)
    preprocessor = dict(type="SegDataPreProcessor", mean=[0.0] * 3, std=[255.0] * 3)
    steps = [dict(type="LoadImageFromFile"), dict(type="PackSegInputs")]
    dataset = dict(type="FolderDataset", classes=CLASSES, pipeline=steps)
    config = Config(
        dict(
            model=dict(
                type="FusedEncoderDecoder",
                backbone=dict(type="PixelsAsFeatures"),
                decode_head=dict(head, concat_input=False, loss_decode=CROSS_ENTROPY),
                data_preprocessor=preprocessor,
                test_cfg=dict(mode="whole"),
            ),
            test_dataloader=dict(dataset=dataset),
        )
    )
    config.merge_from_dict(options)
    return config


@pytest.fixture
def prediction(tmp_path, monkeypatch):
    """Config, checkpoint and image that fit together, in the current folder."""
    monkeypatch.chdir(tmp_path)
    tiny_config().dump("config.py")
    state_dict = MODELS.build(tiny_config().model).state_dict()
    torch.save(dict(state_dict=state_dict), "weights.pth")
    save(Path("image.png"), noise(8, 8, 3))
    return state_dict


def run(argv, capsys):
    """Exit status and last line of errors of a command, and what it left in ``out``."""
    try:
        status = main(argv)
    except SystemExit as error:
        status = error.code
    lines = capsys.readouterr().err.strip().splitlines()
    left = [str(path) for path in Path("out").rglob("*")]
    return status, lines[-1] if lines else "", left


def predict(capsys, config="config.py", checkpoint="weights.pth", source="image.png", options=()):
    argv = ["predict", config, checkpoint, source, "--out", "out", "--device", "cpu", *options]
    return run(argv, capsys)


def test_prediction_without_a_fault(prediction, capsys):
    status, last, left = predict(capsys)
    assert (status, last) == (0, "")
    assert "out/classes.json" in left


def truncated(state_dict):
    content = Path("weights.pth").read_bytes()
    Path("bad.pth").write_bytes(content[: len(content) // 2])


def saved(change):
    return lambda state_dict: torch.save(change(state_dict), "bad.pth")


#: What is wrong, how to make bad.pth from the state dict of a sound one, what the error says.
CHECKPOINTS = [
    ("missing", lambda _: None, r"neither bad\.pth nor bad\.pth\.index"),
    ("folder", lambda _: Path("bad.pth").mkdir(), r"neither bad\.pth nor bad\.pth\.index"),
    ("empty", lambda _: Path("bad.pth").touch(), r"bad\.pth is no PyTorch file .*cut short"),
    ("cut off", truncated, r"bad\.pth is no PyTorch file .*cut short"),
    ("page", lambda _: Path("bad.pth").write_text("<html>404"), r"bad\.pth is no PyTorch file"),
    ("zip", lambda _: Path("bad.pth").write_bytes(b"PK\3\4"), r"bad\.pth is no PyTorch file"),
    ("list", saved(lambda _: [1, 2]), r"bad\.pth holds a list"),
    ("optimizer alone", saved(lambda _: dict(optimizer={})), r"bad\.pth holds no weights"),
    (
        "other model",
        saved(lambda _: dict(state_dict={"conv.weight": torch.zeros(2)})),
        r"bad\.pth does not fit .* 2 missing: decode_head\.conv_seg.* left over: conv\.weight",
    ),
    (
        "other width",
        saved(lambda s: {k: torch.zeros(3, 9, 1, 1) if v.dim() == 4 else v for k, v in s.items()}),
        r"bad\.pth does not fit .*conv_seg\.weight: \[3, 9, 1, 1\] instead of \[3, 3, 1, 1\]",
    ),
    (
        "other classes",
        saved(lambda s: {k: torch.zeros(5, *v.shape[1:]) for k, v in s.items()}),
        r"bad\.pth .*weight: \[5, 3, 1, 1\] instead of \[3, 3, 1, 1\].* Set num_classes",
    ),
    (
        "weight missing",
        saved(lambda s: {k: v for k, v in s.items() if "bias" not in k}),
        r"bad\.pth .*1 missing: decode_head\.conv_seg\.bias",
    ),
    (
        "weights not finite",
        saved(lambda s: {k: v * float("nan") for k, v in s.items()}),
        r"bad\.pth: decode_head\.conv_seg\.weight is not finite",
    ),
    (
        "code",
        saved(lambda s: dict(state_dict=s, more=RunsCode())),
        r"bad\.pth .*\.system.*run code",
    ),
]


@pytest.mark.parametrize(("make", "culprit"), cases(CHECKPOINTS))
def test_checkpoints_name_the_culprit(make, culprit, prediction, capsys):
    make(prediction)
    status, last, left = predict(capsys, checkpoint="bad.pth")
    assert status == 1
    assert re.search(culprit, last), last
    assert left == []
    assert not Path("was_run").exists()


#: What is wrong, the file and what it holds, what the error says.
IMAGES = [
    ("missing", "none.png", None, r"none\.png is no file"),
    ("pattern without a match", "*.gif", None, r"\*\.gif is no file and names no image"),
    ("empty", "bad.png", b"", r"bad\.png cannot be loaded: it is empty or no image"),
    ("PDF", "bad.pdf", b"%PDF", r"bad\.pdf cannot be loaded: it is empty or no image"),
    ("text", "bad.jpg", b"hello", r"bad\.jpg cannot be loaded: it is empty or no image"),
    ("beyond Pillow's limit", "bad.png", huge_png(), r"bad\.png .*predict_huge_image"),
    ("empty video", "bad.mp4", b"", r"video bad\.mp4 cannot be read"),
    ("no video", "bad.avi", b"hello", r"video bad\.avi cannot be read"),
    ("five channels", "bad.npy", noise(8, 8, 5), r"bad\.npy .*3 channels, the image has 5"),
    ("no pixel", "bad.npy", noise(0, 8, 3), r"bad\.npy .*shape \(0, 8, 3\)"),
    ("NaN", "bad.npy", filled(np.nan, 8, 8, 3, dtype=np.float32), r"bad\.npy .*NaN"),
]


@pytest.mark.parametrize(("name", "content", "culprit"), cases(IMAGES))
def test_images_name_the_culprit(name, content, culprit, prediction, capsys):
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    elif content is not None:
        np.save(name, content)
    status, last, left = predict(capsys, source=name)
    assert status == 1
    assert re.search(culprit, last), last
    assert left == []


@pytest.mark.parametrize(
    "array", [noise(8, 8), noise(8, 8, 4), noise(1, 1, 3)], ids=["grey", "alpha", "one pixel"]
)
def test_predicts_what_is_no_fault(array, prediction, capsys):
    save(Path("odd.png"), array)
    status, last, _ = predict(capsys, source="odd.png")
    assert (status, last) == (0, "")
    labels = cv2.imread("out/labels/odd.png", cv2.IMREAD_UNCHANGED)
    assert labels.shape == array.shape[:2]


#: What is wrong, changes of the config (a dict) or its text, what the error says.
CONFIGS = [
    ("bracket open", "model = dict(", r"config bad\.py cannot be read: SyntaxError"),
    ("name that is not defined", "x = y", r"config bad\.py cannot be read: NameError.*'y'"),
    ("base missing", "_base_ = './none.py'", r"config bad\.py cannot be read: .*none\.py"),
    (
        "package missing",
        "custom_imports = dict(imports=['no_such'], allow_failed_imports=False)",
        r"config bad\.py cannot be read: ImportError: .*no_such",
    ),
    ("no model", "x = 1", r"config bad\.py has no model and no test_dataloader"),
    (
        "unknown segmentor",
        {"model.type": "FusedEncoderDecodr"},
        r"model\.type='FusedEncoderDecodr' .*FusedEncoderDecoder",
    ),
    (
        "unknown option",
        {"model.decode_head.num_clases": 3},
        r"model\.decode_head\.num_clases: FCNHead .*num_classes",
    ),
    (
        "other classes than the data set",
        {"test_dataloader.dataset.classes": ("a", "b")},
        r"3 classes and its data set 2; set num_classes",
    ),
    (
        "unknown data set",
        {"test_dataloader.dataset.type": "FoldrDataset"},
        r"'FoldrDataset' .*FolderDataset",
    ),
    (
        "unknown transform",
        {"test_dataloader.dataset.pipeline.1.type": "PackSegInput"},
        r"dataset\.pipeline\[1\]\.type='PackSegInput' .*PackSegInputs",
    ),
    ("no pipeline", {"test_dataloader.dataset.pipeline": []}, r"pipeline must load"),
]


@pytest.mark.parametrize(("change", "culprit"), cases(CONFIGS))
def test_configs_name_the_culprit(change, culprit, prediction, capsys):
    if isinstance(change, str):
        Path("bad.py").write_text(change)
    else:
        tiny_config(**change).dump("bad.py")
    status, last, left = predict(capsys, config="bad.py")
    assert status == 1
    assert re.search(culprit, last), last
    assert left == []


CAMVID = "hrnetv2_w48_1xb8-20k_camvid-360x480"
PREDICT = ["predict", "config.py", "weights.pth", "image.png", "--device", "cpu"]
#: What is wrong, the command's arguments, what the error says.
COMMANDS = [
    ("no command", [], r"required: command"),
    ("unknown command", ["predct"], r"'predct' .*'?predict"),
    ("no arguments", ["predict"], r"required: config, checkpoint, FILE"),
    ("unknown option", [*PREDICT, "--outt", "x"], r"--outt"),
    ("--out a file", [*PREDICT, "--out", "image.png"], r"--out: image\.png is a file"),
    ("--out below a file", [*PREDICT, "--out", "image.png/a"], r"--out: .*image\.png is a file"),
    ("batch of 0", [*PREDICT, "--batch-size", "0"], r"--batch-size: '0' is no whole number"),
    ("batch in words", [*PREDICT, "--batch-size", "two"], r"--batch-size: 'two' is no whole"),
    ("opacity of 7", [*PREDICT, "--opacity", "7"], r"opacity .*got 7"),
    ("unknown device", [*PREDICT[:-1], "gpu0"], r"device 'gpu0' cannot be used"),
    ("device that is not there", [*PREDICT[:-1], "cuda:99"], r"device 'cuda:99' cannot be used"),
    ("unknown config", ["config", "hrnet_w48"], r"no config 'hrnet_w48'.*mean hrnetv2_w48"),
    ("part of a name", ["config", "cpnet"], r"no config 'cpnet'.*Did you mean cpnet-"),
    ("--dest a file", ["config", CAMVID, "--dest", "image.png"], r"--dest: image\.png is a file"),
    ("classes without data", ["config", CAMVID, "--classes", "a"], r"--data-root and --classes"),
    ("options without data", ["config", CAMVID, "--data-options", "a=1"], r"--data-options needs"),
    (
        "option without value",
        ["config", CAMVID, *("--data-root", "x"), *("--classes", "a"), *("--data-options", "red")],
        r"--data-options: 'red' must be KEY=VALUE",
    ),
    (
        "class twice",
        ["config", CAMVID, "--data-root", "x", "--classes", "a", "a"],
        r"classes must differ .*'a', 'a'",
    ),
    (
        "unknown data option",
        ["config", CAMVID, *("--data-root", "x"), *("--classes", "a"),
         *("--data-options", "label_colours=3")],
        r"--data-options\.label_colours: .*label_colors",
    ),
    (
        "own data for half a config",
        ["config", "half.py", "--data-root", "x", "--classes", "a"],
        r"half\.py has no train_dataloader",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "culprit"), cases(COMMANDS))
def test_commands_name_the_culprit(argv, culprit, prediction, capsys):
    tiny_config().dump("half.py")
    before = sorted(Path.cwd().rglob("*"))
    status, last, _ = run(argv, capsys)
    assert status in (1, 2)
    assert re.search(culprit, last), last
    assert sorted(Path.cwd().rglob("*")) == before


SCRIPTS = {file.stem: file for file in (ROOT / "tools").rglob("*.py")}
#: Script, its arguments, what the error says.
TOOLS = [
    ("check_dataset", ["none.py"], r"no config 'none\.py'"),
    ("training_report", ["config.py", "none"], r"none"),
    ("attention_maps", ["config.py", "none.pth", "image.png"], r"none\.pth"),
    ("context_prior", ["none.py", "weights.pth"], r"no config 'none\.py'"),
    ("height_statistics", ["none.py"], r"no config 'none\.py'"),
    ("super_resolution", ["config.py", "image.png", "image.png"], r"image\.png is no PyTorch file"),
    ("camvid", ["none"], r"none"),
    ("person_part", ["none", "none"], r"none"),
    ("street_scenes", ["image.png"], r"image\.png"),
    ("convert_checkpoint", ["deeplab", "none.pth", "new.pth"], r"none\.pth"),
    ("publish_checkpoint", ["none.pth", "new.pth"], r"none\.pth"),
    ("export", [CAMVID, "none.pth", "new.onnx"], r"none\.pth"),
    ("export", ["none.py", "none.pth", "new.onnx"], r"no config 'none\.py'"),
    ("export", ["config.py", "weights.pth", "new.onnx", "--size", "0", "9"], r"--size: '0'"),
    ("benchmark", ["model", "none.py"], r"no config 'none\.py'"),
    ("benchmark", ["model", CAMVID, "--size", "100", "64"], r"--size are multiples of 32"),
    ("onnx_labels", ["image.png", "out", "image.png"], r"image\.png is no ONNX file"),
    ("onnx_labels", ["a.onnx", "out", "a/x.png", "b/x.png"], r"b/x\.png would both .* x\.png"),
]


@pytest.mark.parametrize(("script", "argv", "culprit"), TOOLS)
def test_scripts_name_the_culprit(script, argv, culprit, prediction, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location(script, SCRIPTS[script])
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(SCRIPTS[script].parent)
    monkeypatch.setitem(sys.modules, script, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [script, *argv])
    try:
        status = module.main()
    except SystemExit as end:
        status = end.code
    assert status not in (0, None)
    message = status if isinstance(status, str) else capsys.readouterr().err
    assert re.search(culprit, message), message
    assert not Path("new.pth").exists()


#: Command line of a process of its own, what the last line says.
PROCESSES = [
    ("predict", ["-m", "mmseg_papers", *PREDICT], r"'PixelsAsFeatures' is not registered"),
    ("config", ["-m", "mmseg_papers", "config", "none"], r"no config 'none'"),
    ("script", [SCRIPTS["check_dataset"], "config.py"], r"config\.py has no train_dataloader"),
]


@pytest.mark.parametrize(("argv", "culprit"), cases(PROCESSES))
def test_processes_end_without_a_traceback(argv, culprit, prediction):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, argv)],
        env=dict(os.environ, CUDA_VISIBLE_DEVICES="-1", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (1, 2), result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert re.search(culprit, result.stderr.strip().splitlines()[-1])

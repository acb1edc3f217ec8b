"""Label maps, lazy logits and confidence of the fused segmentors against mmseg's."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.evaluator.metric import DumpResults
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS
from mmseg.visualization import SegLocalVisualizer

from mmseg_papers.models.segmentors import FusedEncoderDecoder, LazyPixelData

from .tiny_models import (
    FUSED,
    NUM_CLASSES,
    OCR,
    SEP_ASPP,
    Largest,
    auxiliary,
    build_pair,
    head,
    images,
    labelled,
    model_config,
    one_channel,
    with_meta,
)

SIZE = (33, 46)
SHAPES = dict(img_shape=SIZE, pad_shape=SIZE)
PADDED = dict(img_shape=(30, 40), pad_shape=SIZE, img_padding_size=(2, 4, 0, 3))
CASES = {
    "same_size": dict(SHAPES, ori_shape=SIZE),
    "larger": dict(SHAPES, ori_shape=(50, 61)),
    "smaller": dict(SHAPES, ori_shape=(20, 31)),
    "no_pad_shape": dict(img_shape=SIZE, ori_shape=(40, 46)),
    "shape_of_a_window": dict(SHAPES, img_shape=torch.Size((30, 40)), ori_shape=(33, 42)),
    "padded": dict(PADDED, ori_shape=(30, 40)),
    "padded_resized": dict(PADDED, ori_shape=(41, 57)),
    "old_padding_key": dict(SHAPES, padding_size=[0, 6, 0, 3], ori_shape=(30, 40)),
    "flipped": dict(SHAPES, ori_shape=(40, 50), flip=True, flip_direction="horizontal"),
    "padded_flipped": dict(PADDED, ori_shape=(30, 40), flip=True, flip_direction="vertical"),
    "not_flipped": dict(SHAPES, ori_shape=SIZE, flip=False, flip_direction=None),
}
HEADS = {
    "fcn": head(),
    "align_corners": head(align_corners=True),
    "psp": head("PSPHead", pool_scales=(1, 2)),
    "sep_aspp": head(**SEP_ASPP),
    "ocr": OCR,
    "three_stages": [*OCR, OCR[1]],
}


def predict(model, inputs, samples):
    with torch.no_grad():
        return model.eval()(inputs, samples, mode="predict")


def assert_same_prediction(got, expected):
    assert set(got.keys()) == set(expected.keys())
    labels, expected_labels = got.pred_sem_seg.data, expected.pred_sem_seg.data
    assert labels.dtype == expected_labels.dtype
    assert torch.equal(labels, expected_labels)
    assert torch.equal(got.seg_logits.data, expected.seg_logits.data)


@pytest.mark.parametrize("decode_head", HEADS.values(), ids=HEADS)
def test_equals_mmseg(decode_head):
    theirs, ours = build_pair(model_config(decode_head, auxiliary()))
    classes = set()
    for meta in (None, *CASES.values()):
        inputs = images(1)
        samples = [None if meta is None else with_meta(meta) for _ in range(2)]
        (expected,), (got,) = (
            predict(theirs, inputs, samples[0]),
            predict(ours, inputs, samples[1]),
        )
        assert isinstance(got.seg_logits, LazyPixelData)
        assert got.seg_logits.shape == expected.seg_logits.shape
        assert_same_prediction(got, expected)
        classes.update(got.pred_sem_seg.data.flatten().tolist())
    assert len(classes) > 3


def test_other_modes_equal_mmseg():
    theirs, ours = (model.eval() for model in build_pair(model_config(head())))
    inputs, metas = images(), [dict(SHAPES, ori_shape=SIZE)] * 2
    for call in (
        lambda model: model(inputs, mode="tensor"),
        lambda model: model.encode_decode(inputs, metas),
        lambda model: model.inference(inputs, metas),
    ):
        assert torch.equal(call(ours), call(theirs))


def test_unknown_flip_is_refused():
    _, ours = build_pair(model_config(head()))
    for direction in ("diagonal", None):
        meta = dict(SHAPES, ori_shape=SIZE, flip=True, flip_direction=direction)
        with pytest.raises(ValueError, match=f"flip_direction must be .* got '{direction}'"):
            predict(ours, images(1), with_meta(meta))


@pytest.mark.parametrize(
    "decode_head",
    [
        head("EncHead", num_codes=4, in_channels=[8, 12], in_index=[0, 1]),
        one_channel(0.4),
    ],
    ids=["own_predict", "one_channel"],
)
@pytest.mark.parametrize("keep", [None, "confidence"])
def test_falls_back(decode_head, keep):
    theirs, ours = build_pair(model_config(decode_head), test_cfg=dict(keep=keep))
    inputs, meta = images(1), CASES["padded_flipped"]
    (expected,), (got,) = (predict(model, inputs, with_meta(meta)) for model in (theirs, ours))
    if keep:
        confidence = got.pop("seg_confidence").data
        assert confidence.shape == expected.pred_sem_seg.data.shape
        logits = expected.seg_logits.data
        if len(logits) == 1:
            assert torch.equal(confidence, torch.where(logits > 0.4, logits, 1 - logits))
        else:
            assert torch.equal(confidence, logits.softmax(0).amax(0, keepdim=True))
    assert type(got.seg_logits) is PixelData
    assert_same_prediction(got, expected)


@pytest.mark.parametrize(
    ("method", "factor"),
    [("encode_decode", 2), ("whole_inference", 2), ("slide_inference", 2), ("_forward", 1)],
)
def test_a_segmentor_that_infers_in_its_own_way_is_heeded(method, factor):
    """mmseg predicts by the first three, not by ``_forward``, which ``mode='tensor'`` calls."""

    class Halved(FusedEncoderDecoder):
        pass

    def halved(self, inputs, metas=None):
        return getattr(FusedEncoderDecoder, method)(self, inputs, metas) / 2

    setattr(Halved, method, halved)
    mode = "slide" if method == "slide_inference" else "whole"
    config = model_config(head(), test_cfg=dict(mode=mode, crop_size=(16, 16), stride=(9, 9)))
    theirs, _ = build_pair(config)
    config.pop("type")
    ours = Halved(**config)
    ours.load_state_dict(theirs.state_dict())
    meta, inputs = CASES["same_size"], images(1)
    (expected,), (got,) = (predict(model, inputs, with_meta(meta)) for model in (theirs, ours))
    assert torch.equal(got.seg_logits.data, expected.seg_logits.data / factor)


def test_an_inference_of_a_subclass_has_modes_of_its_own():
    class Whole(FusedEncoderDecoder):
        def inference(self, inputs, batch_img_metas):
            return self.whole_inference(inputs, batch_img_metas)

    config = model_config(head())
    theirs, _ = build_pair(config)
    ours = MODELS.build(ConfigDict(config, type=Whole, test_cfg=dict(mode="own")))
    ours.load_state_dict(theirs.state_dict())
    inputs, meta = images(1), CASES["same_size"]
    (expected,), (got,) = (predict(model, inputs, with_meta(meta)) for model in (theirs, ours))
    assert_same_prediction(got, expected)


@pytest.mark.parametrize("case", CASES)
def test_confidence(case):
    theirs, ours = build_pair(model_config(head()), test_cfg=dict(keep="confidence"))
    inputs = images(1)
    (expected,), (got,) = (
        predict(model, inputs, with_meta(CASES[case])) for model in (theirs, ours)
    )
    probability = expected.seg_logits.data.softmax(0).amax(0, keepdim=True)
    torch.testing.assert_close(got.seg_confidence.data, probability)
    assert torch.equal(got.pred_sem_seg.data, expected.pred_sem_seg.data)


@pytest.mark.parametrize("key", ["keep", "window_batch"])
def test_unknown_test_cfg_is_refused_at_build(key):
    with pytest.raises(ValueError, match=rf"test_cfg\.{key} must be .*got 'all'"):
        build_pair(model_config(head()), test_cfg={key: "all"})


def test_samples_of_a_batch_have_their_own_sizes():
    """mmseg takes the size of the first resize from the first image for all."""
    theirs, ours = build_pair(model_config(head()))
    metas = list(CASES.values())
    inputs = images(len(metas))
    together = predict(ours, inputs, with_meta(*metas))
    for image, meta, got in zip(inputs, metas, together, strict=True):
        (alone,) = predict(theirs, image[None], with_meta(meta))
        assert torch.equal(got.pred_sem_seg.data, alone.pred_sem_seg.data)
        torch.testing.assert_close(got.seg_logits.data, alone.seg_logits.data)


@pytest.mark.parametrize("step", ["val_step", "test_step"])
@pytest.mark.parametrize("test_cfg", [None, dict(size_divisor=16)])
def test_images_of_a_batch_may_differ_in_size(step, test_cfg):
    theirs, ours = build_pair(model_config(head()))
    sizes = [(33, 46), (40, 24), (33, 46), (17, 50)]
    inputs = [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]
    metas = [dict(img_shape=size, ori_shape=(size[0] + 3, size[1])) for size in sizes]
    for model in (theirs.eval(), ours.eval()):
        model.data_preprocessor.test_cfg = test_cfg
    with torch.no_grad():
        together = getattr(ours, step)(dict(inputs=inputs, data_samples=with_meta(*metas)))
        for image, meta, got in zip(inputs, metas, together, strict=True):
            alone = dict(inputs=[image], data_samples=with_meta(meta))
            (expected,) = getattr(theirs, step)(alone)
            assert torch.equal(got.pred_sem_seg.data, expected.pred_sem_seg.data)
            assert got.ori_shape == meta["ori_shape"]


class TestLazyPixelData:
    """Against PixelData of the same tensor."""

    @pytest.fixture
    def pair(self):
        self.reads = 0
        data = torch.randn(3, 4, 5, requires_grad=True)

        def compute():
            self.reads += 1
            return data

        return PixelData(data=data), LazyPixelData.of(compute, (4, 5))

    def test_reads_once(self, pair):
        plain, lazy = pair
        assert lazy.keys() == ["data"]
        assert "data" in lazy
        assert lazy.shape == (4, 5)
        assert self.reads == 0
        assert lazy.data is plain.data
        assert lazy.data is plain.data
        assert self.reads == 1
        assert lazy.shape == (4, 5)

    @pytest.mark.parametrize(
        "read",
        [
            lambda x: x.data,
            lambda x: x.get("data"),
            lambda x: x.pop("data"),
            lambda x: x.values()[0],
            lambda x: dict(x.items())["data"],
            lambda x: x.to_dict()["data"],
            lambda x: x.to_dict().get("data"),
            lambda x: x.to_dict().pop("data"),
            lambda x: dict(x.to_dict())["data"],
            lambda x: {**x.to_dict()}["data"],
            lambda x: next(iter(x.to_dict().values())),
            lambda x: x.to_dict().copy()["data"],
            lambda x: x.to("cpu").data,
            lambda x: x.cpu().data,
            lambda x: x.detach().data,
            lambda x: x.detach().numpy().data,
            lambda x: x.numpy().to_tensor().data,
            lambda x: x.new().data,
            lambda x: x.clone().data,
            lambda x: x[1:3, 2:4].data,
            lambda x: copy.copy(x).data,
            lambda x: copy.deepcopy(x.detach()).data,
            lambda x: pickle.loads(pickle.dumps(x)).data,
            lambda x: pickle.loads(pickle.dumps(x.to_dict()))["data"],
        ],
    )
    def test_every_way_of_reading(self, pair, read):
        expected, got = map(read, pair)
        assert type(got) is type(expected)
        assert np.array_equal(np.asarray(got.tolist()), np.asarray(expected.tolist()))
        assert self.reads == 1

    def test_prints_alike(self, pair):
        plain, lazy = (str(x).split(" at 0x")[0] for x in pair)
        assert lazy == plain.replace("PixelData", "LazyPixelData")

    def test_to_dict_alone_does_not_read(self, pair):
        _, lazy = pair
        lazy.set_metainfo(dict(a=1))
        as_dict = lazy.to_dict()
        assert isinstance(as_dict, dict)
        assert list(as_dict) == ["a", "data"]
        assert "data" in as_dict
        assert len(as_dict) == 2
        assert self.reads == 0
        assert as_dict == dict(a=1, data=lazy.data)

    def test_copies_and_pickles_are_plain(self, pair):
        _, lazy = pair
        assert type(pickle.loads(pickle.dumps(lazy.detach()))) is PixelData
        assert type(copy.deepcopy(lazy.detach())) is PixelData
        assert type(pickle.loads(pickle.dumps(lazy.to_dict()))) is dict

    def test_setting_and_deleting(self, pair):
        _, lazy = pair
        with pytest.raises(AssertionError, match="not consistent"):
            lazy.other = torch.zeros(1, 2, 2)
        lazy.other = torch.zeros(1, 4, 5)
        assert self.reads == 0
        del lazy.data
        assert lazy.keys() == ["other"]
        with pytest.raises(AttributeError, match="'data'"):
            _ = lazy.data

    def test_error_of_the_computation_is_not_hidden(self):
        def compute():
            raise RuntimeError("out of memory")

        with pytest.raises(RuntimeError, match="out of memory"):
            _ = LazyPixelData.of(compute, (4, 5)).data


def test_sample_with_lazy_logits_behaves_as_mmsegs():
    theirs, ours = build_pair(model_config(head()))
    meta, inputs = CASES["padded_resized"], images(1)

    def samples():
        (expected,), (got,) = (predict(m, inputs, with_meta(meta)) for m in (theirs, ours))
        return expected, got

    for convert in (
        lambda x: x,
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x.detach(),
        lambda x: x.clone(),
        lambda x: copy.deepcopy(x),
        lambda x: pickle.loads(pickle.dumps(x)),
    ):
        expected, got = map(convert, samples())
        assert "seg_logits" in got
        assert np.array_equal(got.get("seg_logits").data, expected.seg_logits.data)
        assert got.metainfo == expected.metainfo
    expected, got = (sample.to_dict() for sample in samples())
    assert torch.equal(got["seg_logits"]["data"], expected["seg_logits"]["data"])
    _, got = samples()
    del got.seg_logits
    assert "seg_logits" not in got


class Scenes(torch.utils.data.Dataset):
    METAINFO = dict(classes=[str(i) for i in range(NUM_CLASSES)], palette=[[0, 0, 0]] * NUM_CLASSES)
    metainfo = METAINFO

    def __len__(self):
        return 2

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        size = (256, 320 + 8 * i)
        image = torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator)
        (sample,) = labelled(1, size)
        sample.gt_sem_seg.data = torch.randint(NUM_CLASSES, (1, *size), generator=generator)
        sample.set_metainfo(dict(img_path=f"{i}.png", reduce_zero_label=False))
        return dict(inputs=image, data_samples=sample)


def run_val_loop(model, work_dir, evaluator):
    runner = Runner(
        model,
        work_dir=str(work_dir),
        val_dataloader=dict(
            dataset=Scenes(), batch_size=1, sampler=dict(type="DefaultSampler", shuffle=False)
        ),
        val_cfg=dict(type="ValLoop"),
        val_evaluator=evaluator,
        default_scope="mmseg",
        experiment_name=f"run{id(model)}",
        log_level="ERROR",
    )
    with Largest() as mode:
        return runner.val(), mode.elements


@pytest.mark.parametrize("cfg", [None, dict(mode="slide", crop_size=(128, 160), stride=(96, 96))])
def test_val_loop_never_resizes_the_logits(cfg, tmp_path):
    pair = build_pair(model_config(head(), test_cfg=cfg))
    full_map = NUM_CLASSES * 256 * 320
    results = [run_val_loop(model, tmp_path, [IoUMetric()]) for model in pair]
    (expected, their_largest), (got, our_largest) = results
    assert got == expected
    assert their_largest >= full_map
    assert our_largest < 0.6 * full_map


def test_dumped_results_hold_the_logits(tmp_path):
    dumps = []
    for model in build_pair(model_config(head())):
        file = tmp_path / f"{type(model).__name__}.pkl"
        run_val_loop(model, tmp_path, Evaluator(DumpResults(str(file))))
        dumps.append(pickle.loads(file.read_bytes()))
    for expected, got in zip(*dumps, strict=True):
        assert type(got["seg_logits"]) is dict
        assert torch.equal(got["seg_logits"]["data"], expected["seg_logits"]["data"])


def test_visualizer_and_metric_read_the_labels(tmp_path):
    drawings, files = [], []
    image = np.zeros((*CASES["larger"]["ori_shape"], 3), np.uint8)
    inputs = images(1)
    for i, model in enumerate(build_pair(model_config(head()))):
        (sample,) = predict(model, inputs, with_meta(dict(CASES["larger"], img_path="a.jpg")))
        visualizer = SegLocalVisualizer(dataset_name="cityscapes", name=f"drawing{i}")
        visualizer.add_datasample("a", image, sample, draw_gt=False, with_labels=False)
        drawings.append(visualizer.get_image())
        metric = IoUMetric(format_only=True, output_dir=str(tmp_path / str(i)))
        metric.dataset_meta = Scenes.METAINFO
        metric.process({}, [sample.to_dict()])
        files.append((tmp_path / str(i) / "a.png").read_bytes())
    assert np.array_equal(*drawings)
    assert files[0] == files[1]


def test_one_channel_of_a_cascade():
    """mmseg's fails, as it looks for the threshold in the list of stages."""
    binary = one_channel(0.52)
    binary = {
        key: binary[key] for key in ("num_classes", "out_channels", "threshold", "loss_decode")
    }
    _, ours = build_pair(model_config([{**part, **binary} for part in OCR]))
    inputs, meta = images(1), CASES["same_size"]
    (sample,) = predict(ours, inputs, with_meta(meta))
    labels = sample.pred_sem_seg.data
    assert torch.equal(labels, (ours.encode_decode(inputs, [meta])[0].sigmoid() > 0.52).long())
    assert 0 < labels.double().mean() < 1


def test_drop_in_for_the_type():
    for theirs, ours in FUSED.items():
        decode_head = OCR if "Cascade" in theirs else head()
        pair = build_pair(model_config(decode_head))
        assert [type(model).__name__ for model in pair] == [theirs, ours]
        assert isinstance(pair[1], type(pair[0]))
        assert isinstance(pair[1], BaseModel)
        clone = pickle.loads(pickle.dumps(pair[1]))
        assert torch.equal(
            *(predict(m, images(1) * 0, None)[0].seg_logits.data for m in (clone, pair[1]))
        )
        assert isinstance(pair[1].test_cfg, ConfigDict)

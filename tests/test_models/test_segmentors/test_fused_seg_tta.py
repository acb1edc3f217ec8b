"""FusedSegTTAModel against mmseg's SegTTAModel."""

import weakref

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_papers.models.segmentors import FusedSegTTAModel

from .tiny_models import NUM_CLASSES, OCR, build_pair, head, model_config, one_channel

ORIGINAL = (40, 52)


def augmented(count=1, scales=((40, 52), (33, 46), (64, 80))):
    """A batch of TestTimeAug as the loader collates it: every scale, plain and flipped."""
    data = dict(inputs=[], data_samples=[])
    for size in scales:
        for flip in (False, True):
            samples = []
            for i in range(count):
                meta = dict(img_shape=size, ori_shape=ORIGINAL, flip=flip, img_path=f"{i}.png")
                if flip:
                    meta["flip_direction"] = "horizontal"
                sample = SegDataSample(metainfo=meta)
                sample.gt_sem_seg = PixelData(data=torch.full((1, *ORIGINAL), i))
                samples.append(sample)
            data["inputs"].append(
                [torch.randint(256, (3, *size), dtype=torch.uint8) for _ in range(count)]
            )
            data["data_samples"].append(tuple(samples))  # as pseudo_collate
    return data


def run(tta, model, data):
    with torch.no_grad():
        return MODELS.build(dict(type=tta, module=model.eval())).test_step(data)


@pytest.mark.parametrize(
    ("decode_head", "test_cfg"),
    [
        (head(), None),
        (OCR, None),
        (head("EncHead", num_codes=4, in_channels=[8, 12], in_index=[0, 1]), None),
        (head(), dict(mode="slide", crop_size=(24, 24), stride=(16, 16))),
    ],
    ids=["fcn", "ocr", "own_predict", "slide"],
)
@pytest.mark.parametrize("count", [1, 2])
def test_equals_mmseg(decode_head, test_cfg, count):
    theirs, ours = build_pair(model_config(decode_head, test_cfg=test_cfg))
    data = augmented(count)
    expected = run("SegTTAModel", theirs, data)
    for tta, model in (
        ("FusedSegTTAModel", ours),
        ("FusedSegTTAModel", theirs),
        ("SegTTAModel", ours),
    ):
        results = run(tta, model, data)
        assert len(results) == count
        for got, want in zip(results, expected, strict=True):
            assert set(got.keys()) == set(want.keys())
            assert got.metainfo == want.metainfo
            assert got.pred_sem_seg.data.dtype == want.pred_sem_seg.data.dtype
            assert torch.equal(got.pred_sem_seg.data, want.pred_sem_seg.data)
            assert torch.equal(got.gt_sem_seg.data, want.gt_sem_seg.data)


@pytest.mark.parametrize("out_channels", [NUM_CLASSES, 1])
def test_confidence_is_that_of_the_merged_probabilities(out_channels):
    decode_head = one_channel(0.6) if out_channels == 1 else head()
    theirs, ours = build_pair(model_config(decode_head), dict(keep="confidence"))
    data = augmented()
    steps = [{key: value[i] for key, value in data.items()} for i in range(6)]
    with torch.no_grad():
        logits = [theirs.eval().test_step(step)[0].seg_logits.data for step in steps]
    if out_channels == 1:
        probability = torch.stack(logits).mean(0)
        expected = torch.where(probability > 0.6, probability, 1 - probability)
    else:
        expected = torch.stack(logits).softmax(1).mean(0).amax(0, keepdim=True)
    (got,) = run("FusedSegTTAModel", ours, data)
    torch.testing.assert_close(got.seg_confidence.data, expected)


def test_one_channel_takes_the_mean_of_the_sigmoids():
    """mmseg takes the sigmoid of the sigmoid, which is above 0.5 everywhere."""
    _, ours = build_pair(model_config(one_channel(0.6)))
    data = augmented(2)
    steps = [{key: value[i] for key, value in data.items()} for i in range(6)]
    with torch.no_grad():
        samples = [ours.eval().test_step(step) for step in steps]
        threshold = samples[0][0].seg_logits.data.median().item()
        ours.decode_head.threshold = threshold  # so that both labels are there
        twice = {key: [value[0], value[0]] for key, value in data.items()}
        single = ours.test_step(steps[0])
    for i, got in enumerate(run("FusedSegTTAModel", ours, data)):
        probability = torch.stack([step[i].seg_logits.data for step in samples]).mean(0)
        labels = (probability > threshold).to(probability)
        assert labels.unique().tolist() == [0, 1]
        assert torch.equal(got.pred_sem_seg.data, labels)
    for got, want in zip(run("FusedSegTTAModel", ours, twice), single, strict=True):
        assert torch.equal(got.pred_sem_seg.data, want.pred_sem_seg.data)
        assert torch.equal(got.seg_logits.data, want.seg_logits.data)


def test_batch_without_keys():
    _, ours = build_pair(model_config(head()))
    ours.data_preprocessor = torch.nn.Identity()
    ours.test_step = lambda data: ours.predict(torch.stack(data[0]).float(), data[1])
    data = augmented(2)
    as_tuple = tuple(data.values())
    with torch.no_grad():
        expected = SegTTAModel(ours.eval()).test_step(as_tuple)
        expected = [sample.pred_sem_seg.data for sample in expected]
        got = FusedSegTTAModel(ours).test_step(as_tuple)
    assert all(torch.equal(a.pred_sem_seg.data, b) for a, b in zip(got, expected, strict=True))
    with pytest.raises(TypeError, match="must be a dict, tuple or list"):
        FusedSegTTAModel(ours).test_step("images")


def test_a_merge_of_a_subclass_is_used():
    class First(FusedSegTTAModel):
        def merge_preds(self, data_samples_list):
            return [augmentations[0] for augmentations in data_samples_list]

    _, ours = build_pair(model_config(head()))
    data = augmented(2)
    with torch.no_grad():
        alone = ours.eval().test_step({key: values[0] for key, values in data.items()})
        expected = [sample.pred_sem_seg.data.clone() for sample in alone]
        got = First(ours).test_step(data)
    assert all(torch.equal(a.pred_sem_seg.data, b) for a, b in zip(got, expected, strict=True))


def test_one_augmentation_at_a_time():
    _, ours = build_pair(model_config(head()))
    alive, at_start = [], []
    step = ours.test_step

    def watched(data):
        at_start.append(sum(reference() is not None for reference in alive))
        samples = step(data)
        alive.extend(weakref.ref(sample.seg_logits) for sample in samples)
        return samples

    ours.test_step = watched
    run("FusedSegTTAModel", ours, augmented(2))
    assert at_start == [0] * 6
    assert len(alive) == 12
    at_start.clear()
    alive.clear()
    run("SegTTAModel", ours, augmented(2))
    assert at_start == [0, 2, 4, 6, 8, 10]  # what the test would see of mmseg's


def test_labels_vary():
    """What the equalities above rest on."""
    _, ours = build_pair(model_config(head()))
    labels = run("FusedSegTTAModel", ours, augmented())[0].pred_sem_seg.data
    assert 3 < len(labels.unique()) <= NUM_CLASSES

"""The same pictures at every validation, the validation loss, and images of many channels."""

import json
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_papers.engine import ValidationLossHook, ValidationPicturesHook, validation_hooks
from mmseg_papers.models.layers.height_attention import row_positions
from mmseg_papers.pictures import picture_of

from ..test_models.test_segmentors.tiny_models import head, labelled, model_config


def config(root, channels, suffix, hooks):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for i in range(3):
            label = rng.integers(0, 2, (4, 6), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            image = rng.integers(0, 60, (32, 48, channels)) + 100 * label[..., None]
            for folder, array in (("images", image.astype(np.uint8)), ("annotations", label)):
                target = root / folder / split / f"{i}{suffix if folder == 'images' else '.npy'}"
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.suffix == ".npy":
                    np.save(target, array)
                else:
                    tifffile.imwrite(target, array, photometric="minisblack", planarconfig="contig")
    load = [
        dict(type="LoadImageFromFile", color_type="unchanged"),
        dict(type="LoadAnnotations", num_classes=2),
    ]
    loader = {
        split: dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(
                type="FolderDataset",
                data_root=str(root),
                classes=("low", "high"),
                data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}"),
                pipeline=[*load, *extra, dict(type="PackSegInputs")],
            ),
        )
        for split, extra in (("train", [dict(type="RandomFlip", prob=0.5)]), ("val", []))
    }
    model = dict(
        type="FusedEncoderDecoder",
        data_preprocessor=dict(
            type="MultiBandPreProcessor",
            mean=[80.0] * channels,
            std=[60.0] * channels,
            size=(32, 48),
        ),
        backbone=dict(
            type="HighResolutionNet",
            arch="w18_small_v1",
            in_channels=channels,
            norm_cfg=dict(type="BN"),
        ),
        decode_head=dict(
            type="HRNetV2Head",
            in_channels=(16, 32, 64, 128),
            num_classes=2,
            norm_cfg=dict(type="BN"),
            loss_decode=dict(type="WeightedCrossEntropyLoss"),
        ),
        test_cfg=dict(mode="whole"),
    )
    evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
    return Config(
        dict(
            model=model,
            train_dataloader=loader["train"],
            val_dataloader=loader["val"],
            val_evaluator=evaluator,
            train_cfg=dict(type="IterBasedTrainLoop", max_iters=4, val_interval=2),
            val_cfg=dict(type="ValLoop"),
            optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.001)),
            default_hooks=dict(logger=dict(type="LoggerHook", interval=1), checkpoint=None),
            custom_hooks=hooks,
            default_scope="mmseg",
            log_processor=dict(by_epoch=False),
            visualizer=dict(
                type="SegLocalVisualizer",
                vis_backends=[dict(type="LocalVisBackend")],
                name=str(root),
            ),
            work_dir=str(root / "work"),
            experiment_name=str(root),
            randomness=dict(seed=0),
        )
    )


@pytest.mark.parametrize(
    ("channels", "suffix"), [(1, ".npy"), (4, ".npy"), (12, ".npy"), (12, ".tif")]
)
def test_many_channels_train_evaluate_and_draw(tmp_path, channels, suffix):
    bands = (0, 0, 0) if channels == 1 else (3, 1, 0)
    hooks = [
        dict(type="ValidationPicturesHook", num_images=2, bands=bands),
        dict(type="ValidationLossHook"),
    ]
    runner = Runner.from_cfg(config(tmp_path, channels, suffix, hooks))
    runner.train()
    (log,) = (tmp_path / "work").glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    validations = [r for r in records if "mIoU" in r]
    assert len(validations) == 2
    assert all(np.isfinite(r["loss"]) and r["loss"] > 0 for r in validations)
    assert validations[0]["loss"] != validations[1]["loss"]
    pictures = sorted(f.name for f in (tmp_path / "work").glob("*/vis_data/vis_image/*.png"))
    assert pictures == [f"val_{i}_{step}.png" for i in (0, 2) for step in (2, 4)]
    runner.model.eval()
    with torch.no_grad():
        loss = sum(
            runner.model.parse_losses(
                runner.model(**runner.model.data_preprocessor(batch), mode="loss")
            )[0].item()
            * len(batch["inputs"])
            / 3
            for batch in runner.val_dataloader
        )
    assert validations[1]["loss"] == pytest.approx(loss, rel=1e-5)


def test_pictures_of_one_name_do_not_replace_each_other():
    paths = ["a/images/0.png", "b/images/0.png", "b/images/1.png"]
    dataset = MagicMock()
    dataset.__len__.return_value = 3
    dataset.get_data_info = lambda i: dict(img_path=paths[i])
    runner = SimpleNamespace(
        val_dataloader=SimpleNamespace(dataset=dataset), visualizer=MagicMock(), iter=0
    )
    hook = ValidationPicturesHook()
    hook.before_val_epoch(runner)
    samples = [SegDataSample(metainfo=dict(img_path=path, ori_shape=(4, 6))) for path in paths]
    hook.after_val_iter(runner, 0, dict(inputs=[torch.zeros(3, 4, 6)] * 3), samples)
    hook.after_val_epoch(runner)
    names = [call.args[0] for call in runner.visualizer.add_datasample.call_args_list]
    assert names == ["val_a_images_0", "val_b_images_0", "val_1"]


def test_pictures_of_all_processes_are_drawn(monkeypatch):
    """The visualizer draws in the first process alone; images repeated there are drawn once."""
    parts = []
    for images in ((0, 2, 0), (1, 3)):
        dataset = MagicMock()
        dataset.__len__.return_value = 4
        dataset.get_data_info = lambda i: dict(img_path=f"{i}.png")
        runner = SimpleNamespace(
            val_dataloader=SimpleNamespace(dataset=dataset), visualizer=MagicMock(), iter=5
        )
        hook = ValidationPicturesHook()
        hook.before_val_epoch(runner)
        for i in images:
            maps = dict(pred_sem_seg=PixelData(data=torch.full((1, 4, 6), i)))
            maps["seg_logits"] = PixelData(data=torch.zeros(9, 4, 6))
            sample = SegDataSample(metainfo=dict(img_path=f"{i}.png", ori_shape=(4, 6)), **maps)
            image = torch.full((3, 4, 6), i, dtype=torch.uint8)
            hook.after_val_iter(runner, 0, dict(inputs=[image]), [sample])
        monkeypatch.setattr(
            validation_hooks, "all_gather_object", lambda part: parts.append(part) or parts
        )
        hook.after_val_epoch(runner)
    calls = runner.visualizer.add_datasample.call_args_list
    assert sorted(call.args[0] for call in calls) == ["val_0", "val_1", "val_2", "val_3"]
    for name, picture in (call.args for call in calls):
        assert (picture == int(name[-1])).all()
    for call in calls:
        sample = call.kwargs["data_sample"]
        assert (sample.pred_sem_seg.data == int(call.args[0][-1])).all()
        assert not hasattr(sample, "seg_logits")


def runner_of(model, images, name="loss"):
    dataloader = SimpleNamespace(dataset=range(images))
    return SimpleNamespace(model=model, message_hub=MessageHub(name), val_dataloader=dataloader)


class MeanModel(BaseModel):
    """Its loss is the mean of the images."""

    def forward(self, inputs, data_samples, mode):
        return dict(loss=inputs.mean())


def test_the_loss_is_the_mean_over_images_of_any_size_and_all_processes(monkeypatch):
    model = MeanModel(dict(type="mmseg.SegDataPreProcessor"))
    runner = runner_of(model, 4)
    images = [torch.full((3, 4, width), value) for width, value in ((6, 1.0), (8, 4.0), (6, 2.0))]
    hook = ValidationLossHook()
    hook.before_val_epoch(runner)
    for batch in (images, [torch.full((3, 4, 6), 9.0)]):
        data = dict(inputs=batch, data_samples=[SegDataSample() for _ in batch])
        hook.after_val_iter(runner, 0, data, ())
    hook.after_val_epoch(runner)
    assert runner.message_hub.get_scalar("val/loss").current() == (1 + 4 + 2 + 9) / 4
    of_another = torch.tensor([34.0, 6.0])
    monkeypatch.setattr(validation_hooks, "all_reduce", lambda total: total.add_(of_another))
    hook.after_val_epoch(runner)
    assert runner.message_hub.get_scalar("val/loss").current() == (16 + 34) / (4 + 6)


@pytest.mark.parametrize(("rank", "expected"), [(0, (0 + 3 + 6) / 3), (1, (1 + 4) / 2), (2, 3.5)])
def test_what_the_sampler_repeats_does_not_count(rank, expected, monkeypatch):
    """Seven images in three processes, in batches of two."""
    monkeypatch.setattr(validation_hooks, "get_rank", lambda: rank)
    monkeypatch.setattr(validation_hooks, "get_world_size", lambda: 3)
    runner = runner_of(MeanModel(dict(type="mmseg.SegDataPreProcessor")), 7)
    hook = ValidationLossHook()
    hook.before_val_epoch(runner)
    images = [torch.full((3, 4, 6), float(i % 7)) for i in range(9)][rank::3]
    for batch in (images[:2], images[2:]):
        data = dict(inputs=batch, data_samples=[SegDataSample() for _ in batch])
        hook.after_val_iter(runner, 0, data, ())
    hook.after_val_epoch(runner)
    assert runner.message_hub.get_scalar("val/loss").current() == expected


def validation_loss(model, batch):
    runner = runner_of(model.eval(), len(batch["inputs"]))
    hook = ValidationLossHook()
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, batch, ())
    hook.after_val_epoch(runner)
    return runner.message_hub.get_scalar("val/loss").current()


@pytest.mark.parametrize("ignore_index", [255, 7])
def test_the_loss_compares_pixels_with_their_labels(ignore_index):
    torch.manual_seed(0)
    config = model_config(head(ignore_index=ignore_index))
    config.data_preprocessor.test_cfg = dict(size=(64, 64))
    model = MODELS.build(config).eval()
    images, samples = [torch.randn(3, 33, 46) for _ in range(2)], labelled(ignored=0)
    padded = model.data_preprocessor(dict(inputs=images, data_samples=samples))["inputs"]
    wanted = labelled(ignored=0)
    for sample, of_the_image in zip(wanted, samples, strict=True):
        label = torch.full((1, 64, 64), ignore_index)
        label[:, :33, :46] = of_the_image.gt_sem_seg.data
        sample.gt_sem_seg = PixelData(data=label)
    expected = model.parse_losses(model(padded, wanted, mode="loss"))[0].item()
    # As if the pipeline had resized both images, of different sizes.
    label = samples[0].gt_sem_seg.data.repeat_interleave(2, 1).repeat_interleave(3, 2)
    samples[0].gt_sem_seg = PixelData(data=label)
    batch = dict(inputs=images, data_samples=samples)
    assert validation_loss(model, batch) == pytest.approx(expected, rel=1e-5)
    assert samples[0].gt_sem_seg.shape == (66, 138)
    assert "row_position" not in samples[0]


def test_images_without_row_positions_are_whole():
    torch.manual_seed(0)
    config = model_config(head(), type="HeightAttentionEncoderDecoder")
    place = dict(source="backbone.stem", target="backbone.stage", low_channels=8, high_channels=12)
    config.height_attention = dict(places=[place], reduction=4)
    config.data_preprocessor.test_cfg = dict(size_divisor=32)
    model = MODELS.build(config)
    batch = dict(inputs=[torch.randn(3, 40, 46)] * 2, data_samples=labelled(size=(40, 46)))
    loss = validation_loss(model, batch)
    for sample in batch["data_samples"]:
        rows = np.full(64, 128, np.uint8)
        rows[:40] = row_positions(40)
        sample.set_metainfo(dict(row_position=rows))
    assert validation_loss(model, batch) == pytest.approx(loss, rel=1e-6)
    for sample in batch["data_samples"]:
        sample.set_metainfo(dict(row_position=rows // 2))
    assert validation_loss(model, batch) != pytest.approx(loss, rel=1e-6)


CP = dict(prior_channels=4, prior_size=(4, 6), am_kernel_size=3, dropout_ratio=0)
PLACE = dict(source="backbone.stem", target="backbone.stage", low_channels=8, high_channels=12)


def loss_of(model, image, label, **meta):
    """The loss of a single image and label, (H, W)."""
    sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=label[None]))
    return model.parse_losses(model(image[None], [sample], mode="loss"))[0].item()


@pytest.mark.parametrize(
    ("decode_head", "options"),
    [
        (head("CPHead", **CP), dict(type="FusedEncoderDecoder")),
        (head(), dict(type="FlipSlideEncoderDecoder")),
        (
            head(),
            dict(
                type="HeightAttentionEncoderDecoder",
                height_attention=dict(places=[PLACE], reduction=4),
            ),
        ),
    ],
    ids=["cpnet", "spnet", "hanet"],
)
def test_the_loss_of_a_sliding_window_is_the_mean_over_the_windows(decode_head, options):
    torch.manual_seed(0)
    test_cfg = dict(mode="slide", crop_size=(32, 48), stride=(24, 32))
    model = MODELS.build(model_config(decode_head, test_cfg=test_cfg) | options)
    images = [torch.randn(3, *size) for size in ((40, 60), (20, 30))]
    samples = [labelled(1, tuple(image.shape[1:]))[0] for image in images]
    got = validation_loss(model, dict(inputs=images, data_samples=samples))
    large, small = (
        model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
        for image, sample in zip(images, samples, strict=True)
    )
    image, label = large["inputs"][0], large["data_samples"][0].gt_sem_seg.data[0]
    rows = row_positions(40)
    of_windows = [
        loss_of(
            model,
            image[:, y : y + 32, x : x + 48],
            label[y : y + 32, x : x + 48],
            row_position=rows[y : y + 32],
        )
        for y in (0, 8)
        for x in (0, 12)
    ]
    padded, label = torch.zeros(3, 32, 48), torch.full((32, 48), 255)
    padded[:, :20, :30] = small["inputs"][0]
    label[:20, :30] = small["data_samples"][0].gt_sem_seg.data[0]
    of_small = loss_of(model, padded, label, row_position=row_positions(20))
    assert got == pytest.approx((np.mean(of_windows) + of_small) / 2, rel=1e-5)


def test_odd_sides_are_padded_where_the_model_halves_them():
    torch.manual_seed(0)
    sisr = dict(type="SISRHead", in_channels=(8, 12), in_index=(0, 1))
    model = MODELS.build(model_config(head(), sisr_head=sisr) | dict(type="DSRLEncoderDecoder"))
    batch = dict(inputs=[torch.randn(3, 33, 47)], data_samples=labelled(1, (33, 47)))
    got = validation_loss(model, batch)
    data = model.data_preprocessor(batch)
    padded, label = torch.zeros(3, 34, 48), torch.full((34, 48), 255)
    padded[:, :33, :47] = data["inputs"][0]
    label[:33, :47] = data["data_samples"][0].gt_sem_seg.data[0]
    expected = loss_of(model, padded, label, padding_size=[0, 1, 0, 1])
    assert got == pytest.approx(expected, rel=1e-5)


def test_picture():
    image = torch.stack([torch.full((4, 6), float(i)) for i in range(5)])
    picture = picture_of(image, (4, 2, 0), (8, 12))
    assert picture.shape == (8, 12, 3)
    assert picture[0, 0].tolist() == [255, 128, 0]
    assert picture_of(image.to(torch.uint16), (4, 2, 0), (8, 12)).tolist() == picture.tolist()
    raw = picture_of(image.to(torch.uint8), (4, 2, 0), (4, 6))
    assert raw[0, 0].tolist() == [4, 2, 0]
    assert picture_of(image[:1].to(torch.uint8), (2, 1, 0), (4, 6)).shape == (4, 6, 3)
    with pytest.raises(ValueError, match=r"channels of the images, 0 to 4, got \(5, 1, 0\)"):
        picture_of(image, (5, 1, 0), (4, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [(dict(num_images=0), "at least 1, got 0"), (dict(bands=(0, 1)), "three channels")],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ValidationPicturesHook(**options)

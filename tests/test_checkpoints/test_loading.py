"""The authors' files go through the runner from ``load_from`` alone, whole, or are refused."""

import hashlib
import re
from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from safetensors.torch import save_file
from scipy.io import savemat
from torch.utils.data import DataLoader

from mmseg_papers.apis import papers
from mmseg_papers.apis.configs import resolved_config
from mmseg_papers.checkpoints import CONVERTERS, LICENSES, convert_state_dict
from mmseg_papers.checkpoints.loading import load_from_authors
from mmseg_papers.models.layers.complete_loading import check_whole

from ..data.reference import fill
from ..reference import FOLDER, Case
from ..test_training import DEMO, MIM, run, scenes, short_run  # noqa: F401 (a fixture)
from .tensorflow_writer import write_tensorflow_checkpoint


def with_prefix(prefix, weights):
    return {f"{prefix}{key}": value for key, value in weights.items()}


#: Paper, case -> the authors' file around the case's weights.
FILES = {
    ("hrnet", "seg_hrnet_w18_small_v1"): lambda w: {
        **with_prefix("model.", w),
        "loss.criterion.weight": torch.ones(19),
    },
    ("hrnet", "seg_hrnet_ocr_w18_m121_b2"): partial(with_prefix, "model."),
    ("cpnet", "cpnet_r50_96x160"): lambda w: dict(meta=dict(epoch=1), state_dict=w, optimizer={}),
    ("deeplab", "jfz_deeplab_resnet101_os16"): lambda w: dict(
        epoch=3, state_dict=w, optimizer={}, best_pred=np.float64(0.7)
    ),
    ("deeplab", "vainf_deeplabv3plus_resnet50_os16"): lambda w: dict(
        cur_itrs=30000, model_state=w, best_score=np.float64(0.7)
    ),
    ("denseaspp", "denseaspp121"): partial(with_prefix, "module."),
    ("dsrl", "espnetv2_dsrl_s0.5"): dict,
    ("hanet", "deeplab_r50_os16"): lambda w: dict(
        state_dict=with_prefix("module.", w), optimizer={}, mean_iu=np.float64(0.8), command="x"
    ),
    ("refinenet", "lw_refinenet50_96x160"): lambda w: dict(segmenter=with_prefix("module.", w)),
    ("spnet", "spnet50_150c_96x160"): lambda w: dict(
        epoch=120, state_dict=with_prefix("module.", w), optimizer={}
    ),
}


def of_authors(case):
    """The case's weights under the authors' names, as arrays."""
    filled = fill.fill_state_dict(case.spec["keys"])
    if hasattr(case._paper_module, "prepare"):
        filled = case._paper_module.prepare(case, filled)
    return filled


def as_tensors(weights):
    return {key: torch.as_tensor(value) for key, value in weights.items()}


def assert_tested_from_file(case, address, weights, path):
    """A runner that tests the case's model on noise has the weights of the file."""
    model, _ = case._paper_module.build(case)
    size = tuple(case.spec["input"]["shape"][2:])
    model.data_preprocessor = MODELS.build(dict(type="SegDataPreProcessor", size=size))
    model.test_cfg = ConfigDict(mode="whole")
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=[str(i) for i in range(model.num_classes)])
    runner = Runner(
        model=model,
        work_dir=str(path / "work"),
        test_dataloader=DataLoader(
            [dict(inputs=image, data_samples=sample)], collate_fn=pseudo_collate
        ),
        test_evaluator=[metric],
        test_cfg=dict(),
        load_from=address,
        experiment_name=path.name,
    )
    assert "mIoU" in runner.test()
    expected = convert_state_dict(case.paper, weights)
    for key, value in model.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, expected[key].to(value)), key


@pytest.mark.parametrize(("paper", "name"), FILES)
def test_load_from_alone(paper, name, tmp_path):
    case = Case.load(paper, name)
    weights = of_authors(case)
    torch.save(FILES[paper, name](as_tensors(weights)), tmp_path / "authors.pth")
    assert_tested_from_file(case, f"papers://{paper}/{tmp_path}/authors.pth", weights, tmp_path)


def test_load_from_tensorflow_alone(tmp_path):
    """As the authors' training leaves it, with momentum and step."""
    case = Case.load("deeplab", "deeplabv3plus_resnet50_os16")
    weights = of_authors(case)
    extras = {f"{key}/Momentum": value for key, value in weights.items() if value.ndim == 1}
    write_tensorflow_checkpoint(
        tmp_path / "model.ckpt", {**weights, **extras, "global_step": np.int64(30000)}
    )
    assert_tested_from_file(case, f"papers://deeplab/{tmp_path}/model.ckpt", weights, tmp_path)


@pytest.mark.parametrize(
    ("paper", "name", "config"),
    [
        ("deeplab", "deeplabv3plus_xception65_os16", "deeplabv3plus_x65_4xb4-30k_voc12aug-513x513"),
        ("denseaspp", "denseaspp121", "denseaspp_densenet121-d8_4xb2-30k_cityscapes-512x512"),
        (
            "denseaspp",
            "mobilenet_denseaspp",
            "denseaspp_mobilenet-v2-d8_4xb2-30k_cityscapes-512x512",
        ),
        (
            "dsrl",
            "espnetv2_dsrl_s2.0",
            "dsrl_espnetv2-s2-in512x1024_4xb4-120k_cityscapes-1024x2048",
        ),
        (
            "dsrl",
            "dsrl_deeplabv3plus_r101_subpixel_odd",
            "dsrl-dootmaan-subpixel_deeplabv3plus-r101-in512x512_4xb4-120k_cityscapes-1024x1024",
        ),
        ("hanet", "deeplab_r50_os16", "hanet_r50-os16_2xb4-40k_cityscapes-768x768"),
        ("hanet", "deeplab_mnv2_os16", "hanet_mobilenetv2-os16_1xb8-40k_cityscapes-768x768"),
        ("hrnet", "seg_hrnet_w48", "hrnetv2_w48_4xb3-120k_cityscapes-512x1024"),
        ("hrnet", "seg_hrnet_w18_small_v2", "hrnetv2_w18-small-v2_4xb3-120k_cityscapes-512x1024"),
        ("refinenet", "refinenet101_97x131", "refinenet_r101_4xb2-60k_voc12aug-480x480"),
        ("refinenet", "lw_refinenet50_96x160", "lw-refinenet_r50_1xb6-40k_nyudv2-500x500"),
        ("spnet", "spnet50_150c_96x160", "spnet_r50-d8_4xb4-152k_ade20k-480x480"),
        ("spnet", "spnet50_19c_201x249", "spnet_r50-d8_4xb2-67k_cityscapes-768x768"),
    ],
)
def test_packaged_configs_take_the_authors_files(paper, name, config, monkeypatch):
    """CPNet's case has another prior than any config: its prior fits one size."""
    monkeypatch.setattr(
        fill, "fill_state_dict", lambda keys: {k: np.zeros(s, np.float32) for k, s in keys.items()}
    )
    with torch.device("meta"):
        net = MODELS.build(resolved_config(config).model)
    check_whole(net, Case.load(paper, name).weights(), name)


CASE = Case.load("hrnet", "seg_hrnet_w18_small_v1")


@pytest.fixture(scope="module")
def weights():
    return as_tensors(of_authors(CASE))


def model():
    return CASE._paper_module.build(CASE)[0]


def config_of(case, path):
    """A config file around the case's model, which its builder keeps to itself."""
    with mock.patch.object(MODELS, "build", wraps=MODELS.build) as build:
        case._paper_module.build(case)
    (model,) = (call.args[0] for call in build.mock_calls if "decode_head" in call.args[0])
    config = Config.fromfile(DEMO)
    config.model = dict(model, data_preprocessor=config.model.data_preprocessor)
    if case.paper == "cpnet":  # its prior fits one size
        size = tuple(case.spec["input"]["shape"][2:])
        config.model.test_cfg = dict(mode="slide", crop_size=size, stride=size)
        config.model.data_preprocessor.test_cfg = dict(size=size)
    config.dump(path)
    return path


@pytest.mark.parametrize(("paper", "name"), FILES)
def test_by_the_command(paper, name, scenes, tmp_path):  # noqa: F811
    case = Case.load(paper, name)
    file = tmp_path / "file_of_the_authors.pth"
    torch.save(FILES[paper, name](as_tensors(of_authors(case))), file)
    digits = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    log = run(
        *(MIM, "test", "mmseg", config_of(case, tmp_path / "config.py"), "--gpus", "0"),
        *("--checkpoint", f"papers://{paper}/{file}#sha256={digits}"),
        *("--work-dir", tmp_path / "work", *short_run(scenes, iters=1)),
        cwd=tmp_path,
    )
    numbers = sum(value.numel() for value in case.weights().values())
    assert re.search(rf"all .* {numbers:,} ", log)
    assert "mIoU" in log
    assert "do not match" not in log


def test_through_test_time_augmentation(weights, tmp_path):
    torch.save(weights, tmp_path / "authors.pth")
    net = model()
    tta = MODELS.build(dict(type="FusedSegTTAModel", module=net))
    load_checkpoint(tta, f"papers://hrnet/{tmp_path}/authors.pth")
    assert torch.equal(net.backbone.conv1.weight, weights["conv1.weight"])
    torch.save({"conv1.weight": weights["conv1.weight"]}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"hrnet/\S+part\.pth does not fit .* missing"):
        load_checkpoint(tta, f"papers://hrnet/{tmp_path}/part.pth")


def test_backbone(tmp_path, weights):
    torch.save(weights, tmp_path / "authors.pth")
    backbone = dict(
        type="HighResolutionNet",
        arch="w18_small_v1",
        init_cfg=dict(
            type="Pretrained",
            checkpoint=f"papers://hrnet/{tmp_path}/authors.pth",
            prefix="backbone.",
        ),
    )
    built = MODELS.build(backbone)
    built.init_weights()
    assert torch.equal(built.conv1.weight, weights["conv1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("last_layer.3.weight"), r"1 missing: decode_head\.conv_seg\.weight"),
        (
            lambda w: w.update({"last_layer.3.bias": torch.zeros(5)}),
            r"1 of another shape: .*\[5\] instead of \[19\]\. .* by .*FineTuneHook",
        ),
        (
            lambda w: w.update({"stage4.2.branches.0.0.conv1.weight": torch.zeros(1)}),
            r"1 left over: backbone\.stage4\.2",
        ),
        (lambda w: w.update({"stage5.x": torch.zeros(1)}), "1 keys .* belong to no known module"),
        (lambda w: w.clear(), "holds no weights of hrnet"),
    ],
)
def test_what_does_not_fit_is_refused(weights, tmp_path, change, message):
    changed = dict(weights)
    change(changed)
    torch.save(changed, tmp_path / "authors.pth")
    net = model()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_checkpoint(net, f"papers://hrnet/{tmp_path}/authors.pth")
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_parts_of_use_in_training_only(weights, tmp_path):
    torch.save(weights, tmp_path / "authors.pth")
    net = model()
    net.auxiliary_head = MODELS.build(
        dict(type="FCNHead", in_channels=16, channels=4, num_classes=19, num_convs=1)
    )
    load_checkpoint(net, f"papers://hrnet/{tmp_path}/authors.pth")
    assert torch.equal(net.backbone.conv1.weight, weights["conv1.weight"])


def test_options(tmp_path):
    file = FOLDER / "deeplab" / "tf_tiny.ckpt"
    lengths = [
        len(
            load_from_authors(f"papers://deeplab/{file}{o}")["state_dict"][
                "decode_head.conv_seg.bias"
            ]
        )
        for o in ("", "#drop_background=false", "#drop_background=True")
    ]
    assert lengths == [21, 21, 20]


def test_matlab_needs_to_know_of_which_data(tmp_path):
    savemat(
        tmp_path / "dump.mat",
        {"clf_conv_filter": np.zeros((3, 3, 4, 22)), "clf_conv_bias": np.zeros((22, 1))},
    )
    with pytest.raises(
        ValueError, match="MATLAB file of the authors needs mat_file, one of ade20k"
    ):
        load_from_authors(f"papers://refinenet/{tmp_path}/dump.mat")
    loaded = load_from_authors(f"papers://refinenet/{tmp_path}/dump.mat#mat_file=voc")
    assert loaded["state_dict"]["conv_seg.weight"].shape == (21, 4, 3, 3)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("papers://hrnet", r"is not of the form papers://<paper>/<path or URL>"),
        ("papers://hrnet/{}#inplace_abn", r"perhaps with #name=value&name=value after it"),
        ("papers://hrnt/{}", "no paper 'hrnt'; .* Did you mean hrnet"),
        ("papers://xyz/{}", "no paper 'xyz'; there are cpnet, .* spnet$"),
        ("papers://hrnet/{}#void=last", "hrnet has no option 'void'; it has inplace_abn, sha256"),
        ("papers://hrnet/{}#inplace_abn=maybe", "inplace_abn must be of type bool .*'maybe'"),
        ("papers://refinenet/{}#void=1", "void must be of type str .*'1'"),
        ("papers://denseaspp/{}", r"authors\.pth does not fit denseaspp: .* no known module"),
    ],
)
def test_addresses_that_are_refused(tmp_path, address, message):
    torch.save({"last_layer.3.weight": torch.rand(4, 3)}, tmp_path / "authors.pth")
    with pytest.raises(ValueError, match=message):
        CheckpointLoader.load_checkpoint(address.format(tmp_path / "authors.pth"))


def test_entries_that_are_no_weights(tmp_path):
    torch.save({"epoch": 3, "last_layer.3.weight": torch.rand(4, 3)}, tmp_path / "authors.pth")
    with pytest.raises(ValueError, match=r"authors\.pth does not fit hrnet: epoch is a int"):
        load_from_authors(f"papers://hrnet/{tmp_path}/authors.pth")


def test_plain_paths_stay_mmengines(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "plain.pth")
    assert list(CheckpointLoader.load_checkpoint(str(tmp_path / "plain.pth"))) == ["a"]


def test_table_and_what_is_left_out(weights, tmp_path, monkeypatch):
    lines = []
    for module in ("loading", "keys"):
        monkeypatch.setattr(
            f"mmseg_papers.checkpoints.{module}.print_log", lambda text, *_: lines.append(text)
        )
    save_file({**weights, "loss.criterion.weight": torch.ones(19)}, tmp_path / "f.safetensors")
    load_from_authors(f"papers://hrnet/{tmp_path}/f.safetensors")
    assert "left out, of no use here: loss.criterion.weight" in lines
    numbers = sum(value.numel() for value in CASE.weights().values())
    assert re.search(rf"all +│ +434 │ +434 │ +{numbers:,} ", lines[-1])
    numbers = sum(value.numel() for value in weights.values()) + 19
    assert re.search(rf"in the file +│ +{len(weights) + 1} │ +│ +{numbers:,} ", lines[-1])
    assert lines[-1].endswith("what is made of them (ports have their own): MIT")


def test_licences_are_the_metafiles():
    assert LICENSES.keys() == CONVERTERS.keys()
    for name, license in LICENSES.items():
        assert {paper.license for paper in papers() if name in paper.name.lower()} == {license}

"""The authors' files go through the runner from ``load_from`` alone, whole, or are refused."""

import hashlib
import re
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from mmseg_papers.checkpoints.loading import load_from_authors, read_weights

from ..data.reference import fill
from ..reference import FOLDER, Case


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
        epoch=3, state_dict=w, optimizer={}, best_pred=0.7
    ),
    ("deeplab", "vainf_deeplabv3plus_resnet50_os16"): lambda w: dict(
        cur_itrs=30000, model_state=w, best_score=0.7
    ),
    ("denseaspp", "denseaspp121"): partial(with_prefix, "module."),
    ("dsrl", "espnetv2_dsrl_s0.5"): dict,
    ("hanet", "deeplab_r50_os16"): lambda w: dict(
        state_dict=with_prefix("module.", w), optimizer={}, epoch=100, mean_iu=0.8, command="x"
    ),
    ("refinenet", "lw_refinenet50_96x160"): lambda w: dict(segmenter=with_prefix("module.", w)),
    ("spnet", "spnet50_150c_96x160"): lambda w: dict(
        epoch=120, state_dict=with_prefix("module.", w), optimizer={}
    ),
}


def of_authors(case):
    """The case's weights under the authors' names, as tensors."""
    filled = fill.fill_state_dict(case.spec["keys"])
    if hasattr(case._paper_module, "prepare"):
        filled = case._paper_module.prepare(case, filled)
    return {key: torch.as_tensor(value) for key, value in filled.items()}


def runner(model, address, size, path):
    """A runner that tests the model on one image of noise."""
    model.data_preprocessor = MODELS.build(dict(type="SegDataPreProcessor", size=size))
    model.test_cfg = ConfigDict(mode="whole")
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=[str(i) for i in range(model.num_classes)])
    return Runner(
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


@pytest.mark.parametrize(("paper", "name"), FILES)
def test_load_from_alone(paper, name, tmp_path):
    case = Case.load(paper, name)
    file = tmp_path / "authors.pth"
    torch.save(FILES[paper, name](of_authors(case)), file)
    model, _ = case._paper_module.build(case)
    shape = tuple(case.spec["input"]["shape"][2:])
    runner(model, f"papers://{paper}/{file}", shape, tmp_path).test()
    expected = case.weights()
    for key, value in model.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, expected[key].to(value)), key


CASE = Case.load("hrnet", "seg_hrnet_w18_small_v1")


@pytest.fixture(scope="module")
def weights():
    return of_authors(CASE)


def model():
    return CASE._paper_module.build(CASE)[0]


def test_safetensors_and_hash(weights, tmp_path):
    file = tmp_path / "authors.safetensors"
    save_file(weights, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    loaded = load_from_authors(f"papers://hrnet/{file}#sha256={digest[:10]}")["state_dict"]
    assert loaded.keys() == CASE.weights().keys()
    with pytest.raises(OSError, match=rf"SHA-256 of .*safetensors is {digest}, not 12345678"):
        load_from_authors(f"papers://hrnet/{file}#sha256=12345678")


def test_tensorflow_checkpoint_and_archive(tmp_path):
    prefix = FOLDER / "deeplab" / "tf_tiny.ckpt"
    plain = load_from_authors(f"papers://deeplab/{prefix}")["state_dict"]
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in FOLDER.glob("deeplab/tf_tiny.ckpt*"):
            tar.add(file, f"model/{file.name}")
    for address in (f"papers://deeplab/{archive}", f"papers://deeplab/{prefix}.index"):
        loaded = load_from_authors(address)["state_dict"]
        assert all(torch.equal(loaded[key], value) for key, value in plain.items())
    dropped = load_from_authors(f"papers://deeplab/{archive}?drop_background=True")["state_dict"]
    assert len(dropped["decode_head.conv_seg.bias"]) == len(plain["decode_head.conv_seg.bias"]) - 1


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


def test_url(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "www").mkdir()
    torch.save(weights, tmp_path / "www" / "authors.pth")
    handler_class = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = partial(handler_class, directory=tmp_path / "www")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    loaded = load_from_authors(f"papers://hrnet/{url}/authors.pth")["state_dict"]
    assert loaded.keys() == CASE.weights().keys()
    with pytest.raises(OSError, match=r"could not download .*missing\.pth"):
        load_from_authors(f"papers://hrnet/{url}/missing.pth")
    server.shutdown()
    # Kept: no server is needed again.
    assert (
        load_from_authors(f"papers://hrnet/{url}/authors.pth")["state_dict"].keys() == loaded.keys()
    )
    assert [f.name for f in (tmp_path / "cache" / "hub" / "checkpoints").iterdir()] == [
        "authors.pth"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("conv1.weight"), r"1 missing: backbone\.conv1\.weight"),
        (lambda w: w.update({"last_layer.3.bias": torch.zeros(5)}), r"1 of another shape: .*\[5\]"),
        (lambda w: w.update({"stage5.x": torch.zeros(1)}), "1 keys .* belong to no known module"),
    ],
)
def test_what_does_not_fit_is_refused(weights, tmp_path, change, message):
    changed = dict(weights)
    change(changed)
    torch.save(changed, tmp_path / "authors.pth")
    net = model()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises((RuntimeError, ValueError), match=message):
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


class Foreign:
    """What a file must not build."""


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("papers://hrnet", ValueError, "not of the form"),
        ("papers://hrnt/{}/good.pth", ValueError, "no paper 'hrnt'; .*Did you mean hrnet"),
        ("papers://hrnet/{}/none.pth", FileNotFoundError, "neither .*none.pth nor .*index"),
        (
            "papers://hrnet/{}/good.pth?void=last",
            ValueError,
            "no option 'void'; it has inplace_abn",
        ),
        (
            "papers://spnet/{}/good.pth",
            ValueError,
            "good.pth is no file of spnet: .*no known module",
        ),
        ("papers://hrnet/{}/foreign.pth", ValueError, "foreign.pth holds more than tensors"),
        ("papers://hrnet/{}/cut.pth", OSError, "cut.pth is no PyTorch file or is cut short"),
        ("papers://hrnet/{}/text.pth", (OSError, ValueError), "text.pth"),
        ("papers://hrnet/{}/list.pth", ValueError, "list.pth holds a list"),
        ("papers://hrnet/{}/cut.safetensors", OSError, "cut.safetensors is no safetensors file"),
    ],
)
def test_refusals(tmp_path, address, error, message):
    good = {"conv1.weight": torch.rand(4, 3)}
    torch.save(good, tmp_path / "good.pth")
    torch.save({**good, "config": Foreign()}, tmp_path / "foreign.pth")
    whole = (tmp_path / "good.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(error, match=message):
        CheckpointLoader.load_checkpoint(address.format(tmp_path))


def test_plain_paths_stay_mmengines(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "plain.pth")
    assert list(CheckpointLoader.load_checkpoint(str(tmp_path / "plain.pth"))) == ["a"]


def test_table_and_what_is_left_out(weights, tmp_path, monkeypatch):
    lines = []
    for module in ("loading", "keys"):
        monkeypatch.setattr(
            f"mmseg_papers.checkpoints.{module}.print_log", lambda text, *_: lines.append(text)
        )
    torch.save({**weights, "loss.criterion.weight": torch.ones(19)}, tmp_path / "authors.pth")
    load_from_authors(f"papers://hrnet/{tmp_path}/authors.pth")
    assert "left out, of no use here: loss.criterion.weight" in lines
    numbers = sum(value.numel() for value in weights.values())
    assert re.search(rf"all .* {numbers:,} ", lines[-1])


def test_read_weights_needs_no_paper(tmp_path):
    torch.save({"epoch": 1, "x": torch.ones(2)}, tmp_path / "f.pth")
    assert set(read_weights(str(tmp_path / "f.pth"))) == {"epoch", "x"}

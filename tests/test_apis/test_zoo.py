"""The zoo: metafiles, look-up, models by name, downloads, and the commands on them."""

import hashlib
import resource
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmseg.apis import inference_model
from modelindex.load_model_index import load
from torch import nn

import mmseg_papers
from mmseg_papers.__main__ import main
from mmseg_papers.apis import Predictor, build_model, download, entries, entry, papers, zoo
from mmseg_papers.apis.configs import CONFIGS, MIM, packaged_configs, resolved_config
from mmseg_papers.apis.predictor import load_model
from mmseg_papers.apis.zoo import without_pretrained

SMALL = "espnetv2-s2_1xb8-20k_camvid-180x240"
OWN = "hrnetv2_w18-small-v2_1xb4-4k_own-512x512"


def metafiles():
    return {f: yaml.safe_load(f.read_text()) for f in sorted(CONFIGS.glob("*/metafile.yaml"))}


def test_each_config_has_one_entry():
    assert sorted(e.name for e in entries()) == sorted(packaged_configs())
    for e in entries():
        assert e.config == packaged_configs()[e.name]


def test_the_index_names_each_metafile_once():
    listed = yaml.safe_load((MIM / "model-index.yml").read_text())["Import"]
    assert listed == [f"configs/{f.parent.name}/metafile.yaml" for f in metafiles()]


def test_mims_reader_finds_nothing_to_complain_about():
    index = load(str(MIM / "model-index.yml"))
    assert index.check(silent=True) == []
    assert [model.name for model in index.models] == [e.name for e in entries()]


def test_entries_are_complete():
    keys = {"Name", "In Collection", "Config", "Metadata", "Results", "Published"}
    weights = {"Weights", "License"}
    for file, metafile in metafiles().items():
        for model in metafile["Models"]:
            where = f"{file}: {model['Name']}"
            assert ("Weights" in model) == (entry(model["Name"]).sha256 is not None), where
            assert set(model) - {"SHA256"} <= keys | weights, where
            assert set(model) & weights in (set(), weights), where
            assert set(model["Metadata"]) == {
                "Training Data",
                "Batch Size",
                "Architecture",
                "Parameters (M)",
                "Multiply-adds (G)",
                "Input Size",
            }, where
            for result in model.get("Results", ()):
                assert set(result) == {"Task", "Dataset", "Metrics", "Source"}, where
                assert all(0 < value < 100 for value in result["Metrics"].values()), where
            for count in model.get("Published", ()):
                needed = {"Quantity", "Value", "Source"}
                assert needed <= set(count) <= needed | {"Difference"}, where


def test_papers():
    names = [paper.name for paper in papers()]
    assert len(set(names)) == len(names) == 11
    hanet = next(paper for paper in papers() if paper.name == "HANet")
    assert hanet.license == "CC BY-NC 4.0"
    assert hanet.url == "https://arxiv.org/abs/2003.05128"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("ocrnet_*ade20k*", ["ocrnet_hrnetv2-w48_4xb4-150k_ade20k-520x520"]),
        ("OCRNET_*ade20k*", ["ocrnet_hrnetv2-w48_4xb4-150k_ade20k-520x520"]),
        ("x71-no-image-pool_4", ["deeplabv3plus_x71-no-image-pool_4xb4-90k_cityscapes-769x769"]),
        ("w48_4xb10", 3),
        ("deeplabv3+", 17),  # a paper's name
        ("no such thing", []),
    ],
)
def test_patterns(pattern, expected):
    names = [e.name for e in entries(pattern)]
    assert (len(names) if isinstance(expected, int) else names) == expected


def test_entry():
    found = entry(f"configs/dsrl/{SMALL}.py")
    assert (found.name, found.paper.name, found.training_data) == (SMALL, "DSRL", "CamVid")
    assert found.input_size == (180, 240)
    assert found.classes[0] == "sky"
    assert len(found.classes) == 11
    assert found in {found}
    steps = found.preprocessing.pop("pipeline")
    assert steps[0]["type"] == "LoadImageFromFile"
    assert found.preprocessing["channels"] == "RGB"
    assert found.preprocessing["mean"] == (123.675, 116.28, 103.53)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"Did you mean .*espnetv2-s2_1xb8-20k_camvid-180x240"):
        entry("espnetv2-s2_camvid")


def test_build_model_needs_no_runner_and_no_network(capfd):
    model = build_model(SMALL)
    assert capfd.readouterr() == ("", "")
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
    assert model.training
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    sample = inference_model(model.eval(), image)
    assert sample.pred_sem_seg.shape == (60, 80)
    assert len(model.dataset_meta["palette"]) == len(model.dataset_meta["classes"]) == 11


def test_build_model_with_a_checkpoint(tmp_path):
    model = build_model(SMALL)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "whole.pth")
    loaded = build_model(SMALL, tmp_path / "whole.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True)
    )
    state = model.state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    again = build_model(SMALL, tmp_path / "wrapped.pth").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in state.items())
    name = "decode_head.norm_acts.2.1.weight"
    part = {k: value for k, value in state.items() if k != name}
    infinite = {name: torch.full_like(state[name], torch.inf)}
    for changed, message in (
        (dict(state, more=torch.zeros(1)), "1 left over: more"),
        (part, f"1 missing: {name}"),
        ({**state, **infinite}, f"bad.pth: {name} is not finite"),
        ({**state, **wrapped}, f"{len(state)} keys .* with and without 'module.'"),
    ):
        torch.save(dict(state_dict=changed), tmp_path / "bad.pth")
        with pytest.raises(ValueError, match=message):
            build_model(SMALL, tmp_path / "bad.pth")


def test_no_other_weights_are_looked_for():
    pretrained = dict(type="Pretrained", checkpoint="none.pth")
    part = without_pretrained(
        dict(
            backbone=dict(init_cfg=[pretrained, dict(type="Normal", layer="Conv2d")]),
            neck=dict(init_cfg=[pretrained]),
            decode_head=dict(init_cfg=dict(pretrained, type="Pretrained_Part")),
        )
    )
    assert part.backbone.init_cfg == [dict(type="Normal", layer="Conv2d")]
    assert part.neck.init_cfg is None
    assert part.decode_head.init_cfg is None


def test_build_model_takes_the_classes_of_the_file(tmp_path):
    config = resolved_config(SMALL)
    weights = build_model(config).state_dict()
    palette = [[i, i, i] for i in range(11)]
    meta = dict(dataset_meta=dict(classes=tuple("abcdefghijk"), palette=palette))
    torch.save(dict(state_dict=weights, meta=meta), tmp_path / "named.pth")
    assert build_model(config, tmp_path / "named.pth").dataset_meta == meta["dataset_meta"]
    config.test_dataloader = None  # MMEngine's way to leave testing out
    assert not hasattr(build_model(config), "dataset_meta")
    assert build_model(config, tmp_path / "named.pth").dataset_meta == meta["dataset_meta"]
    assert load_model(config, tmp_path / "named.pth", "cpu").dataset_meta == meta["dataset_meta"]
    with pytest.raises(ValueError, match="has no test_dataloader"):
        Predictor(config, tmp_path / "named.pth", device="cpu")


def test_what_only_trains_is_initialised_if_the_file_lacks_it(tmp_path):
    config = resolved_config("spnet_r50-d8_1xb8-20k_camvid-360x480")
    weights = build_model(config).state_dict()
    published = {k: v for k, v in weights.items() if not k.startswith("auxiliary_head.")}
    torch.save(published, tmp_path / "published.pth")
    head = build_model(config, tmp_path / "published.pth").auxiliary_head
    assert not head.conv_seg.bias.any()
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_pretrained_weights_are_asked_for(tmp_path):
    config = resolved_config(OWN)
    config.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "none.pth"))
    before = config.pretty_text
    build_model(config)
    assert config.pretty_text == before
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        build_model(config, pretrained=True)


def test_build_model_refuses_a_config_of_ours():
    with pytest.raises(ValueError, match="has no model"):
        build_model(Config())
    with pytest.raises(ValueError, match=r"model\.type=.* Did you mean EncoderDecoder"):
        build_model(Config(dict(model=dict(type="EncoderDecodr"))))


def test_package_has_it_without_another_import(monkeypatch):
    apis = sys.modules["mmseg_papers.apis"]
    monkeypatch.delattr(mmseg_papers, "apis")
    assert mmseg_papers.apis is apis


WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """Weights of ``SMALL`` on a web server; calling it changes the metafile or what it sends."""
    folder = tmp_path / "served"
    folder.mkdir()
    name = f"weights-{hashlib.sha256(WEIGHTS).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(WEIGHTS)
    (folder / "weights-00000000.pth").write_bytes(WEIGHTS)
    missing = 0

    class Handler(SimpleHTTPRequestHandler):
        def copyfile(self, source, outputfile):
            outputfile.write(source.read()[: len(WEIGHTS) - missing])

    metafile = metafiles()[CONFIGS / "dsrl" / "metafile.yaml"]
    (model,) = (m for m in metafile["Models"] if m["Name"] == SMALL)
    (tmp_path / "model-index.yml").write_text("Import: [metafile.yaml]")
    monkeypatch.setattr(zoo, "MIM", tmp_path)
    monkeypatch.setattr(zoo, "_entries", zoo._entries.__wrapped__)

    def change(cut=0, name=name, **more):
        nonlocal missing
        missing = cut
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        model.update(Weights=url, License="CC BY-NC 4.0", **more)
        (tmp_path / "metafile.yaml").write_text(yaml.safe_dump(metafile))

    handler = partial(Handler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        change()
        yield change
        server.shutdown()


def test_download_shows_the_licence(hosted, tmp_path, capsys):
    assert main(["download", SMALL, "--dest", str(tmp_path / "new")]) == 0
    (file,) = (tmp_path / "new").iterdir()
    assert file.read_bytes() == WEIGHTS
    printed = capsys.readouterr().out
    assert f"wrote {file}; licence of these weights: CC BY-NC 4.0" in printed
    assert file.name == entry(SMALL).weights.rpartition("/")[2]


@pytest.mark.parametrize("fault", ["hash", "digest", "cut", "full", "absent"])
def test_a_failed_download_leaves_nothing(fault, hosted, tmp_path, capsys):
    if fault == "hash":
        hosted(name="weights-00000000.pth")
    if fault == "digest":  # begins as the name says
        hosted(SHA256=f"{hashlib.sha256(WEIGHTS).hexdigest()[:8]:0<64}")
    if fault == "cut":
        hosted(cut=1)
    if fault == "absent":
        hosted(name="other-00000000.pth")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if fault == "full":  # writing fails as it does on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(WEIGHTS) // 2, limits[1]))
        status = main(["download", SMALL, "--dest", str(tmp_path / "new")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 1
    assert capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_without_hosted_weights(tmp_path):
    with pytest.raises(ValueError, match=r"no weights of .* are hosted.*github\.com/Xilinx/DSRL"):
        download(SMALL, tmp_path)


def test_list(capsys):
    assert main(["list", "hanet*resnext*"]) == 0
    _header, paper, config = capsys.readouterr().out.splitlines()
    assert paper.startswith("HANet: Cars Can't Fly Up in the Sky")
    assert config.split()[0] == "hanet_resnext101-os8-coarse_6xb2-90k_cityscapes-864x864"
    assert "108.92 M" in config
    assert config.endswith("at 1024x2048")
    assert main(["list", "nothing"]) == 1
    assert "'nothing'" in capsys.readouterr().err


def test_info(capsys):
    assert main(["info", "hrnetv2_w48_4xb3-120k_cityscapes-512x1024"]) == 0
    printed = capsys.readouterr().out
    for text in (
        "arxiv.org/abs/1904.04514",
        "MIT",
        "65.86 M",
        "747.51 G at 1024x2048",
        "19: road, sidewalk",
        "RGB",
        "mIoU 81.1",
        "696.2",
        "none are hosted",
    ):
        assert text in printed
    assert main(["info", "nothing"]) == 1
    assert "list` lists these" in capsys.readouterr().err

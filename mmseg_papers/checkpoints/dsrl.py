"""DSRL: files of Xilinx/DSRL and EdgeNets (ESPNetv2) and of Dootmaan/DSRL (DeepLabV3+)."""

from __future__ import annotations

import re

from torch import Tensor

from .keys import fold_conv_bias, rename

ESPNETV2 = [
    (r"base_net\.(level5|classifier)", None),  # of ImageNet
    (r"base_net\.level\d_0\.eesp\.module_act\.", None),  # never used
    (r"base_net\.level1\.", "backbone.stem."),
    *((rf"base_net\.level{i + 2}_0\.", f"backbone.downsamplers.{i}.") for i in range(3)),
    *((rf"base_net\.level{i + 2}\.", f"backbone.levels.{i}.") for i in range(3)),
    (r"bu_dec_l4\.merge_layer\.3\.", "decode_head.conv_seg."),
    *((rf"bu_dec_l{i + 1}\.", f"decode_head.pools.{i}.") for i in range(4)),
    *((rf"merge_enc_dec_l{i + 2}\.", f"decode_head.skips.{i}.") for i in range(3)),
    *((rf"bu_br_l{i + 2}\.", f"decode_head.norm_acts.{i}.") for i in range(3)),
    *((rf"bu_dec_l{i + 5}\.", f"sssr.deconvs.{i}.") for i in range(2)),
]
DECODER = [
    (r"conv1\.", "decoder.c1_bottleneck.conv."),
    (r"bn1\.", "decoder.c1_bottleneck.bn."),
    (r"last_conv\.0\.", "decoder.convs.0.conv."),
    (r"last_conv\.1\.", "decoder.convs.0.bn."),
    (r"last_conv\.4\.", "decoder.convs.1.conv."),
    (r"last_conv\.5\.", "decoder.convs.1.bn."),
]
SSSR_DECODER = [*DECODER, (r"last_conv\.8\.", "conv_seg.")]
SISR_DECODER = [*DECODER, (r"last_conv\.8\.", "project.")]
ASPP = [
    *(
        (rf"aspp{i + 1}\.{theirs}\.", f"aspp_modules.{i}.{ours}.")
        for i in range(4)
        for theirs, ours in (("atrous_conv", "conv"), ("bn", "bn"))
    ),
    (r"global_avg_pool\.1\.", "image_pool.1.conv."),
    (r"global_avg_pool\.2\.", "image_pool.1.bn."),
    (r"conv1\.", "bottleneck.conv."),
    (r"bn1\.", "bottleneck.bn."),
]
TRANSFORM = [(r"0\.", "conv."), (r"1\.", "bn.")]
SUBPIXEL = [(r"([02])\.", r"body.\1."), (r"4\.", "tail.0.")]
DECONV = [
    *((rf"up_sr_{i + 1}\.", f"body.{2 * i}.") for i in range(3)),
    *((rf"up_edsr_{i + 1}\.conv\.", f"body.{2 * i + 1}.convs.") for i in range(3)),
    *(
        (rf"up_edsr_{i + 1}\.residual_upsampler\.0\.", f"body.{2 * i + 1}.shortcut.")
        for i in range(3)
    ),
    (r"up_conv_last\.", "tail.0."),
]


def _inside(theirs: str, ours: str, rules: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rules for a part of a whole model."""
    return [(theirs + pattern, ours + replacement) for pattern, replacement in rules]


DEEPLABV3PLUS = [
    (r"backbone\.", r"\g<0>"),
    *_inside(r"aspp\.", "neck.aspp.", ASPP),
    *_inside(r"decoder\.", "decode_head.", SSSR_DECODER),
    *_inside(r"sr_decoder\.", "sisr_head.", SISR_DECODER),
    *_inside(r"pointwise\.", "feature_transform.", TRANSFORM),
    *_inside(r"sr_conv\.", "sisr_head.", SUBPIXEL),
    *_inside("", "sisr_head.", DECONV),
]
#: What keys of a whole model, or of a part under its name there, begin with.
WHOLE = [
    (r"base_net\.|bu_dec_l[1-4]\.|merge_enc_dec_l", ESPNETV2),
    (r"(backbone|aspp|decoder|sr_decoder|pointwise|sr_conv)\.", DEEPLABV3PLUS),
]
#: Channels before the classifier; of the SISR branch's decoder half of them.
SSSR_DECODER_CHANNELS = 256
#: A component alone: what one of its keys begins with -> its rules; the first that fits.
COMPONENTS = [
    (r"bu_dec_l5\.", [(r"bu_dec_l(5|6)\.", r"deconvs.\1.")]),
    (r"merge_layer\.3\.bias", [(r"merge_layer\.3\.", "conv_seg."), (r".+?\.", r"\g<0>")]),
    (r"eesp\.", [(r"eesp\.module_act\.", None), (r"(eesp|inp_reinf|act)\.", r"\g<0>")]),
    (
        r"(proj_1x1|projection_layer|wt_layer)\.",
        [
            (
                r"(proj_1x1|spp_dw|conv_1x1_exp|br_after_cat|module_act|projection_layer|stages|"
                r"merge_layer|br|wt_layer|expansion_layer)\.",
                r"\g<0>",
            )
        ],
    ),
    (r"aspp1\.", ASPP),
    (r"up_sr_1\.", DECONV),
    (r"residual_upsampler\.", [(r"conv\.", "convs."), (r"residual_upsampler\.0\.", "shortcut.")]),
    (r"first_part\.", [(r"first_part\.", "body."), (r"last_part\.0\.", "tail.0.")]),
    (r"1\.running_mean", TRANSFORM),
    (r"4\.", SUBPIXEL),
]
#: Names inside EdgeNets' blocks.
BLOCKS = [
    (r"\.cbr\.0\.", ".conv."),
    (r"\.cbr\.1\.", ".bn."),
    (r"\.cbr\.2\.", ".activate."),
    (r"\bmerge_layer\.0\.br\.", "norm_act."),
    (r"\bmerge_layer\.2\.", "mix."),
    (r"\bmerge_layer\.3\.", "expand.conv."),
    (r"\bbr\.br\.0\.", "expand.bn."),
    (r"\bbr\.br\.1\.", "expand.activate."),
    (r"\bwt_layer\.1\.", "weigh."),
    (r"\bprojection_layer\.|\bproj_1x1\.", "reduce."),
    (r"\bexpansion_layer\.|\bconv_1x1_exp\.", "expand."),
    (r"\bstages\.", "pyramid."),
    (r"\bspp_dw\.(\d)\.conv\.", r"pyramid.\1."),
    (r"\bbr_after_cat\.bn\.", "norm_act.0."),
    (r"\bbr_after_cat\.act\.", "norm_act.1."),
    (r"\binp_reinf\.", "reinforce."),
    (r"\b(stem|reduce|reinforce\.0)\.act\.", r"\1.activate."),
    (r"\bmodule_act\.", "act."),
    (r"^deconvs\.5\.", "deconvs.0."),
    (r"^deconvs\.6\.", "deconvs.1."),
]


def convert(state_dict: dict[str, Tensor], drop_unknown: bool = False) -> dict[str, Tensor]:
    """Weights of Xilinx/DSRL, EdgeNets' ESPNetv2 or Dootmaan/DSRL -> ours.

    The second PReLU of ESPNetv2's downsamplers, which their code never calls, is dropped. The
    pooled branch of the pyramid comes first here and last in Dootmaan's. The bias of the feature
    transform's conv is folded into its BN.

    Args:
        state_dict (dict[str, Tensor]): The authors' weights: a whole model, an ImageNet classifier
            or a component.
        drop_unknown (bool): Whether keys of no known module are left out, as the authors' test
            script does with their files. Default: False.

    Returns:
        dict[str, Tensor]: Weights of a ``DSRLEncoderDecoder`` (``ESPNetv2``, ``ESPNetv2Head`` and
        ``DeconvSSSR``; or ``AtrousResNet``, ``ASPPNeck``, ``DeepLabV3PlusDecoderHead`` and
        ``DeepLabV3PlusSISRHead``), or of one of their components.
    """
    if any(key.startswith("level1.") for key in state_dict):  # EdgeNets' classifier
        state_dict = {f"base_net.{key}": value for key, value in state_dict.items()}
    rules = _rules(state_dict)
    if drop_unknown:
        rules = [*rules, ("", None)]
    converted = {}
    for key, value in rename(state_dict, rules).items():
        for pattern, replacement in BLOCKS:
            key = re.sub(pattern, replacement, key)
        converted[key] = value
    for prefix in ("", "feature_transform."):
        if f"{prefix}bn.running_mean" in converted:
            fold_conv_bias(converted, f"{prefix}conv", f"{prefix}bn")
    for prefix in ("", "neck.aspp."):
        bottleneck = f"{prefix}bottleneck.conv.weight"
        if bottleneck in converted:
            weight = converted[bottleneck]  # of five branches
            converted[bottleneck] = weight.roll(weight.shape[1] // 5, dims=1)
    return converted


def _rules(state_dict: dict[str, Tensor]) -> list[tuple[str, str | None]]:
    for start, rules in WHOLE:
        if any(re.match(start, key) for key in state_dict):
            return rules
    last = state_dict.get("last_conv.4.weight")
    if last is not None:
        return SSSR_DECODER if len(last) == SSSR_DECODER_CHANNELS else SISR_DECODER
    for start, rules in COMPONENTS:
        if any(re.match(start, key) for key in state_dict):
            return rules
    return []

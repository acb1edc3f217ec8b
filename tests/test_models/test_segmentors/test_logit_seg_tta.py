"""LogitSegTTAModel: the mean of logits gives the labels of the mean of log-soft-max."""

import torch

from .test_fused_seg_tta import augmented
from .test_hrnet_seg_tta import augmented_again, logits_of, run
from .tiny_models import build_pair, head, model_config


def test_equals_the_mean_of_log_softmax():
    _, model = build_pair(model_config(head()), dict(keep="confidence"))
    data = augmented()
    mean = torch.stack([x.log_softmax(0) for x in logits_of(model, data)]).mean(0)
    (result,) = run(model, augmented_again(data), "LogitSegTTAModel")
    assert torch.equal(result.pred_sem_seg.data, mean.argmax(0, keepdim=True))
    torch.testing.assert_close(result.seg_confidence.data, mean.softmax(0).amax(0, keepdim=True))
    (of_probabilities,) = run(model, augmented_again(data), "FusedSegTTAModel")
    assert not torch.equal(of_probabilities.pred_sem_seg.data, result.pred_sem_seg.data)

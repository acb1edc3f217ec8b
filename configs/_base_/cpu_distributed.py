# For several processes on the CPU: name it in _base_ beside a config, then train with
# mim train mmseg CONFIG --launcher pytorch --gpus 2
runner_type = "CPURunner"
model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False)

#!/usr/bin/env bash
# Installs the OpenMMLab line (mmsegmentation 1.2.2) into an environment that holds PyTorch.
#
#   bash requirements/openmmlab.sh PYTHON
#
# PYTHON      the environment's interpreter, 3.10 or 3.11
# WHEELS      folder that keeps the compiled mmcv; default .wheels/mmcv-2.1.0-torch<..>-cp<..>;
#             one given is taken to be for the installed torch
# FORCE_CUDA  1 also compiles mmcv's CUDA operations, which needs nvcc; default 0
# MAX_JOBS    parallel compilations; default: one less than there are cores, at least 4
set -euo pipefail

[[ $# -eq 1 ]] || { echo "usage: bash requirements/openmmlab.sh PYTHON" >&2; exit 2; }
python=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

found=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
case $found in
3.10 | 3.11) ;;
*)
    echo "the OpenMMLab line needs Python 3.10 or 3.11, but $python is Python $found: its last" \
        "releases predate 3.12, and mmcv 2.1.0 has not been compiled there. Cure: make setup" \
        "STACK=openmmlab PYTHON=python3.11, or the OneDL line" >&2
    exit 1
    ;;
esac
torch=$("$python" -W ignore -c 'import torch; print(torch.__version__)') || {
    echo "install PyTorch into $python first: mmcv is compiled for it" >&2
    exit 1
}

# mmcv's setup.py and openmim import pkg_resources, which later setuptools no longer have.
"$python" -m pip install --quiet "setuptools<81" ninja psutil

# A CPU build unless asked: mmseg imports mmcv.ops, but few models call one, and a GPU that torch
# sees would make mmcv's setup.py look for nvcc.
export FORCE_CUDA=${FORCE_CUDA:-0} MMCV_WITH_OPS=1
tag=cp${found/./}
name=mmcv-2.1.0-torch$torch-$tag
if [[ $FORCE_CUDA == 1 ]]; then name+=-cuda; else export CUDA_VISIBLE_DEVICES=-1; fi
wheels=${WHEELS:-$root/.wheels/$name}
if ! compgen -G "$wheels/mmcv-2.1.0-$tag-*.whl" >/dev/null; then
    echo "compiling mmcv 2.1.0 for PyTorch $torch into $wheels: about half an hour of one core, once"
    mkdir -p "$wheels"
    # Moved into place when whole, so that an interrupted build leaves no half wheel.
    building=$(mktemp -d "$wheels/building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    # No build isolation: setup.py imports the torch to compile for, without declaring it.
    # No cache: pip's is not keyed by torch, so it would hand out another torch's wheel.
    "$python" -m pip wheel --no-build-isolation --no-deps --no-cache-dir --no-binary mmcv \
        --wheel-dir "$building" mmcv==2.1.0
    mv "$building"/mmcv-2.1.0-*.whl "$wheels/"
fi
# The file itself, and by force: pip takes an installed mmcv of this version for the same one,
# whichever torch it was compiled for.
"$python" -m pip install --quiet --no-deps --force-reinstall "$wheels"/mmcv-2.1.0-"$tag"-*.whl

# ftfy, regex: mmseg 1.2.2 imports them without declaring them; seaborn: its analyze_logs does.
# openxlab: openmim needs it through opendatalab; later versions pin setuptools 60.2, older than
# torch accepts, and old requests, rich and tqdm.
"$python" -m pip install "setuptools<81" mmcv==2.1.0 mmengine==0.10.7 mmsegmentation==1.2.2 \
    ftfy regex seaborn openmim==0.3.9 openxlab==0.0.11

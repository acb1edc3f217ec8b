"""Packaging of mmseg-papers; build requirements and tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "mmseg_papers/__init__.py").read_text())[1]

ONEDL = [
    # The versions each bound was run with are in the README's compatibility table.
    "onedl-mmengine>=0.10.12,<0.11",
    "onedl-mmcv>=2.3.6,<2.4",
    "onedl-mmsegmentation>=1.4.2,<1.5",
    "onedl-mim>=0.5.1,<0.6",
    "seaborn",  # analyze_logs of mmseg imports it without declaring it
]
DOCS = ["furo", "myst-nb>=1.1"]

setup(
    name="mmseg-papers",
    version=VERSION,
    description="Semantic-segmentation papers for MMSegmentation, equal to the authors' code",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    keywords="semantic segmentation, mmsegmentation, hrnet, pytorch",
    python_requires=">=3.10",
    packages=find_packages(include=["mmseg_papers", "mmseg_papers.*"]),
    package_data={"mmseg_papers": ["py.typed", ".mim/*", ".mim/**/*"]},
    entry_points={"console_scripts": ["mmseg-papers=mmseg_papers.__main__:main"]},
    # MMSegmentation, MMEngine and MMCV come from one of two lines with different distribution
    # names, so they cannot be requirements: an extra installs the one, a script the other.
    # NumPy, OpenCV, Pillow, rich and matplotlib are requirements of both lines.
    install_requires=["torch>=2.1"],
    extras_require={
        "onedl": ONEDL,
        "dev": [
            "build",
            "hypothesis>=6",
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "onnxscript>=0.5",
            "pytest>=8",
            "pytest-xdist>=3",
            "ruff>=0.15",
            "safetensors",
            "setuptools>=77",
            "tifffile",
            "triton>=2.2; platform_system == 'Linux'",  # its interpreter runs the kernels in tests
            "wheel",
            *DOCS,
        ],
        "safetensors": ["safetensors"],
        "tiff": ["tifffile"],
        "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"],
        "docs": DOCS,
    },
)

"""Refuses a Python that DGL has no wheels for. Everything else is in setup.cfg.

pip before 24.3 looks at `python_requires` only after it has looked at what is required, for which it may download torch.
"""

import sys

from setuptools import setup

if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    sys.exit(
        f"dgl-mutual needs Python 3.10, 3.11 or 3.12, and this is Python {sys.version.split()[0]}: DGL has no wheels for it. "
        "Make an environment with another Python, for example: uv venv --python 3.12, or: conda create -n dgl-mutual python=3.12"
    )
setup()

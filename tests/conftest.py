"""Shapes are checked at run time in tests; LIKENESS_PLAIN=1 runs them without (error texts)."""

import os

import torch

if os.environ.get("LIKENESS_PLAIN") != "1":
    from jaxtyping import install_import_hook

    install_import_hook(["likeness"], "beartype.beartype")

torch.set_num_threads(1)

"""Planted pairs: `tiny:pre` after an operation whose effect on every probe is known beforehand.

The operation acts on the output tokens of every block, patches and prefix alike. All of them are
affine in the token (with coefficients that may depend on the picture), and pooling weights sum to
one, so the operation acts on pooled features exactly as on tokens.

    identity   nothing: every delta is exactly 0
    rotation   a random orthogonal map: the features drift, no linear readout loses anything
    erased     the linear subspace of one concept removed: lost to every linear probe
    folded     that concept kept, but times a sign per picture that stands elsewhere in the token:
               lost to linear probes, recovered by a small MLP
    noise      one Gaussian vector per picture and block, twice as large as the features: all is
               harder

Erasure is LEACE (Belrose et al. 2023, arXiv 2306.03819), fitted once per block on pooled features
and stored in `planted.safetensors` beside the tiny weights.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, Self, get_args, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor, nn

from degradation.encoders.encoder import BlockTokens, EncoderInfo
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.shipped import tiny_folder
from degradation.encoders.tiny import load_tiny
from degradation.encoders.weights import digest, read_safetensors, refuse, write_safetensors
from degradation.errors import ConfigError, DataError

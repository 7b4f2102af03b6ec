"""Floor 2: maps between what data sets hold and what models see, and bases to see it in."""

from gmkit.transforms.augment import AUGMENTATIONS, augmented, updated_probability
from gmkit.transforms.colour import rgb_to_yuv, yuv_to_rgb
from gmkit.transforms.cosine import cosine_matrix, dct2, idct2
from gmkit.transforms.dequantisation import dequantise, from_unit, quantise, to_unit
from gmkit.transforms.spaces import SPACES, ImageSpace, image_space
from gmkit.transforms.wavelets import (
    WAVELETS,
    inverse_wavelet,
    wavelet,
    wavelet_levels,
    wavelet_log_det,
)

__all__ = [
    "AUGMENTATIONS",
    "SPACES",
    "WAVELETS",
    "ImageSpace",
    "augmented",
    "cosine_matrix",
    "dct2",
    "dequantise",
    "from_unit",
    "idct2",
    "image_space",
    "inverse_wavelet",
    "quantise",
    "rgb_to_yuv",
    "to_unit",
    "updated_probability",
    "wavelet",
    "wavelet_levels",
    "wavelet_log_det",
    "yuv_to_rgb",
]

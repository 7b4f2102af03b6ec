"""Rectified pairs of images of one scene, with the disparity between them.

The point that the left image shows at column x is at column `x - disparity` of the right one, in
the same row. Rows of a data set are pairs of one scene: "left" and "right" `(H, W, 3)` in [0, 1],
"disparity" `(H, W)` in pixels and "valid" `(H, W)`, 1 where the disparity is known.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gmkit.data.dataset import Dataset, Raw
from gmkit.data.problems import problem_dataset
from gmkit.data.spec import DataError

#: Names that `load` knows, each with one line about the data.
STEREO = {
    "stereo/motorcycle": "a rectified pair with its disparity (Middlebury 2014, scikit-image)",
    "stereo/synthetic": "a rendered pair: textured planes at three depths, 48x64",
}
#: What scikit-image ships of the pair.
MOTORCYCLE = ("motorcycle_left.png", "motorcycle_right.png", "motorcycle_disp.npz")
#: Pixels that the smallest image must have in each direction.
MIN_SIZE = 16


# ---------------------------------------------------------------- a photographed pair


def motorcycle(scale: float = 0.25) -> Dataset:
    """The pair "Motorcycle" (D. Scharstein et al., GCPR 2014), as scikit-image ships it.

    Args:
      scale: size relative to 500x741, 1 or 1/2, 1/3, ...; see `downscale`.

    Raises:
      DataError: scikit-image or its files are missing; a scale that is not 1 / k.
    """
    factor = round(1.0 / scale) if isinstance(scale, int | float) and 0.0 < scale <= 1.0 else 0
    if not factor or abs(scale * factor - 1.0) > 1e-3 or 500 // factor < MIN_SIZE:
        raise DataError(f"data.scale={scale!r}: must be 1 / k for a whole k <= {500 // MIN_SIZE}")
    pair = downscale(*_motorcycle_files(), factor)
    return _pairs("stereo/motorcycle", {name: array[None] for name, array in pair.items()})


def _motorcycle_files() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both images, uint8, and the disparity, infinite where unknown; nothing is downloaded."""
    fix = "pip install --force-reinstall scikit-image, or data.name='stereo/synthetic'"
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        fix = fix.replace("--force-reinstall ", "")
        raise DataError(f"data.name='stereo/motorcycle' is part of scikit-image: {fix}")
    paths = [Path(spec.origin).parent / "data" / name for name in MOTORCYCLE]
    for path in paths:
        if not path.is_file():
            raise DataError(f"data.name='stereo/motorcycle': {path} is missing; {fix}")
    from PIL import Image

    left, right = (np.asarray(Image.open(path).convert("RGB")) for path in paths[:2])
    with np.load(paths[2]) as stored:
        return left, right, stored["arr_0"]


def downscale(
    left: np.ndarray, right: np.ndarray, disparity: np.ndarray, factor: int
) -> dict[str, np.ndarray]:
    """A pair at 1 / `factor` of its size; rows and columns beyond a multiple are cut off.

    Images are averaged over squares of `factor` pixels. The disparity is the (lower) median of
    what is known in the square, so that none arises between two surfaces, in pixels of the
    result; valid where it is known in at least half the square, and 0 elsewhere.

    Args:
      left, right: uint8 `(H, W, 3)`.
      disparity: `(H, W)`, not finite where unknown.
      factor: at least 1.
    """
    height, width = (n // factor for n in disparity.shape)
    squares = lambda x: (
        x[: height * factor, : width * factor]
        .reshape(height, factor, width, factor, -1)
        .swapaxes(1, 2)
        .reshape(height, width, factor * factor, -1)
    )
    # The unknown are sorted behind the known.
    inside = np.sort(squares(np.where(np.isfinite(disparity), disparity, np.inf))[..., 0], axis=-1)
    known = np.isfinite(inside).sum(axis=-1)
    valid = 2 * known >= factor**2
    middle = np.maximum(known - 1, 0)[..., None] // 2
    median = np.where(valid, np.take_along_axis(inside, middle, axis=-1)[..., 0], 0.0)
    image = lambda x: (squares(x).mean(axis=2, dtype=np.float64) / 255.0).astype(np.float32)
    return {
        "left": image(left),
        "right": image(right),
        "disparity": (median / factor).astype(np.float32),
        "valid": valid.astype(np.int32),
    }


# ---------------------------------------------------------------- a rendered pair

#: (top, bottom, left, right) as shares of the image, (disparity, its slope along x) in pixels of
#: an image 64 wide; the further ones first.
_PLANES = (
    ((-9.0, 9.0, -9.0, 9.0), (2.0, 0.02)),
    ((0.15, 0.75, 0.45, 0.85), (5.0, 0.0)),
    ((0.45, 0.90, 0.15, 0.60), (7.0, -0.02)),
)


def synthetic(
    seed: int = 0, n_train: int = 1, shape: tuple[int, int] = (48, 64), noise: float = 0.005
) -> Dataset:
    """Textured planes that hide parts of each other, with their exact disparity.

    Args:
      seed: of textures and noise.
      n_train: exposures of the same scene, which differ in their noise.
      shape: height and width; disparities grow with the width.
      noise: standard deviation of the noise of each pixel.
    """
    rng = np.random.default_rng(seed)
    textures = [_texture(rng) for _ in _PLANES]
    left, disparity = _rendered(shape, textures, 0.0)
    right, _ = _rendered(shape, textures, 1.0)
    exposures = lambda image: np.clip(
        image + noise * rng.standard_normal((n_train, *image.shape)), 0.0, 1.0
    ).astype(np.float32)
    repeated = np.broadcast_to(disparity.astype(np.float32), (n_train, *shape))
    rows = {
        "left": exposures(left),
        "right": exposures(right),
        "disparity": repeated,
        "valid": np.ones(repeated.shape, np.int32),
    }
    return _pairs("stereo/synthetic", rows)


Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _texture(rng: np.random.Generator, n: int = 16) -> Texture:
    """A smooth function of the plane with values in [0, 1], `(...) -> (..., 3)`."""
    angle, phase = rng.uniform(0.0, 2.0 * np.pi, (2, n))
    wavelength = np.geomspace(5.0, 60.0, n)
    frequency = 2.0 * np.pi / wavelength
    # Natural images have more contrast at larger scales too.
    weight = rng.uniform(-1.0, 1.0, (n, 3)) * np.sqrt(wavelength)[:, None]
    weight *= 0.25 / np.sqrt(np.sum(weight**2, axis=0))
    colour = rng.uniform(0.35, 0.65, 3)

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along = x[..., None] * np.cos(angle) + y[..., None] * np.sin(angle)
        return np.clip(colour + np.cos(frequency * along + phase) @ weight, 0.0, 1.0)

    return at


def _rendered(
    shape: tuple[int, int], textures: list[Texture], view: float
) -> tuple[np.ndarray, np.ndarray]:
    """Image and disparity seen from the left (`view` 0) or the right (1) camera."""
    height, width = shape
    y, seen = np.mgrid[:height, :width].astype(np.float64)
    image, disparity = np.zeros((*shape, 3)), np.zeros(shape)
    for (top, bottom, left, right), (near, slope), texture in zip(
        *zip(*_PLANES, strict=True), textures, strict=True
    ):
        near = near * width / 64.0
        # Where the left camera sees this point of the plane: x - view * (near + slope * x) = seen.
        x = (seen + view * near) / (1.0 - view * slope)
        inside = (top * height <= y) & (y < bottom * height)
        inside &= (left * width <= x) & (x < right * width)
        image = np.where(inside[..., None], texture(x, y), image)
        disparity = np.where(inside, near + slope * x, disparity)
    return image, disparity


def _pairs(name: str, rows: Raw) -> Dataset:
    return problem_dataset(name, rows, shape=rows["left"].shape[1:])

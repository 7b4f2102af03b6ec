import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gmkit import reporting


def test_tile_places_every_pixel():
    images = np.arange(1, 13, dtype=np.uint8).reshape(3, 2, 2, 1)
    w = 255
    expected = [
        [1, 2, w, 5, 6],
        [3, 4, w, 7, 8],
        [w, w, w, w, w],
        [9, 10, w, w, w],
        [11, 12, w, w, w],
    ]
    np.testing.assert_array_equal(reporting.tile(images, 2)[..., 0], expected)
    np.testing.assert_array_equal(
        reporting.tile(images, 3, pad=0)[..., 0], [[1, 2, 5, 6, 9, 10], [3, 4, 7, 8, 11, 12]]
    )


@pytest.mark.parametrize(
    ("n", "columns", "shape"),
    [(1, None, (4, 3)), (1, 8, (4, 3)), (5, None, (9, 11)), (5, 4, (9, 15)), (4, 1, (19, 3))],
)
def test_tile_size(n, columns, shape):
    assert reporting.tile(np.zeros((n, 4, 3, 3)), columns).shape == (*shape, 3)


@pytest.mark.parametrize("kind", [np.float32, np.float64, jnp.bfloat16])
def test_floats_map_minus_one_and_one_to_black_and_white(kind):
    images = np.array([-1, 1, 0, -7, 7, np.nan, np.inf, -np.inf]).reshape(1, 2, 4, 1)
    out = reporting.to_uint8(images.astype(np.dtype(kind)))
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out.ravel(), [0, 255, 128, 0, 255, 0, 255, 0])


def test_every_uint8_survives_the_way_through_floats():
    raw = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(reporting.to_uint8(raw), raw)
    decoded = raw.astype(np.float32) / np.float32(127.5) - np.float32(1)
    np.testing.assert_array_equal(reporting.to_uint8(decoded), raw)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 8, 8, 1)), "no image"),
        (np.zeros((8, 8, 1)), "images.shape"),
        (np.zeros((2, 8, 8, 2)), "images.shape"),
        (np.zeros((2, 8, 8, 1), int), "images.dtype=int64"),
    ],
)
def test_unusable_images_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        reporting.tile(images)


def test_unusable_layout_is_named():
    with pytest.raises(ValueError, match="columns=0"):
        reporting.tile(np.zeros((2, 8, 8, 1)), 0)
    with pytest.raises(ValueError, match="pad=-1"):
        reporting.tile(np.zeros((2, 8, 8, 1)), pad=-1)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_array(tmp_path, channels):
    array = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    path = reporting.save_png(array, tmp_path / "new" / "a.png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="float64"):
        reporting.save_png(array.astype(float), path)


def _pixels(fig, path):
    with Image.open(reporting.save_figure(fig, path)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("size", [(8, 8, 1), (28, 28, 1), (32, 20, 3)])
def test_grid_shows_each_pixel_as_a_whole_square(tmp_path, size):
    images = np.random.default_rng(0).integers(0, 256, (6, *size), np.uint8)
    sheet = np.broadcast_to(reporting.tile(images, 3), (2 * size[0] + 1, 3 * size[1] + 2, 3))
    shown = _pixels(reporting.image_grid(images, 3), tmp_path / "grid.png")
    border = 12
    inner = shown[border:-border, border:-border]
    scale = inner.shape[0] // sheet.shape[0]
    assert scale >= 2
    np.testing.assert_array_equal(inner, sheet.repeat(scale, 0).repeat(scale, 1))


def _texts_inside(fig):
    renderer = fig.canvas.get_renderer()
    texts = [*fig.texts, *(text for ax in fig.axes for text in ax.texts)]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    width, height = fig.canvas.get_width_height()
    return all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= width and b.y1 <= height for b in boxes)


def test_titles_are_never_clipped():
    digit = np.zeros((1, 8, 8, 1))
    assert _texts_inside(reporting.image_grid(digit, title="a title much wider than a digit " * 8))
    assert _texts_inside(reporting.side_by_side({"data": digit, "a rather long one " * 3: digit}))
    strips = np.zeros((4, 2, 8, 8, 1))
    assert _texts_inside(reporting.image_strips(strips, [0, 1e9, 2e9, 3e9], title="chains"))


def test_panels_may_hold_different_images_and_dollars():
    panels = {
        "data": np.zeros((1, 8, 8, 1)),
        "$5": np.zeros((9, 32, 32, 3)),
        "c": np.ones((2, 8, 8, 1)),
    }
    fig = reporting.side_by_side(panels, per_row=2)
    assert len(fig.axes) == 3
    fig.canvas.draw()
    with pytest.raises(ValueError, match="panels is empty"):
        reporting.side_by_side({})


def test_strips_have_chains_as_rows_and_keep_the_first_and_last_time(tmp_path):
    chain, time = np.arange(2)[:, None], np.arange(31)[None, :]
    value = (100 * chain + time).astype(np.uint8)  # identifies each image
    trajectory = np.broadcast_to(value.T[:, :, None, None, None], (31, 2, 4, 4, 1))
    fig = reporting.image_strips(trajectory, [10 * t for t in range(31)])
    sheet = fig.axes[0].images[0].get_array()
    shown = np.asarray(sheet)[::5, ::5, 0]
    np.testing.assert_array_equal(shown, value[:, ::3])
    labels = [text.get_text() for text in fig.axes[0].texts]
    assert labels[0] == "0"
    assert labels[-1] in {"300", "270"}
    with pytest.raises(ValueError, match="len\\(times\\)=3"):
        reporting.image_strips(trajectory, [0, 1, 2])


def test_pyplot_is_never_imported(tmp_path):
    code = (
        "import sys, numpy as np; from gmkit import reporting as r; "
        "assert not any(m.startswith('matplotlib') for m in sys.modules), 'heavy import'; "
        f"r.save_figure(r.image_grid(np.zeros((2, 8, 8, 1))), {str(tmp_path / 'a.png')!r}); "
        f"r.save_figure(r.histograms({{'data': [0.0, 1.0]}}), {str(tmp_path / 'b.png')!r}); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

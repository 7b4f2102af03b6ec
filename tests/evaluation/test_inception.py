"""Inception features from a weight file."""

import numpy as np
import pytest

from gmkit.evaluation import inception_features, inception_shapes

# torchvision's InceptionV3 with the pooling of the FID graph, on `random_weights()` and the images
# of the test: features 0, 1, 320, 1000 and 2047.
REFERENCE = [
    [0.48626885, 11.39185619, 4.60718298, 3.82055545, 1.74032140],
    [0.57348692, 11.20867825, 4.56664181, 3.89334130, 2.01384711],
    [0.52114588, 11.65064621, 4.65993881, 3.84945178, 1.79480946],
]


def random_weights(seed=0):
    """Entries of a weight file at a scale that keeps activations of order one."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in sorted(inception_shapes().items()):
        if name.endswith("conv.weight"):
            std = np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
            weights[name] = rng.standard_normal(shape, dtype=np.float32) * std
        elif name.endswith(("bn.weight", "bn.running_var")):
            weights[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            weights[name] = rng.normal(0.0, 0.3, shape).astype(np.float32)
    return weights


def test_shapes_are_those_of_the_published_network():
    shapes = inception_shapes()
    assert len(shapes) == 94 * 5
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_5b.branch_pool.conv.weight"] == (32, 192, 1, 1)
    assert shapes["Mixed_6b.branch7x7_2.conv.weight"] == (128, 128, 1, 7)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert shapes["Mixed_7c.branch_pool.bn.running_var"] == (192,)
    # 21,785,568 convolution and normalisation parameters, and the running statistics.
    n_statistics = sum(s[0] for n, s in shapes.items() if ".running_" in n)
    assert sum(np.prod(s) for s in shapes.values()) - n_statistics == 21_785_568


@pytest.mark.slow
def test_features_match_the_reference_implementation(tmp_path):
    path = tmp_path / "inception.npz"
    np.savez(path, **random_weights(), **{"fc.weight": np.zeros((1008, 2048), np.float32)})
    features = inception_features(path, batch_size=2)
    assert (features.name, features.dim) == ("inception", 2048)
    images = np.random.default_rng(1).uniform(-1, 1, (3, 32, 40, 3)).astype(np.float32)
    values = features.apply(images)
    assert values.shape == (3, 2048)
    np.testing.assert_allclose(values[:, [0, 1, 320, 1000, 2047]], REFERENCE, rtol=1e-4)
    with pytest.raises(ValueError, match="2 channels"):
        features.apply(images[..., :2])
    grey = images[:2, :, :, :1]
    np.testing.assert_array_equal(features.apply(grey), features.apply(np.repeat(grey, 3, axis=-1)))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        inception_features(tmp_path / "absent.npz")


def test_missing_entries(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{"Conv2d_1a_3x3.conv.weight": np.zeros((32, 3, 3, 3))})
    with pytest.raises(ValueError, match=r"469 of 470 entries missing, such as Conv2d_1a_3x3.bn"):
        inception_features(path)


def test_wrong_shape_and_values(tmp_path):
    path = tmp_path / "weights.npz"
    shapes = inception_shapes()
    # Arrays of one repeated value compress to nothing.
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    swapped = {**zeros, "Mixed_6b.branch7x7_2.conv.weight": np.zeros((128, 128, 7, 1), np.float32)}
    np.savez_compressed(path, **swapped)
    with pytest.raises(ValueError, match=r"branch7x7_2.conv.weight is \(128, 128, 7, 1\)"):
        inception_features(path)
    zeros["Mixed_5b.branch1x1.bn.bias"][0] = np.nan
    np.savez_compressed(path, **zeros)
    with pytest.raises(ValueError, match="branch1x1 has values that are not finite"):
        inception_features(path)


def test_not_an_archive(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_text("hello")
    with pytest.raises(ValueError, match="Inception weights"):
        inception_features(path)

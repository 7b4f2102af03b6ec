"""Official state dicts and Flax variables: bit by bit both ways, or a clear refusal."""

import json

import numpy as np
import pytest

from gmkit.nets import stylegan2
from gmkit.nets.stylegan2 import WeightsError, dialects, files, weights

NETWORKS = [
    ("generator", {}),
    ("generator", {"architecture": "resnet", "c_dim": 3}),
    ("generator", {"architecture": "orig", "resample_filter": (1.0, 2.0, 4.0, 3.0)}),
    ("generator", {"use_noise": False, "img_channels": 1, "z_dim": 5, "layer_features": 6}),
    ("discriminator", {}),
    ("discriminator", {"architecture": "skip", "c_dim": 2, "mbstd_num_channels": 2}),
    ("discriminator", {"architecture": "orig", "mbstd_num_channels": 0}),
]


@pytest.mark.parametrize(("kind", "changes"), NETWORKS)
def test_round_trip_and_inference(known, state_dict, kind, changes):
    net, variables = known(kind, **changes)
    arrays = state_dict(net)
    again = stylegan2.to_official(net, variables)
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array, strict=True)
    # The network can be read off the arrays, but for what no array shows.
    hidden = {"conv_clamp": None}
    if kind == "discriminator":
        hidden["num_layers"] = 8
    found = stylegan2.infer(arrays, **hidden)
    for name, array in stylegan2.to_official(found, stylegan2.from_official(found, arrays)).items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)
    unseen = ("embed_features", "layer_features", "cmap_dim", "channel_base", "architecture")
    for name in net.__dataclass_fields__:
        if name not in ("parent", "name", *unseen):
            assert getattr(found, name) == getattr(net, name), name


def test_layouts(known, state_dict):
    net, variables = known("generator")
    arrays, params = state_dict(net), variables["params"]
    conv = params["synthesis"]["b16"]["conv0"]
    official = arrays["synthesis.b16.conv0.weight"]
    assert conv["weight"].shape == (3, 3, 8, 4) and official.shape == (4, 8, 3, 3)
    np.testing.assert_array_equal(conv["weight"][1, 2, 3], official[:, 3, 1, 2])
    dense = params["mapping"]["fc1"]["weight"]
    np.testing.assert_array_equal(dense, arrays["mapping.fc1.weight"].T)
    constant = params["synthesis"]["b4"]["const"]
    np.testing.assert_array_equal(constant[1, 2], arrays["synthesis.b4.const"][:, 1, 2])
    assert conv["noise_strength"].shape == ()
    noise = variables["noise"]["synthesis"]["b16"]["conv0"]["noise_const"]
    np.testing.assert_array_equal(noise, arrays["synthesis.b16.conv0.noise_const"])


@pytest.fixture
def arrays(known, state_dict):
    return state_dict(known("generator")[0])


@pytest.fixture
def net(known):
    return known("generator")[0]


def test_every_wrong_array_is_named(net, arrays):
    name = "synthesis.b8.conv1.bias"
    without = {k: v for k, v in arrays.items() if k != name}
    with pytest.raises(WeightsError, match=r"1 arrays are missing: synthesis\.b8\.conv1\.bias"):
        stylegan2.from_official(net, without)
    with pytest.raises(WeightsError, match=r"no place: synthesis\.b8\.conv2\.bias"):
        stylegan2.from_official(net, {**arrays, "synthesis.b8.conv2.bias": arrays[name]})
    with pytest.raises(WeightsError, match=r"bias has shape \(4,\); this network needs \(8,\)"):
        stylegan2.from_official(net, {**arrays, name: arrays[name][:4]})
    with pytest.raises(WeightsError, match="holds int64"):
        stylegan2.from_official(net, {**arrays, name: np.arange(8)})
    filtered = "synthesis.b8.conv0.resample_filter"
    with pytest.raises(WeightsError, match="give the taps"):
        stylegan2.from_official(net, {**arrays, filtered: 2 * arrays[filtered]})


def test_what_arguments_may_say(arrays):
    with pytest.raises(WeightsError, match="conv_clamp cannot be read"):
        stylegan2.infer(arrays)
    assert stylegan2.infer(arrays, {}).conv_clamp is None
    meta = {"z_dim": 8, "synthesis_kwargs": {"conv_clamp": 256, "num_fp16_res": 2}}
    found = stylegan2.infer(arrays, meta, half_dtype="float16")
    assert (found.conv_clamp, found.num_fp16_res, found.half_dtype) == (256, 2, "float16")
    with pytest.raises(WeightsError, match="z_dim=9 was given, but the arrays say 8"):
        stylegan2.infer(arrays, {"z_dim": 9})
    with pytest.raises(WeightsError, match=r"synthesis_kwargs\.chanel_base: Generator has no such"):
        stylegan2.infer(arrays, {"synthesis_kwargs": {"chanel_base": 1}})
    with pytest.raises(WeightsError, match="no StyleGAN2 has the arrays a"):
        stylegan2.infer({"a": np.zeros(1)}, {})


# ---------------------------------------------------------------- other implementations


def rosinality(arrays):
    """An official state dict under rosinality's names, written the other way round."""
    found = {}
    convs = ["b4.conv1"] + [f"b{r}.conv{i}" for r in (8, 16) for i in (0, 1)]
    for name, a in arrays.items():
        part = name.removeprefix("synthesis.")
        if name.startswith("mapping.fc"):
            i, leaf = name.removeprefix("mapping.fc").split(".")
            found[f"style.{int(i) + 1}.{leaf}"] = a
        elif part == "b4.const":
            found["input.input"] = a[None]
        elif name.startswith("synthesis") and "resample_filter" not in name:
            block, layer, leaf = part.split(".", 2)
            if leaf == "noise_const":
                found[f"noises.noise_{convs.index(f'{block}.{layer}')}"] = a[None, None]
                continue
            if layer == "torgb":
                i = int(np.log2(int(block[1:]))) - 3
                prefix = "to_rgb1" if i < 0 else f"to_rgbs.{i}"
            else:
                i = convs.index(f"{block}.{layer}")
                prefix = "conv1" if i == 0 else f"convs.{i - 1}"
            bias = ("bias", (1, 3, 1, 1)) if layer == "torgb" else ("activate.bias", a.shape)
            leaf, shape = {
                "weight": ("conv.weight", (1, *a.shape)),
                "affine.weight": ("conv.modulation.weight", a.shape),
                "affine.bias": ("conv.modulation.bias", a.shape),
                "noise_strength": ("noise.weight", (1,)),
                "bias": bias,
            }[leaf]
            a = a.reshape(shape)
            found[f"{prefix}.{leaf}"] = a
    kernel = weights.setup_filter()
    return found | {"convs.0.conv.blur.kernel": 4 * kernel, "to_rgbs.0.upsample.kernel": 4 * kernel}


def test_rosinalitys_names(arrays):
    theirs = rosinality(arrays)
    assert dialects.dialect(theirs) == "rosinality"
    found = stylegan2.from_rosinality(theirs, arrays["mapping.w_avg"])
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(ValueError, match=r"convs\.0\.conv\.scale is no array"):
        stylegan2.from_rosinality({**theirs, "convs.0.conv.scale": np.zeros(1)})
    with pytest.raises(ValueError, match="only the filter"):
        stylegan2.from_rosinality({**theirs, "convs.0.conv.blur.kernel": np.ones((4, 4))})


def tensorflow(arrays):
    """An official generator under the names of the TensorFlow implementation."""
    found = {"dlatent_avg": arrays["mapping.w_avg"], "lod": np.float32(0)}
    for name, a in arrays.items():
        if name.startswith("mapping.fc"):
            i, leaf = name.removeprefix("mapping.fc").split(".")
            found[f"mapping/Dense{i}/{leaf}"] = a.T
        elif name == "synthesis.b4.const":
            found["synthesis/4x4/Const/const"] = a[None]
        elif name.startswith("synthesis") and "resample_filter" not in name:
            block, layer, leaf = name.removeprefix("synthesis.").split(".", 2)
            r = int(block[1:])
            if leaf == "noise_const":
                i = 0 if r == 4 else 2 * int(np.log2(r)) - 5 + int(layer[-1])
                found[f"synthesis/noise{i}"] = a[None, None]
                continue
            to = {"conv0": "Conv0_up", "conv1": "Conv" if r == 4 else "Conv1", "torgb": "ToRGB"}
            to["skip"] = "Skip"
            if leaf == "weight":
                a = a.transpose(2, 3, 1, 0)
                a = a[::-1, ::-1] if layer in ("conv0", "skip") else a
            elif leaf == "affine.weight":
                leaf, a = "mod_weight", a.T
            elif leaf == "affine.bias":
                leaf, a = "mod_bias", a - np.float32(1)
            found[f"synthesis/{r}x{r}/{to[layer]}/{leaf}"] = a
    return found


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_names_of_the_tensorflow_implementation(known, state_dict, architecture):
    arrays = state_dict(known("generator", architecture=architecture)[0])
    theirs = tensorflow(arrays)
    assert dialects.dialect(theirs) == "tensorflow"
    found = stylegan2.from_tensorflow(theirs)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(found[name], array, atol=1e-7)
    with pytest.raises(ValueError, match="8x8/Conv9/weight is no array"):
        stylegan2.from_tensorflow({**theirs, "synthesis/8x8/Conv9/weight": np.zeros((1, 1))})


def test_a_discriminator_of_the_tensorflow_implementation(known, state_dict):
    arrays = state_dict(known("discriminator")[0])
    found = {}
    for name, a in arrays.items():
        if "resample_filter" in name:
            continue
        block, layer, leaf = name.split(".")
        r = int(block[1:])
        to = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
        to |= {"conv": "Conv", "fc": "Dense0"}
        a = a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T
        found[f"Output/{leaf}" if layer == "out" else f"{r}x{r}/{to[layer]}/{leaf}"] = a
    again = stylegan2.from_tensorflow(found)
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


# ---------------------------------------------------------------- files


def test_a_folder_brings_the_network_back(tmp_path, known, arrays):
    net, variables = known("generator", conv_clamp=256.0)
    folder = stylegan2.save(tmp_path / "net", net, variables)
    loaded = stylegan2.load(folder)
    assert loaded.net == net
    for name, array in stylegan2.to_official(loaded.net, loaded.variables).items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)
    assert stylegan2.load(folder, conv_impl="dilated").net.conv_impl == "dilated"
    files.write_npz(folder / "weights.npz", {"a": np.zeros(2)})
    with pytest.raises(WeightsError, match="arrays are missing"):
        stylegan2.load(folder)
    (folder / "meta.json").write_text("{}")
    with pytest.raises(WeightsError, match="not written by gmkit"):
        stylegan2.load(folder)


def test_objects_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.asarray([{}], dtype=object))
    with pytest.raises(WeightsError, match="npz of plain arrays"):
        files.read(path)


def safetensors(path, entries, body):
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    return path


def test_safetensors(tmp_path):
    numbers = np.asarray([[1.5, -2.0]], np.float32)
    # The upper halves of float32 are bfloat16.
    half = (np.asarray([1.0, -0.5], np.float32).view(np.uint32) >> 16).astype("<u2")
    entries = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
        "c": {"dtype": "F16", "shape": [], "data_offsets": [12, 14]},
    }
    body = numbers.tobytes() + half.tobytes() + np.float16(0.25).tobytes()
    arrays, meta = files.read(safetensors(tmp_path / "a.safetensors", entries, body))
    assert meta is None and arrays.keys() == {"a", "b", "c"}
    np.testing.assert_array_equal(arrays["a"], numbers, strict=True)
    np.testing.assert_array_equal(arrays["b"], np.asarray([1.0, -0.5], np.float32), strict=True)
    assert arrays["c"].shape == () and float(arrays["c"]) == 0.25


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [4, 20]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]},
        {"dtype": "O", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [4.0], "data_offsets": [0, 16]},
        {"dtype": "F32"},
        7,
    ],
)
def test_damaged_safetensors(tmp_path, entry):
    path = safetensors(tmp_path / "a.safetensors", {"a": entry}, bytes(16))
    with pytest.raises(WeightsError, match=r"a\.safetensors: a "):
        files.read(path)


def test_headers_that_lie(tmp_path):
    path = tmp_path / "a.safetensors"
    for data in (b"", b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}", bytes(7)):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match="longer than the file"):
            files.read(path)
    path.write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000)
    with pytest.raises(WeightsError, match="no JSON"):
        files.read(path)


def test_files_of_other_implementations(tmp_path, arrays):
    path = files.write_npz(tmp_path / "other.npz", rosinality(arrays))
    loaded = stylegan2.from_file(path)
    assert loaded.net.conv_clamp is None and loaded.net.z_dim == 8
    path = files.write_npz(tmp_path / "tf.npz", tensorflow(arrays))
    assert stylegan2.from_file(path).net == loaded.net
    with pytest.raises(WeightsError, match="give a file"):
        files.read(path.rename(tmp_path / "tf.h5"))

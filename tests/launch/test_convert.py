"""Weights of other programs, to gmkit and back, from the command line."""

import json

import jax
import numpy as np
import pytest

from gmkit.nets import stylegan2
from gmkit.nets.stylegan2 import files, weights
from launch import convert

NET = stylegan2.Generator(
    8, z_dim=4, w_dim=4, channel_base=32, channel_max=4, num_layers=1, conv_clamp=256
)
META = {
    "z_dim": 4,
    "w_dim": 4,
    "c_dim": 0,
    "img_resolution": 8,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 1},
    "synthesis_kwargs": {"channel_base": 32, "channel_max": 4, "conv_clamp": 256},
}


@pytest.fixture(scope="module")
def variables():
    draw = np.random.default_rng(0).normal
    arrays = {name: draw(size=slot.shape) for name, slot in weights.slots(NET).items()}
    arrays = {name: np.float32(a) for name, a in arrays.items()}
    return stylegan2.from_official(NET, arrays | weights.filters(NET, arrays))


@pytest.fixture
def source(tmp_path, variables):
    (tmp_path / "meta.json").write_text(json.dumps(META))
    return files.write_npz(tmp_path / "G_ema.npz", stylegan2.to_official(NET, variables))


def run(*arguments):
    return convert.main([str(a) for a in arguments])


def test_there_and_back(tmp_path, source, capsys):
    folder, back = tmp_path / "net", tmp_path / "back.npz"
    assert run("--in", source, "--meta", tmp_path / "meta.json", "--out", folder) == 0
    assert "Generator:" in capsys.readouterr().out
    assert stylegan2.load(folder).net == NET
    assert run("--in", folder, "--out", back) == 0
    first, again = files.read(source)[0], files.read(back)[0]
    assert first.keys() == again.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array, strict=True)


def test_selftest(tmp_path, source, variables, capsys):
    z = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    image = np.asarray(jax.jit(NET.apply)(variables, z))
    np.save(tmp_path / "z.npy", z)
    np.save(tmp_path / "image.npy", np.moveaxis(image, -1, 1))
    np.save(tmp_path / "other.npy", np.moveaxis(image + 0.01, -1, 1))
    given = ("--in", source, "--conv-clamp", "256", "--selftest", tmp_path / "z.npy")
    assert run(*given, tmp_path / "image.npy") == 0
    assert "selftest: passed" in capsys.readouterr().out
    assert run(*given, tmp_path / "other.npy", "--out", tmp_path / "never") == 1
    assert "FAILED, largest difference 1.00e-02" in capsys.readouterr().out
    assert not (tmp_path / "never").exists()


def test_an_average_is_estimated(tmp_path, source):
    given = ("--in", source, "--conv-clamp", "none", "--out", tmp_path / "net")
    assert run(*given, "--estimate-average") == 0
    net, variables = stylegan2.load(tmp_path / "net")
    assert net.conv_clamp is None
    assert np.abs(variables["stats"]["mapping"]["w_avg"]).max() > 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--in", "absent.npz"), "no such file"),
        (("--in", "G_ema.npz"), "conv_clamp cannot be read off"),
        (("--in", "G_ema.npz", "--meta", "absent.json"), "not a readable JSON"),
        (("--in", "hostile.pkl"), "which weights never need"),
    ],
)
def test_what_cannot_be_converted(tmp_path, source, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert run(*arguments, "--out", "net") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("gmkit: ") and line in said
    assert not (tmp_path / "net").exists()


def test_help_and_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--help")
    assert stopped.value.code == 0 and "--selftest" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run("--in", "a.npz")

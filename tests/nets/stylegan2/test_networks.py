"""Both networks against the official implementation's numbers, and what must hold of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.nets import stylegan2
from gmkit.nets.stylegan2 import weights
from gmkit.objectives.path_length import path_lengths

close = lambda found, expected: np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


#: What runs once need not be fast: a third of the time to compile.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
jit = functools.partial(jax.jit, compiler_options=QUICK)


def run(net, variables, *arguments, **options):
    return jit(lambda v, *a: net.apply(v, *a, **options))(variables, *arguments)


def test_mapping(known, z):
    net, variables = known("generator")
    ws = run(net, variables, z, method="map")
    first = [-0.018007, -0.018811, 0.114013, 0.329643, 0.072472, -0.067101, -0.048866, 0.121289]
    second = [0.048029, 0.10058, 0.175139, 0.197566, -0.024765, -0.080863, -0.023692, 0.318919]
    close(ws, [first, second])
    truncated = run(net, variables, z, psi=0.7, method="map")
    seven = [-0.074504, -0.069982, 0.156348, 0.267841, -0.035367, -0.061875, 0.055731, 0.07663]
    close(truncated[0], seven)
    close(run(net, variables, 3.0 * z, method="map"), ws)
    assert net.num_ws == 6


def test_images(known, z):
    net, variables = known("generator")
    x, found = run(net, variables, z, mutable=["intermediates"])
    close([x.mean(), x.std(), x.min(), x.max()], [-0.097895, 1.367847, -3.685104, 2.813098])
    close(x[0, 0, 0], [0.820677, 0.798508, 0.832103])
    close(x[0, 7, 9], [-0.132449, -0.342485, -0.059848])
    close(x[1, 15, 3], [0.939675, 0.331383, -0.061996])
    blocks = found["intermediates"]["synthesis"]
    moments = lambda y: [float(y.mean()), float(y.std())]
    features = [moments(blocks[f"b{r}"]["features"][0]) for r in (4, 8, 16)]
    close(features, [[0.149214, 0.258586], [0.364806, 0.697367], [0.670494, 1.338942]])
    images = [moments(blocks[f"b{r}"]["image"][0]) for r in (4, 8, 16)]
    close(images, [[-0.091884, 0.10809], [-0.14223, 0.16869], [-0.097895, 1.367847]])
    assert blocks["b8"]["conv0"]["styles"][0].shape == (2, 8)


def test_images_without_noise(known, z):
    x = run(*known("generator"), z, noise="none")
    close([x.mean(), x.std()], [-0.089822, 1.411113])
    close(x[0, 0, 0], [0.685348, 0.622512, 0.663129])
    close(x[1, 15, 3], [0.689451, 0.065824, -0.286985])


def test_conditional_images(known, z):
    net, variables = known("generator", c_dim=3)
    c = jnp.eye(3)[:2]
    x = run(net, variables, z, c)
    close([x.mean(), x.std()], [-0.059302, 1.507365])
    w = run(net, variables, z, c, method="map")
    first = [0.756302, 1.165801, 0.557021, -0.095367, -0.239178, -0.165416, 0.520948, 1.396058]
    close(w[0], first)


def test_residual_images(known, z):
    x = run(*known("generator", architecture="resnet"), z)
    close([x.mean(), x.std()], [-0.025446, 0.664409])


def test_discriminator(known, images):
    net, variables = known("discriminator")

    def total(x):
        logits = net.apply(variables, x)
        return jnp.sum(logits), logits

    slopes, logits = jit(jax.grad(total, has_aux=True))(images)
    close(logits, [-0.12636, -0.192992, -0.063154, -0.307137])
    squares = jnp.sum(jnp.square(slopes), axis=(1, 2, 3))
    close(squares, [0.020847, 0.055723, 0.023662, 0.033296])
    # 0 and 1 share the only group with the rest.
    swapped = run(net, variables, images[jnp.asarray([1, 0, 2, 3])])
    close(swapped, logits[jnp.asarray([1, 0, 2, 3])])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["skip", "orig"])
def test_other_discriminators_read_labels(known, images, architecture):
    net, variables = known("discriminator", architecture=architecture, c_dim=2)
    one = run(net, variables, images, jnp.eye(2)[jnp.asarray([0, 0, 1, 1])])
    two = run(net, variables, images, jnp.eye(2)[jnp.asarray([0, 1, 1, 1])])
    assert one.shape == (4,) and np.isfinite(one).all()
    np.testing.assert_array_equal(np.asarray(one != two), [False, True, False, False])


@pytest.fixture(scope="module")
def synthesise(known):
    net, variables = known("generator")
    return lambda ws, **options: net.apply(variables, ws, method="synthesise", **options)


@pytest.fixture(scope="module")
def synthesis(synthesise):
    """Of rows of intermediate latents, compiled once."""
    compiled = jit(synthesise)
    return lambda w: compiled(rows_of(w) if w.ndim == 2 else w)


@pytest.fixture(scope="module")
def w(known, z):
    return run(*known("generator"), z, method="map")


def rows_of(w):
    return jnp.repeat(w[:, None], 6, axis=1)


def test_rows_of_the_extended_space(w, synthesis):
    rows = rows_of(w)
    base = synthesis(rows)
    # The last row moves the last image layer alone, the one before that and a convolution.
    moved, both = synthesis(rows.at[:, -1].add(1.0)), synthesis(rows.at[:, -2].add(1.0))
    assert not np.allclose(base, moved) and not np.allclose(moved, both)


@pytest.mark.slow
def test_a_truncation_cutoff_leaves_later_rows(known, z, w, synthesis):
    net, variables = known("generator")
    w_avg = variables["stats"]["mapping"]["w_avg"]
    some = stylegan2.truncated(rows_of(w), w_avg, 0.5, cutoff=2)
    np.testing.assert_array_equal(some[:, 2:], rows_of(w)[:, 2:])
    np.testing.assert_allclose(some[:, 0], (w + w_avg[None]) / 2, atol=1e-6)
    close(run(net, variables, z, psi=0.5, cutoff=2), synthesis(some))


def test_works_under_vmap_and_grad(w, synthesise, synthesis):
    def total(v):
        images = jax.vmap(lambda one: synthesise(one[None])[0])(v)
        return jnp.mean(jnp.square(images)), images

    slope, images = jit(jax.grad(total, has_aux=True))(w)
    np.testing.assert_allclose(images, synthesis(w), atol=2e-5)
    assert np.isfinite(slope).all() and float(jnp.abs(slope).max()) > 0


@pytest.mark.slow
def test_random_noise_needs_strength_and_a_key(known, z, key):
    net, variables = known("generator")
    silent = {
        **variables,
        "params": jax.tree_util.tree_map_with_path(
            lambda path, x: 0.0 * x if path[-1].key == "noise_strength" else x,
            variables["params"],
        ),
    }
    draw = jit(lambda v, k: net.apply(v, z, noise="random", key=k))
    close(draw(silent, key), run(net, silent, z, noise="none"))
    one, other = draw(variables, key), draw(variables, jax.random.key(1))
    assert not np.allclose(one, other)


def test_given_noise_and_styles_replace_a_layers_own(known, w, synthesise, synthesis):
    _, variables = known("generator")
    stored = variables["noise"]["synthesis"]["b16"]["conv1"]["noise_const"][None, :, :, None]
    affine = variables["params"]["synthesis"]["b8"]["conv0"]["affine"]
    own = w @ affine["weight"] / np.sqrt(8, dtype=np.float32) + affine["bias"][None]
    given = jit(
        lambda noise, styles: synthesise(
            rows_of(w), noise={"b16.conv1": noise}, styles={"b8.conv0": styles}
        )
    )
    np.testing.assert_allclose(given(stored, own), synthesis(w), atol=2e-5)
    assert not np.allclose(given(stored, -own), synthesis(w), atol=1e-2)
    assert not np.allclose(given(-stored, own), synthesis(w), atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_half_precision_blocks_are_close(known, z, half):
    net, variables = known("generator")
    mixed = dataclasses.replace(net, num_fp16_res=2, half_dtype=half)
    # 16 x 16 and 8 x 8.
    x, exact = run(mixed, variables, z), run(net, variables, z)
    assert x.dtype == jnp.float32 and not np.array_equal(x, exact)
    np.testing.assert_allclose(x, exact, atol=0.05)


@pytest.mark.slow
def test_the_clamp_bounds_what_an_image_adds(known, z):
    net, variables = known("generator", architecture="orig", conv_clamp=0.25)
    assert float(jnp.abs(run(net, variables, z)).max()) == 0.25


@pytest.mark.slow
def test_recomputed_blocks_are_the_same(known, w):
    net, variables = known("generator")
    again = dataclasses.replace(net, remat_from=16)
    total = lambda n, v: jnp.sum(n.apply(variables, v, method="synthesise"))
    slope = lambda n: jit(jax.grad(lambda v: total(n, v)))
    np.testing.assert_allclose(slope(again)(w), slope(net)(w), rtol=1e-5)


def test_the_average_follows_the_mapped_latents(known, z):
    net, variables = known("generator")
    options = {"update_average": True, "method": "map", "mutable": ["stats"]}
    w, changed = run(net, variables, z, **options)
    old = variables["stats"]["mapping"]["w_avg"]
    expected = 0.995 * old + 0.005 * np.asarray(w).mean(axis=0)
    np.testing.assert_allclose(changed["stats"]["mapping"]["w_avg"], expected, atol=1e-6)


def test_two_functions_of_a_generator(known, z, synthesis):
    net, variables = known("generator")
    others = {k: v for k, v in variables.items() if k != "params"}
    pieces = stylegan2.as_latent_generator(net, variables["params"], others)
    w = jit(pieces.mapping)(z)
    close(w[0], jit(pieces.mapping)(z[0]))
    close(jit(pieces.synthesis)(w), synthesis(w))
    assert (pieces.z_dim, pieces.w_dim, pieces.num_ws) == (8, 8, 6)
    with pytest.raises(ValueError, match="noise='random'"):
        stylegan2.as_latent_generator(net, variables["params"], others, noise="random")


def test_path_lengths(w, synthesise):
    """Of the official code, for y = cos(0.3 k) / 16."""
    noise = np.cos(0.3 * np.arange(2 * 3 * 16 * 16)).reshape(2, 3, 16, 16).transpose(0, 2, 3, 1)
    lengths = jit(lambda v: path_lengths(synthesise, v, jnp.float32(noise)))
    close(lengths(rows_of(w)), [0.222382, 0.196336])


@pytest.mark.slow
def test_a_fresh_generator(key):
    net = stylegan2.Generator(32, z_dim=32, w_dim=32, channel_base=512, channel_max=32)
    z = jax.random.normal(key, (4, 32))
    variables = jit(net.init)(key, z)
    params = variables["params"]
    conv = params["synthesis"]["b8"]["conv0"]
    assert abs(float(conv["weight"].std()) - 1.0) < 0.05
    assert abs(float(params["mapping"]["fc0"]["weight"].std()) - 100.0) < 5.0
    assert float(conv["noise_strength"]) == 0.0 and float(conv["affine"]["bias"][0]) == 1.0
    x = run(net, variables, z)
    assert 0.1 < float(x.std()) < 10.0
    assert stylegan2.average_latent(net, variables, key, 16).shape == (32,)


def test_wrong_settings_and_shapes_are_named(known, z):
    net, variables = known("generator")
    with pytest.raises(ValueError, match="architecture='flat'"):
        stylegan2.Generator(16, architecture="flat").init(jax.random.key(0), jnp.zeros((1, 512)))
    with pytest.raises(ValueError, match="img_resolution=24"):
        stylegan2.Generator(24).init(jax.random.key(0), jnp.zeros((1, 512)))
    with pytest.raises(ValueError, match="pass key="):
        net.apply(variables, z, noise="random")
    with pytest.raises(ValueError, match=r"no layer b32\.conv1"):
        net.apply(variables, z, noise={"b32.conv1": z}, method="synthesise")
    with pytest.raises(ValueError, match=r"ws has shape \(2, 7\)"):
        net.apply(variables, z[:, :7], method="synthesise")
    with pytest.raises(ValueError, match=r"takes \(\.\.\., 8\)"):
        net.apply(variables, z[:, :7])


CONFIGURATIONS = [
    ("stylegan2", 1024, 30_370_060, 29_012_513),
    ("paper256", 256, 24_767_458, 24_001_089),
    ("cifar", 32, 19_947_539, 20_720_641),
]


@pytest.mark.parametrize(("name", "resolution", "of_g", "of_d"), CONFIGURATIONS)
def test_published_configurations(name, resolution, of_g, of_d):
    chosen = stylegan2.configuration(name, resolution)
    generator, discriminator = stylegan2.networks(chosen, resolution)
    slots = weights.slots(generator)
    size = lambda slots: sum(int(np.prod(s.shape)) for s in slots.values() if s.path[0] == "params")
    assert size(slots) == of_g
    assert size(weights.slots(discriminator)) == of_d
    assert generator.num_ws == {1024: 18, 256: 14, 32: 8}[resolution]
    last = f"synthesis.b{resolution}"
    channels = {1024: (64, 32), 256: (128, 64), 32: (512, 512)}[resolution]
    assert slots[f"{last}.conv0.weight"].shape == (channels[1], channels[0], 3, 3)
    assert slots[f"{last}.torgb.weight"].shape == (3, channels[1], 1, 1)
    assert slots[f"{last}.conv1.noise_const"].shape == (resolution, resolution)
    assert slots["synthesis.b4.const"].shape == (512, 4, 4)
    assert slots["mapping.w_avg"].path == ("stats", "mapping", "w_avg")
    assert "synthesis.b4.conv0.weight" not in slots
    layers = 2 if name == "cifar" else 8
    assert f"mapping.fc{layers - 1}.weight" in slots and f"mapping.fc{layers}.bias" not in slots


def test_the_automatic_configuration():
    chosen = stylegan2.configuration("auto", 256, devices=2)
    assert (chosen.batch, chosen.mbstd_group, chosen.channel_base) == (32, 4, 16384)
    np.testing.assert_allclose(chosen.r1_gamma, 0.0002 * 256**2 / 32)
    with pytest.raises(ValueError, match="configuration 'big'"):
        stylegan2.configuration("big", 256)

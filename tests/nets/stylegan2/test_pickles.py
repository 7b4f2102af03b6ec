"""Network files are read as data: faithful ones exactly, hostile ones not at all."""

import builtins
import collections
import importlib.util
import io
import os
import pickle
import pickletools
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

from gmkit.nets import stylegan2
from gmkit.nets.stylegan2 import files, network_files, pickles
from gmkit.nets.stylegan2.pickles import PickleError

HAS_TORCH = importlib.util.find_spec("torch") is not None


# ---------------------------------------------------------------- writing as PyTorch does


class Modules:
    """Stand-ins of torch, torch_utils and dnnlib, in `sys.modules` only while a file is written."""

    def __init__(self, monkeypatch):
        self.patch = monkeypatch
        self.float_storage = self.add("torch", "FloatStorage", type("FloatStorage", (), {}))
        self.load = self.add("torch.storage", "_load_from_bytes")
        self.tensor = self.add("torch._utils", "_rebuild_tensor_v2")
        self.parameter = self.add("torch._utils", "_rebuild_parameter")
        self.persistent = self.add("torch_utils.persistence", "_reconstruct_persistent_obj")
        self.easy = self.add("dnnlib.util", "EasyDict", type("EasyDict", (dict,), {}))

    def add(self, module, name, value=None):
        value = value or (lambda *a: pytest.fail("something was called"))
        value.__module__, value.__qualname__, value.__name__ = module, name, name
        there = sys.modules.get(module)
        if not isinstance(there, types.ModuleType) or not getattr(there, "stand_in", False):
            there = types.ModuleType(module)
            there.stand_in = True
            self.patch.setitem(sys.modules, module, there)
            for parent in ("torch", "torch_utils", "dnnlib"):
                if module.startswith(parent + ".") and parent not in sys.modules:
                    self.patch.setitem(sys.modules, parent, types.ModuleType(parent))
        setattr(there, name, value)
        return value


class Reduced:
    """An object that is pickled as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def storage_stream(modules, array):
    """What `torch.save` of a storage wrote before version 1.6."""
    out = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}):
        pickle.dump(value, out, protocol=2)
    marker = object()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if value is marker:
                return ("storage", modules.float_storage, "7", "cpu", array.size, None)
            return None

    Pickler(out, protocol=2).dump(marker)
    pickle.dump(["7"], out, protocol=2)
    out.write(struct.pack("<q", array.size) + array.tobytes())
    return out.getvalue()


def tensor(modules, array):
    array = np.asarray(array, np.float32)
    storage = Reduced(modules.load, storage_stream(modules, array.ravel(order="K")))
    strides = tuple(s // 4 for s in array.strides)
    hooks = collections.OrderedDict()
    return Reduced(modules.tensor, storage, 0, array.shape, strides, False, hooks)


def module(modules, arrays, class_name="Layer", **state):
    """A module with its source, as torch_utils.persistence saves it."""
    parameters, buffers, children = {}, {}, {}
    for name, array in arrays.items():
        head, _, rest = name.partition(".")
        if rest:
            children.setdefault(head, {})[rest] = array
        elif head in ("w_avg", "noise_const", "resample_filter"):
            buffers[head] = tensor(modules, array)
        else:
            hooks = collections.OrderedDict()
            parameters[head] = Reduced(modules.parameter, tensor(modules, array), True, hooks)
    full = {
        "training": False,
        "weight_gain": np.float64(0.5),
        "_non_persistent_buffers_set": set(),
        "_forward_hooks": collections.OrderedDict(),
        "_parameters": collections.OrderedDict(parameters),
        "_buffers": collections.OrderedDict(buffers, unused=None),
        "_modules": collections.OrderedDict(
            (name, module(modules, inner)) for name, inner in children.items()
        ),
        "_init_args": (),
        "_init_kwargs": {},
        **state,
    }
    source = "raise SystemExit('the source was run')"
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name}
    return Reduced(modules.persistent, {**meta, "state": full})


def official_file(modules, arrays, kwargs, protocol):
    network = module(modules, arrays, "Generator", _init_kwargs=modules.easy(kwargs))
    contents = {
        "training_set_kwargs": modules.easy(path="ffhq.zip", resolution=16),
        "G": None,
        "augment_pipe": None,
        "G_ema": network,
    }
    return pickle.dumps(contents, protocol=protocol)


KWARGS = {
    "z_dim": 8,
    "c_dim": 0,
    "w_dim": 8,
    "img_resolution": 16,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 2},
    "synthesis_kwargs": {"channel_base": 64, "channel_max": 8, "conv_clamp": np.float64(256)},
}


@pytest.mark.parametrize("protocol", [3, 4])
def test_an_official_file(monkeypatch, tmp_path, known, state_dict, protocol):
    net, _ = known("generator")
    arrays = state_dict(net)
    # A kernel that lies in memory channels last, as half-precision training leaves it.
    name = "synthesis.b16.conv0.weight"
    stored = {**arrays, name: np.asfortranarray(arrays[name])}
    with monkeypatch.context() as patch:
        data = official_file(Modules(patch), stored, KWARGS, protocol)
    assert "torch_utils.persistence" not in sys.modules
    found = network_files.networks(data)
    assert list(found) == ["G_ema"]
    assert found["G_ema"].settings["mapping_kwargs"] == {"num_layers": 2}
    assert found["G_ema"].arrays.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(found["G_ema"].arrays[key], array, strict=True)
    path = tmp_path / "network.pkl"
    path.write_bytes(data)
    loaded = stylegan2.from_file(path)
    assert loaded.net.conv_clamp == 256.0 and loaded.net.num_fp16_res == 0
    for key, array in stylegan2.to_official(loaded.net, loaded.variables).items():
        np.testing.assert_array_equal(array, arrays[key], strict=True)
    with pytest.raises(ValueError, match="no network D; it has: G_ema"):
        stylegan2.from_file(path, network="D")


@pytest.fixture
def zipped(monkeypatch):
    """The archive of a view of [[0, 1, 2], [3, 4, 5]] without its first column."""
    array = np.arange(6, dtype=np.float32)
    with monkeypatch.context() as patch:
        modules = Modules(patch)
        marker = object()

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                if value is marker:
                    return ("storage", modules.float_storage, "0", "cpu", 6)
                return None

        hooks = collections.OrderedDict()
        view = Reduced(modules.tensor, marker, 1, (2, 2), (3, 1), False, hooks)
        out = io.BytesIO()
        Pickler(out, protocol=2).dump({"g_ema": collections.OrderedDict(part=view), "step": 3})

    def make(compression=zipfile.ZIP_STORED, order="little", numbers=array):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", compression) as z:
            z.writestr("model/data.pkl", out.getvalue())
            z.writestr("model/byteorder", order)
            z.writestr("model/data/0", numbers.tobytes())
        return archive.getvalue()

    return make


def test_a_zip_file_of_a_state_dict(zipped):
    found = network_files.networks(zipped(), "g_ema")["g_ema"]
    np.testing.assert_array_equal(found.arrays["part"], [[1, 2], [4, 5]])
    with pytest.raises(PickleError, match="not compressed"):
        network_files.networks(zipped(zipfile.ZIP_DEFLATED))
    with pytest.raises(PickleError, match="big-endian"):
        network_files.networks(zipped(order="big"))
    with pytest.raises(PickleError, match="not the 6 numbers"):
        network_files.networks(zipped(numbers=np.zeros(5, np.float32)))


@pytest.mark.skipif(not HAS_TORCH, reason="writes with PyTorch itself")
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_itself(zipped):
    import torch

    half = torch.arange(6, dtype=torch.bfloat16)
    weights = {"a": torch.arange(12.0).reshape(3, 4).t(), "b": torch.nn.Parameter(half)}
    out = io.BytesIO()
    torch.save({"g_ema": weights}, out, _use_new_zipfile_serialization=zipped)
    found = network_files.networks(out.getvalue())["g_ema"].arrays
    np.testing.assert_array_equal(found["a"], np.arange(12.0).reshape(3, 4).T)
    np.testing.assert_array_equal(found["b"], np.arange(6.0))
    # In a plain pickle, as in an official file.
    plain = network_files.networks(pickle.dumps({"g_ema": weights}))["g_ema"].arrays
    np.testing.assert_array_equal(plain["a"], np.arange(12.0).reshape(3, 4).T)


def test_networks_of_the_tensorflow_implementation(monkeypatch):
    """Their pickles are three networks, whose variables are numpy's arrays."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)

    class Network:
        def __init__(self, name, variables, components, **settings):
            self.name, self.variables, self.components = name, variables, components
            self.static_kwargs, self.build_module_src = settings, "raise SystemExit"

    with monkeypatch.context() as patch:
        Modules(patch).add("dnnlib.tflib.network", "Network", Network)
        mapping = Network("mapping", [("Dense0/weight", array), ("Dense0/bias", array[0])], {})
        whole = Network("Gs", [("dlatent_avg", np.asfortranarray(array))], {"mapping": mapping})
        whole.static_kwargs = {"resolution": 16, "fmap_base": np.int64(64)}
        data = pickle.dumps((whole, whole.components["mapping"], whole), protocol=3)
    found = network_files.networks(data)
    assert found.keys() == {"G", "D", "G_ema"}
    arrays = found["G_ema"].arrays
    assert arrays.keys() == {"dlatent_avg", "mapping/Dense0/weight", "mapping/Dense0/bias"}
    np.testing.assert_array_equal(arrays["mapping/Dense0/weight"], array, strict=True)
    np.testing.assert_array_equal(arrays["dlatent_avg"], array, strict=True)
    assert found["G_ema"].settings == {"resolution": 16, "fmap_base": 64}


# ---------------------------------------------------------------- hostile files


def os_system(marker):
    return pickle.dumps(Reduced(os.system, f"touch {marker}"))


def evaluated(marker):
    return pickle.dumps(
        {"G_ema": Reduced(builtins.eval, f"__import__('pathlib').Path({str(marker)!r}).touch()")}
    )


def imported(marker):
    return b"cbuiltins\n__import__\n(S'os'\ntR."


def attribute_of_os(marker):
    out = b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93\x8c\x02os\x8c\x06system\x93"
    return out + b"\x8c\x08__call__\x86R\x8c\x05touch\x85R."


def registered(marker):
    """copyreg, with names that are put together on the stack."""
    return b"\x80\x04\x8c\x07copyreg\x94\x8c\x0e_reconstructor\x93)R."


def attributes_of_a_global(marker):
    """BUILD on a class, to overwrite what it does."""
    return b"\x80\x04ccollections\nOrderedDict\n}\x8c\x06update\x8c\x04evilsb."


def named_by_a_call(marker):
    """STACK_GLOBAL whose names are records."""
    return b"\x80\x04)\x8c\x02os\x93."


def extension(marker):
    return b"\x80\x02\x82\x01."


def instance(marker):
    return b"(S'true'\nios\nsystem\n."


def called_record(marker):
    """The result of a call, called again."""
    return b"\x80\x04cnumpy\ndtype\n)R)R."


def persistent(marker):
    return b"\x80\x02X\x02\x00\x00\x00osQ."


def nested_stream(marker):
    inner = os_system(marker)
    return (
        b"\x80\x04}\x8c\x05G_ema}\x8c\x01aCtorch_placeholder".replace(b"Ctorch_placeholder", b"")
        + b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\nB"
        + struct.pack("<I", len(inner))
        + inner
        + b"\x85RK\x00K\x01\x85K\x01\x85\x89Nt"
        + b"Rss."
    )


HOSTILE = [
    (os_system, "system', which weights never need"),
    (evaluated, "builtins.eval', which weights never need"),
    (imported, "builtins.__import__', which weights never need"),
    (attribute_of_os, "builtins.getattr', which weights never need"),
    (registered, "copyreg._reconstructor', which weights never need"),
    (attributes_of_a_global, "attributes of something that has none"),
    (named_by_a_call, "a global whose name is no string"),
    (extension, "EXT1 has no place"),
    (instance, "has no place"),
    (called_record, "a call of something that is no global"),
    (persistent, "BINPERSID has no place"),
    (nested_stream, "byte|no readable|not a"),
]


def test_the_usual_reader_would_run_them(tmp_path):
    """The markers of the tests below can be made: by Python's own unpickler they are."""
    for i, make in enumerate((evaluated, os_system)):
        pickle.loads(make(tmp_path / str(i)))
        assert (tmp_path / str(i)).exists()


@pytest.mark.parametrize(("make", "line"), HOSTILE, ids=[m.__name__ for m, _ in HOSTILE])
def test_hostile_files_run_nothing(monkeypatch, tmp_path, make, line):
    marker = tmp_path / "ran"
    data = make(marker)
    before = set(sys.modules)
    for name in ("system", "popen"):
        monkeypatch.setattr(os, name, lambda *a: pytest.fail("a command was run"))
    with pytest.raises(PickleError, match=line) as caught:
        network_files.networks(data)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert set(sys.modules) == before
    assert os.path.join is not None and collections.OrderedDict(a=1).copy() == {"a": 1}


def test_the_readers_use_neither_unpickler_nor_import():
    """The machine reads instructions; no module that can execute a pickle is even there."""
    for reader in (pickles, network_files, files):
        names = vars(reader).keys()
        assert not names & {"pickle", "importlib", "torch", "eval", "exec"}


def test_sizes_that_are_not_there():
    for claim in (
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"abc.",
        b"\x80\x04\x8b" + struct.pack("<i", 2**30) + b"abc.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"abc.",
    ):
        with pytest.raises(PickleError):
            network_files.networks(claim)
    # A memo place far away costs no memory.
    assert pickles.load(b"\x80\x02Nr\xff\xff\xff\xff.", lambda name: False)[0] is None


@pytest.fixture
def small(monkeypatch):
    """A file of one tensor, with the sizes that are given."""

    def make(shape, strides=(1,), offset=0, numel=4):
        with monkeypatch.context() as patch:
            modules = Modules(patch)
            raw = storage_stream(modules, np.zeros(4, np.float32))
            raw = raw.replace(b"K\x04N", b"K" + bytes([numel]) + b"N")
            storage = Reduced(modules.load, raw)
            hooks = collections.OrderedDict()
            view = Reduced(modules.tensor, storage, offset, shape, strides, False, hooks)
            return pickle.dumps({"G_ema": {"a": view}})

    return make


def test_tensors_stay_inside_their_storages(small):
    assert network_files.networks(small((4,)))["G_ema"].arrays["a"].shape == (4,)
    for arguments in (
        {"shape": (5,)},
        {"shape": (2,), "strides": (4,)},
        {"shape": (1,), "offset": 4},
        {"shape": (4,), "strides": (1, 1)},
        {"shape": (1,), "offset": -1},
        {"shape": (2,), "strides": (-1,)},
        {"shape": (2**40,), "strides": (0,)},
        {"shape": (4,), "numel": 200},
    ):
        with pytest.raises(PickleError):
            network_files.networks(small(**arguments))


def test_every_truncation_is_one_clear_error(small):
    data = small((4,))
    for length in range(0, len(data), 7):
        with pytest.raises(PickleError):
            network_files.networks(data[:length])


def test_every_flipped_byte_is_data_or_an_error(small, zipped):
    """No damage makes anything but a PickleError, whatever instruction a byte turns into."""
    refused = 0
    for data in (small((4,)), zipped()):
        for i in range(len(data)):
            for change in (0x01, 0x80):
                damaged = data[:i] + bytes([data[i] ^ change]) + data[i + 1 :]
                try:
                    found = network_files.networks(damaged)
                except PickleError:
                    refused += 1
                else:
                    assert all(isinstance(n, network_files.Network) for n in found.values())
    assert refused > 500


def test_shared_parts_do_not_multiply(monkeypatch):
    """A tree of a few modules whose paths would be 2^40."""
    with monkeypatch.context() as patch:
        modules = Modules(patch)
        node = module(modules, {"weight": [1.0]})
        for _ in range(40):
            node = module(modules, {}, _modules={"a": node, "b": node})
        data = pickle.dumps({"G_ema": node})
    with pytest.raises(PickleError, match=r"occurs twice|deep"):
        network_files.networks(data)


def test_settings_that_contain_themselves(monkeypatch):
    loop = []
    loop += [loop] * 50
    with monkeypatch.context() as patch:
        data = pickle.dumps({"G_ema": module(Modules(patch), {}, _init_kwargs={"a": loop})})
    with pytest.raises(PickleError, match="settings that are"):
        network_files.networks(data)


def test_the_instructions_are_a_list():
    """Each one that Python may add is refused until somebody allows it."""
    handled = pickles._LITERALS | pickles._CONSTANTS.keys() | set(pickles._ACTIONS)
    known = {op.name for op in pickletools.opcodes}
    assert handled <= known
    refused = {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "NEWOBJ_EX", "BYTEARRAY8", "LONG4"}
    assert not handled & refused

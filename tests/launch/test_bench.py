"""The benchmark harness."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def test_rates_are_medians_of_calls_after_the_first(monkeypatch):
    from launch import bench

    # The first call takes 100 s, the next ones 1, 2, 3 and 4 s.
    ticks = iter([0, 100, 0, 1, 0, 2, 0, 3, 0, 4])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(ticks)))
    row = bench.measure(bench.Benchmark("b", "things", lambda: jnp.zeros(()), 12, 7.0), 4)
    assert row["compile_seconds"] == 7.0
    assert row["rate"] == (6 + 4) / 2
    # Rates 12, 6, 4 and 3; quartiles by linear interpolation.
    assert row["rate_iqr"] == pytest.approx(7.5 - 3.75)
    assert row["unit"] == "things/s"


def test_the_training_step_is_measured_and_written(tmp_path, monkeypatch, capsys, mean_config):
    from launch import bench

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(__import__("pathlib").Path(mean_config).parent))
    argv = [f"--config={mean_config}", "--filter=train", "--repeats=2", "--json=out.json"]
    assert bench.main(argv) == 0
    assert "train_step" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert row["rate"] > 0 and row["compile_seconds"] > 0
    assert row["repeats"] == 2


def test_mistakes_are_one_line(capsys, mean_config):
    from launch import bench

    for argv, word in (
        (["--filter=nothing"], "train_step, sampler"),
        (["--config=nowhere.py"], "no such file"),
        (["--repeats=1"], "repeats"),
        ([f"--config={mean_config}:zzz"], "zzz"),
    ):
        assert bench.main(argv) == 2
        err = capsys.readouterr().err
        assert err.startswith("gmkit: ")
        assert err.count("\n") == 1
        assert word in err


class Clock:
    """Time that passes only when a side works; remembers who did."""

    def __init__(self):
        self.now, self.turns = 0.0, ""

    def perf_counter(self) -> float:
        return self.now

    def side(self, name: str, seconds, parameters: int = 1):
        from launch import pairs

        lasting = iter(seconds)

        def fn() -> None:
            self.now += next(lasting)
            self.turns += name

        return pairs.Side(fn, parameters, 3.0)


def test_pairs_take_turns_and_are_compared_round_by_round(monkeypatch):
    from launch import pairs

    clock = Clock()
    monkeypatch.setattr(pairs.time, "perf_counter", clock.perf_counter)
    # The first call of each is slow, the second says that two of ours fill a turn; in the
    # third round everything takes four times as long, which the ratio does not see.
    turn = pairs.TURN_SECONDS
    ours = clock.side("o", turn * np.array([50, 0.5, *[0.5] * 4, 2, 2]), 10)
    peer = clock.side("p", turn * np.array([90, 1.0, 1, 2, 8]), 11)
    row = pairs.measure(pairs.Pair("pair/x", "steps", 3.0, ours, peer, "torchy 1"), 3)
    assert clock.turns == "op" + "op" + "oop" * 3
    assert row["rate"] == pytest.approx(3 * 2 / turn)
    assert row["peer_rate"] == pytest.approx(3 / 2 / turn)
    # Ratios 2, 4 and 4.
    assert row["ratio"] == pytest.approx(4.0) and row["ratio_iqr"] == pytest.approx(1.0)
    assert (row["parameters"], row["peer_parameters"]) == (10, 11)
    assert row["unit"] == "steps/s" and row["peer"] == "torchy 1"
    assert row["compile_seconds"] == 3.0 and row["threads"] >= 1 and row["repeats"] == 3


def test_pairs_are_printed_and_written(tmp_path, monkeypatch, capsys):
    from launch import bench, pairs

    clock, asked = Clock(), []
    monkeypatch.setattr(pairs.time, "perf_counter", clock.perf_counter)
    monkeypatch.setattr(pairs, "missing", lambda: [])
    monkeypatch.setenv("COLUMNS", "200")

    def build(name: str):
        asked.append(name)
        ours, peer = clock.side("o", [0.25] * 9), clock.side("p", [0.5] * 9)
        return pairs.Pair(name, "steps", 1.0, ours, peer, "torchy 1")

    monkeypatch.setattr(pairs, "build", build)
    argv = ["--filter=pair/maf/d2", "--repeats=2", f"--json={tmp_path / 'out.json'}"]
    assert bench.main(argv) == 0
    assert asked == [f"pair/maf/d2/{job}" for job in ("train", "log_prob", "sample")]
    out = capsys.readouterr().out
    assert all(word in out for word in ("ours", "peer", "ratio", "pair/maf/d2/sample", "torchy 1"))
    rows = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert [row["ratio"] for row in rows] == [2.0] * 3


def test_pairs_need_their_peers_and_are_run_only_when_asked_for(monkeypatch, capsys):
    from launch import bench, pairs

    monkeypatch.setattr(pairs, "missing", lambda: ["torch", "nflows"])
    assert bench.main(["--filter=pair/maf"]) == 2
    err = capsys.readouterr().err
    assert err == "gmkit: --filter=pair/maf needs torch, nflows: pip install '.[bench]'\n"
    assert not set(pairs.NAMES) & set(bench.BENCHMARKS)
    assert bench.main(["--filter=pair/zzz"]) == 2
    assert "pair/ffjord/d64/train" in capsys.readouterr().err


def test_pairs_of_gans_are_chosen_and_need_their_own_peer(monkeypatch, capsys):
    from launch import bench, gan_pairs, pairs

    monkeypatch.setattr(pairs, "missing", lambda: [])
    monkeypatch.setattr(gan_pairs, "missing", lambda: [])
    names = [f"pair/{gan}/{player}" for gan in ("sngan", "wgan_gp") for player in gan_pairs.PLAYERS]
    assert bench.choose("pair/sngan", bench.PAIRS) == names[:2]
    assert bench.choose("/generator", bench.PAIRS) == names[1::2]
    assert bench.choose("pair/wgan", bench.PAIRS) == names[2:]
    monkeypatch.setattr(gan_pairs, "missing", lambda: ["torch_mimicry"])
    assert bench.choose("pair/maf/d2", bench.PAIRS)  # flows do without
    assert bench.main(["--filter=pair/wgan_gp"]) == 2
    assert capsys.readouterr().err == (
        "gmkit: --filter=pair/wgan_gp needs torch_mimicry: pip install '.[bench]';"
        " pip install --no-deps torch-mimicry\n"
    )


@pytest.mark.slow
def test_a_players_half_moves_it_alone_and_costs_its_share():
    from gmkit import nets, objectives
    from gmkit.core import optim
    from gmkit.methods.lgan import GAN, Settings, learning
    from launch import gan_pairs

    decoder = nets.network_decoder(nets.generator("mlp", (3,), 2, 64), 2)
    gan = GAN(nets.energy("mlp", (3,), 64, False), decoder)
    game, batch = objectives.game("hinge"), {"image": jnp.ones((1, 64, 3))}
    txs = {name: optim.optimizer(**gan_pairs.OPTIMIZER) for name in gan_pairs.PLAYERS}
    settings = Settings(n_critic=1, generator_factor=1, ema_decay=0.0, unroll=True)
    init, both = learning.learner(gan, game, None, txs, settings, "image")
    state = init(jax.random.key(0), {"image": batch["image"][0]})
    flops = [jax.jit(both).lower(state, batch).compile().cost_analysis()["flops"]]
    for player in gan_pairs.PLAYERS:
        init, step = gan_pairs.alone(player, gan, game, None)
        state = init(jax.random.key(0), {"image": batch["image"][0]})
        compiled = jax.jit(step).lower(state, batch).compile()
        new, metrics = compiled(state, batch)
        same = jax.tree.map(lambda a, b: bool((a == b).all()), state.params, new.params)
        for name in gan_pairs.PLAYERS:
            assert all(jax.tree.leaves(same[name])) == (name != player)
        assert [k for k in metrics if k.startswith("loss/")] == [f"loss/{player}"]
        flops.append(compiled.cost_analysis()["flops"])
    assert sum(flops[1:]) == pytest.approx(flops[0], rel=0.02) and min(flops[1:]) > 0.2 * flops[0]


def test_threads_are_cpus_of_the_process(monkeypatch, capsys):
    from launch import bench

    kept = []
    monkeypatch.setattr(bench.os, "sched_getaffinity", lambda pid: {3, 1, 5}, raising=False)
    monkeypatch.setattr(
        bench.os, "sched_setaffinity", lambda pid, cpus: kept.append(cpus), raising=False
    )
    bench.limit_threads(2)
    assert kept == [[1, 3]]
    assert bench.main(["--filter=train_step", "--threads=4"]) == 2
    assert "--threads=4: this process may use 3 CPUs" in capsys.readouterr().err
    monkeypatch.delattr(bench.os, "sched_setaffinity")
    assert bench.main(["--filter=train_step", "--threads=1"]) == 2
    assert "--threads=1: this system" in capsys.readouterr().err


@pytest.fixture
def peers():
    from launch import pairs

    if pairs.missing():
        pytest.skip("needs the extra bench")
    from launch import peers

    return peers


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("d", [2, 64])
def test_peers_have_as_many_parameters_and_do_their_jobs(d: int, peers):
    from launch import pairs

    rows = pairs.batch(d)[:8]
    for setting in pairs.SETTINGS.values():
        params = jax.eval_shape(setting.ours(d).init, jax.random.key(0), jnp.asarray(rows))
        module = setting.peer(peers, d)
        assert peers.count(module) == sum(leaf.size for leaf in jax.tree.leaves(params))
        before = np.mean(peers.evaluator(module, rows, 0.0)().numpy())
        step = peers.trainer(module, rows, 1e-3)
        assert np.isfinite(step()) and [step() for _ in range(8)][-1] < -before
        assert peers.sampler(module, rows, 0.0)().shape == (8, d)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("job", ["train", "log_prob", "sample"])
def test_the_continuous_peer_solves_the_same_equation(job: str, peers):
    from launch import pairs

    pair = pairs.build(f"pair/ffjord/d2/{job}")
    assert pair.ours.parameters == pair.peer.parameters
    assert pair.ours.evaluations == pytest.approx(pair.peer.evaluations, rel=0.5)
    ours, peer = pair.ours.fn(), pair.peer.fn()
    # Each draws its own probes and latents.
    assert np.mean(ours) == pytest.approx(np.mean(np.asarray(peer)), abs=0.15)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("player", ["critic", "generator"])
@pytest.mark.parametrize("gan", ["sngan", "wgan_gp"])
def test_the_peers_gans_are_as_large_and_learn(gan: str, player: str):
    from launch import gan_pairs

    if gan_pairs.missing():
        pytest.skip("needs torch-mimicry")
    from launch import gan_peers

    networks = gan_peers.networks(gan, 128, gan_pairs.WIDTHS["generator"], 32)
    rows = gan_pairs.images()[:8]
    init, _ = gan_pairs.alone(player, gan_pairs.model(gan), gan_pairs.objectives.game("x"), None)
    params = jax.eval_shape(init, jax.random.key(0), {"image": jnp.asarray(rows)}).params
    for name, module in networks.items():
        assert gan_peers.count(module) == sum(leaf.size for leaf in jax.tree.leaves(params[name]))
    step = gan_peers.trainer(networks, player, rows, 1e-3, 0.0, 0.9)
    losses = [step()["errD" if player == "critic" else "errG"] for _ in range(8)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]

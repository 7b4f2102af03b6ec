"""Command line to settings."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def parse(tmp_path, monkeypatch):
    from launch import flags

    monkeypatch.chdir(tmp_path)
    return flags.parse


@pytest.mark.parametrize("number", ["1e3", "1000", "1000.0", "1E3"])
@pytest.mark.parametrize("form", ["--config.training.steps={}", "-config.training.steps={}"])
def test_whole_numbers_in_any_spelling_fit_integer_fields(parse, mean_config, number, form):
    config = parse([f"--config={mean_config}", form.format(number)]).config
    assert config.training.steps == 1000
    assert isinstance(config.training.steps, int)


def test_values_may_be_words_of_their_own(parse, mean_config):
    argv = ["--config", mean_config, "--config.training.steps", "1e3", "--workdir", "here"]
    command = parse([*argv, "--config.learning_rate", "1"])
    assert command.config.training.steps == 1000
    assert command.config.learning_rate == 1.0
    assert str(command.workdir) == "here"


def test_overrides_keep_their_types(parse, mean_config):
    argv = [f"--config={mean_config}:two_stage", "--config.shape=(3,4)"]
    argv += ["--config.start.learning_rate=1e-3", "--noconfig.training.tensorboard"]
    config = parse(argv).config
    assert config.shape == (3, 4)
    assert config.start.learning_rate == 1e-3
    assert config.training.tensorboard is False
    assert config.is_locked


def test_the_last_override_counts_and_may_stand_before_the_config(parse, mean_config):
    argv = ["--config.seed=1", f"--config={mean_config}", "--config.seed=2"]
    assert parse(argv).config.seed == 2


@pytest.mark.parametrize(("preset", "name"), [("", "default"), (":two_stage", "two_stage")])
def test_default_workdir_says_config_preset_and_time(parse, mean_config, preset, name):
    workdir = str(parse([f"--config={mean_config}{preset}"]).workdir)
    assert re.fullmatch(rf"runs/mean-{name}-\d{{8}}-\d{{6}}", workdir)


def test_config_paths_are_relative_to_here_then_to_the_checkout(parse, tmp_path):
    from launch import flags

    lines = ["import ml_collections as ml", "def get_config():", "  return ml.ConfigDict({'a': 1})"]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    assert parse(["--config=mine.py"]).config.a == 1
    for path in flags.config_files():
        assert parse([f"--config=configs/{path.name}"]).config is not None


def test_every_config_has_a_docstring_presets_and_a_smoke_preset(parse):
    from launch import flags

    for name, line, presets in flags.listing():
        assert line, f"{name} has no docstring"
        assert {"default", "smoke"} <= set(presets), f"{name}: PRESETS={presets}"
        for preset in presets:
            assert parse([f"--config={name}:{preset}"]).config is not None


def test_compilation_cache_can_be_off(parse, mean_config):
    assert parse([f"--config={mean_config}", "--compilation_cache=off"]).compilation_cache is None
    default = parse([f"--config={mean_config}"]).compilation_cache
    assert default is not None
    assert "~" not in default


def test_nearest_looks_at_the_last_part_of_a_field_too():
    from launch.flags import nearest

    known = ["optim.energy.learning_rate", "seed"]
    assert (
        nearest("optim.energy.learning_rat", known) == "; did you mean optim.energy.learning_rate?"
    )
    assert nearest("learning_rate", known) == "; did you mean optim.energy.learning_rate?"
    assert nearest("zzz", known) == ""

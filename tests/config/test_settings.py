"""Settings: every mistake is one line that says what, where and what is allowed."""

import dataclasses
import json
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compad_jax.config import (
    Config,
    default_config,
    from_dict,
    load_json,
    save_json,
    to_dict,
)
from compad_jax.config.checks import KINDS, Choice, ConfigError, differences, require_equal
from tests.builders import with_setting


def _refusal(values):
    with pytest.raises(ConfigError) as error:
        from_dict(values)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_defaults_are_valid():
    assert from_dict({}) == Config()
    assert from_dict(to_dict(Config())) == Config()
    assert from_dict(default_config().to_dict()) == Config()


def test_missing_fields_take_their_defaults():
    config = from_dict({"env": {"grid_size": 5}, "source": {"ppo": {"lr": 0.1}}})
    assert config.env == dataclasses.replace(Config().env, grid_size=5)
    assert config.source.ppo == dataclasses.replace(Config().source.ppo, lr=0.1)
    assert config.model == Config().model


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().env.grid_size = 3


def _leaves(cls, where=""):
    """(dotted path, annotation) of every setting."""
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from _leaves(hint, f"{where}{name}.")
        else:
            yield f"{where}{name}", hint


_LEAVES = dict(_leaves(Config))
_KINDS = {name: (typing.get_args(hint) or (hint,))[0] for name, hint in _LEAVES.items()}


@pytest.mark.parametrize("path", _LEAVES)
def test_every_leaf_checks_its_type(path):
    wrong = [None, [1], {"a": 1}, b"x"]
    wrong += [value for value in ("1", 0.5, True) if type(value) is not _KINDS[path]]
    for value in wrong:
        message = _refusal(with_setting(path, value))
        assert message == f"{path}={value!r}: must be {KINDS[_KINDS[path]]}"


@pytest.mark.parametrize("path", [p for p, kind in _KINDS.items() if kind is int])
def test_every_int_has_a_lowest_value(path):
    for value in (-2 if path == "env.wait" else -1, -(10**9)):  # Its -1 stands for no number.
        assert _refusal(with_setting(path, value)).startswith(f"{path}={value}: must be at least ")


@pytest.mark.parametrize("path", [p for p, kind in _KINDS.items() if kind is float])
def test_every_float_has_bounds(path):
    for value in (-1e-9, float("-inf"), float("inf"), float("nan")):
        assert _refusal(with_setting(path, value)).startswith(f"{path}={value!r}: must be ")


def _has_choice(hint):
    return any(isinstance(rule, Choice) for rule in typing.get_args(hint))


@pytest.mark.parametrize("path", [p for p, hint in _LEAVES.items() if _has_choice(hint)])
def test_every_choice_names_what_is_allowed(path):
    message = _refusal(with_setting(path, "other"))
    assert message.startswith(f"{path}='other': allowed are ")
    for word in message.split("allowed are ")[1].split(", "):
        from_dict(with_setting(path, word))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train.log_every", 0, "train.log_every=0: must be at least 1"),
        ("env.split_seed", -1, "env.split_seed=-1: must be at least 0"),
        ("model.tf_dropout", 1.0, "model.tf_dropout=1.0: must be at least 0 and below 0.998046875"),
        ("optimizer.lr", 0, "optimizer.lr=0.0: must be above 0"),
        ("env.foo", 1, "env.foo: no such setting; known here are name, num_tasks, wait"),
        ("foo", 1, "foo: no such setting; known here are env, source, data"),
        ("env.gridsize", 1, "env.gridsize: no such setting; did you mean env.grid_size?; known"),
        ("env", 3, "env=3: must be a group of settings"),
        ("source.ppo", 3, "source.ppo=3: must be a group of settings"),
        ("source.ppo.foo", 3, "source.ppo.foo: no such setting"),
    ],
)
def test_one_wrong_setting(path, value, message):
    assert _refusal(with_setting(path, value)).startswith(message)


def test_an_int_is_taken_for_a_float():
    lr = from_dict(with_setting("optimizer.lr", 1)).optimizer.lr
    assert (lr, type(lr)) == (1.0, float)


_CUTS = {"whole_history": False}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"data": _CUTS | {"min_compress_length": 21}}, "data.min_compress_length=21"),
        ({"data": _CUTS | {"min_uncompressed_length": 21}}, "data.min_uncompressed_length=21"),
        ({"data": _CUTS | {"max_compress_length": 30}}, "a window holds only"),
        ({"data": {"max_uncompressed_length": 30}}, "data.whole_history: needs"),
        ({"model": {"tf_n_head": 5}}, "model.tf_n_embd=64: must be a multiple of tf_n_head=5"),
        ({"model": {"encoder_n_head": 7}}, "must be a multiple of encoder_n_head=7"),
        ({"model": {"n_latent": 0, "reconstruction_weight": 0.1}}, "nothing to reconstruct"),
        ({"train": {"train_timesteps": 1010}}, "train.train_timesteps=1010: must be a multiple"),
        ({"train": {"checkpoint_every": 50}}, "train.checkpoint_every=50: must be a multiple"),
        ({"train": {"eval_every": 50}}, "train.eval_every=50: must be a multiple of"),
        ({"optimizer": {"num_warmup_steps": 1000}}, "optimizer.num_warmup_steps=1000"),
        ({"data": _CUTS | {"max_compression_depth": 20}}, "the longest window has 420 steps"),
    ],
)
def test_impossible_combinations(changes, part):
    assert part in _refusal(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": _CUTS | {"max_compression_depth": 19}},  # Exactly as long as a history.
        {"data": _CUTS | {"max_compression_depth": 50}, "model": {"n_latent": 0}},
        {"data": {"max_uncompressed_length": 30}, "model": {"n_latent": 0}},
        {"optimizer": {"num_warmup_steps": 999}},
        {"model": {"n_latent": 0, "reconstruction_weight": 0.0}},
    ],
)
def test_possible_combinations(changes):
    from_dict(changes)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(tmp_path_factory.mktemp("config") / "config.json")


@settings(deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    ratio=st.floats(0, 1, exclude_max=True),
    start=st.sampled_from(["center", "corner", "random"]),
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
)
def test_json_round_trip(path, seed, ratio, start, name):
    env = {"split_seed": seed, "train_env_ratio": ratio, "start": start, "name": name}
    config = from_dict({"env": env})
    save_json(config, path)
    assert load_json(path) == config


def test_saved_json_is_plain(tmp_path):
    save_json(Config(), str(tmp_path / "config.json"))
    assert json.loads((tmp_path / "config.json").read_text()) == to_dict(Config())


def test_differences():
    old = {"a": 1, "b": {"c": 2, "d": 3}, "e": 4}
    new = {"a": 1, "b": {"c": 5, "d": 3}, "f": 6}
    assert differences(old, new) == [("b.c", 2, 5), ("e", 4, None), ("f", None, 6)]
    assert differences(old, old) == []
    assert differences({"a": {"b": 1}}, {"a": 2}) == [("a", {"b": 1}, 2)]


def test_require_equal():
    require_equal("here", {"a": 1}, {"a": 1}, "go away")
    with pytest.raises(ConfigError) as error:
        require_equal("here", {"a": 1, "b": {"c": "x"}}, {"a": 2, "b": {"c": "y"}}, "go away")
    expected = "here: made with other settings (a 1, now 2; b.c 'x', now 'y'); go away"
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.tf_dropout", 0.999, "must be at least 0 and below 0.998046875"),
        ("model.tf_attn_dropout", 0.9985, "below 0.998046875"),
        ("train.seed", 2**32, "must be at least 0 and below 4294967296"),
        ("source.seed", 2**40, "below 4294967296"),
        ("eval.seed", 2**32, "below 4294967296"),
        ("env.split_seed", 2**32, "below 4294967296"),
        ("train.init_checkpoint", "newest", "allowed are , latest, best"),
    ],
)
def test_numbers_that_would_be_rounded_or_cut_off_are_refused(path, value, message):
    group, name = path.split(".")
    with pytest.raises(ConfigError, match=f"{path}={value!r}: .*{message}"):
        from_dict({group: {name: value}})

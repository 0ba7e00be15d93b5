"""Whatever is wrong with the settings is told in one line that names the setting, before any file.

Properties: `hypothesis` draws what people and programs may write.
"""

import functools
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compad_jax.config import Config, ConfigError, from_dict, to_dict
from compad_jax.config.command_line import Arguments, parse_arguments
from compad_jax.training.preflight import check_settings
from compad_jax.training.run_directory import claim_workdir
from tests.builders import override, with_setting

_FILE = os.path.abspath("configs/debug.py")
_MANY = functools.partial(settings, deadline=None, derandomize=True, database=None)
_WRONG = {  # By the type of the setting: values that no setting of it takes.
    int: [-7, 2**40, 1.5, "many", True, None, [1], float("nan")],
    float: [float("nan"), float("inf"), -1.0, 1e39, 10**400, "high", True, None, [0.1]],
    bool: [3, 1.0, "maybe", None],
    str: [3, None, ["a"], "a\0b", True],
}


def _leaves(values, where=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{where}{name}.")
        else:
            yield f"{where}{name}", value


_LEAVES = dict(_leaves(to_dict(Config())))
_PATHS = sorted(_LEAVES)


def _is_one_line(error):
    return "\n" not in str(error) and len(str(error)) > 10


@_MANY(max_examples=300)
@given(data=st.data(), path=st.sampled_from(_PATHS))
def test_a_wrong_value_is_named(data, path):
    value = data.draw(st.sampled_from(_WRONG[type(_LEAVES[path])]))
    with pytest.raises(ConfigError) as error:
        from_dict(with_setting(path, value))
    assert str(error.value).startswith(f"{path}=")
    assert _is_one_line(error.value)


@_MANY(max_examples=60)
@given(path=st.sampled_from(_PATHS), name=st.text(max_size=5), value=st.none() | st.integers())
def test_what_is_no_setting_is_named(path, name, value):
    group = path.rsplit(".", 1)[0]
    with pytest.raises(ConfigError, match=f"^{group}="):
        from_dict(with_setting(group, value))
    with pytest.raises(ConfigError) as error:
        from_dict(with_setting(f"{group}.no{name.replace('.', '')}", value))
    assert str(error.value).startswith(f"{group}.no")


_TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=6),
    st.integers(-3, 60).map(str),
    st.sampled_from(["", "nan", "inf", "-inf", "1e400", "0.999999", "True", "None", "[1]", "2**9"]),
    st.sampled_from(["ppo", "ucb", "dark_goals", "delayed_bandit", "corner", "optimal", "muon"]),
)


@_MANY(max_examples=200)
@given(path=st.sampled_from(_PATHS), text=_TEXTS)
@example(path="data.max_uncompressed_length", text="5")
def test_a_setting_on_the_command_line_is_taken_or_named(path, text):
    try:
        arguments = parse_arguments(["", "--config", _FILE, f"--config.{path}={text}"])
        check_settings(arguments.config, is_new=True)
    except ConfigError as error:
        assert path.rsplit(".", 1)[-1] in str(error)
        assert _is_one_line(error)


_WORDS = [
    *("--config", _FILE, f"--config={_FILE}", "--config=", "--config.", "--config.env", "--conf"),
    *("--workdir", "--workdir=", "--compare", "--nocompare", "--checkpoint", "--checkpoint=x"),
    *("--stopped_exit_code", "--stopped_exit_code=0", "--stopped_exit_code=75", "--init_from"),
    *("--", "-", "stray", "=", "", "--=", "--config.model.n_latent", "8", "~/x", "--flagfile=x"),
    *("--config.data.whole_history", "False", "--noconfig.data.whole_history", "--undefok"),
]


@_MANY(max_examples=150)
@given(words=st.lists(st.sampled_from(_WORDS), max_size=5))
def test_any_words_are_understood_or_refused(words):
    try:
        assert isinstance(parse_arguments(["", *words]), Arguments)
    except ConfigError as error:
        assert _is_one_line(error)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"train": {"train_batch_size": 9}}, r"^train\.train_batch_size=9: must be a multiple"),
        ({"env": {"train_env_ratio": 0.01}}, r"^env\.train_env_ratio=0.01, .* empty part"),
        ({"env": {"num_tasks": 26}}, r"^env\.num_tasks=26: the family has only 25"),
        ({"env": {"horizon": 3}}, r"^env\.horizon=3: too short for some goals; must be at least 4"),
        ({"source": {"num_streams": 2**30}}, r"^source\.num_streams=1073741824: "),
        ({"source": {"name": "ucb"}}, r"^source\.name='ucb': needs"),
        (
            {
                "source": {"name": "ppo", "target": "optimal"},
                "env": {"name": "delayed_bandit", "num_tasks": 9, "max_wait": 3},
            },
            r"^source\.name='ppo': needs",
        ),
        ({"train": {"init_from": "nowhere"}}, r"^train\.init_from='nowhere': no trained run"),
    ],
)
def test_nothing_is_made_for_settings_that_allow_no_training(
    debug_config, elsewhere, groups, message
):
    with pytest.raises(ConfigError, match=message):
        claim_workdir(override(debug_config, **groups), "run")
    assert not os.listdir(".")


def test_a_start_that_does_not_fit_is_found_before_any_file(debug_config, elsewhere):
    claim_workdir(debug_config, "trained")
    Path("trained/checkpoints/20").mkdir(parents=True)
    start = {"init_from": "trained"}
    check_settings(override(debug_config, train=start, model={"n_latent": 0}), is_new=True)
    wider = override(debug_config, train=start, model={"tf_n_embd": 32})
    with pytest.raises(ConfigError, match=r"^train\.init_from=.*cannot be taken"):
        claim_workdir(wider, "run")
    assert not Path("run").exists()
    check_settings(wider, is_new=False)  # It goes on from a checkpoint of its own.

"""Parts of batches and pieces of windows leave losses and gradients as they are, in less memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.models import unroll
from compad_jax.models.policy import apply_method
from compad_jax.training.objective import loss_fn
from compad_jax.training.parts import WHOLE, Parts, plan_parts, split_into_parts
from compad_jax.training.step import make_gradient, make_measure
from tests.builders import cut, make_model, override, random_transitions

_SMOOTHING, _BATCH = 0.1, 8


def _mesh(num_devices):
    return jax.make_mesh(
        (num_devices,),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.devices()[:num_devices],
    )


def _model(debug_config, **model):
    data = {"min_compress_length": 1, "max_compress_length": 5}
    return make_model(override(debug_config, data=data, model={"n_latent": 3} | model))


def _ragged(policy, num_segments, batch=_BATCH):
    """Windows of unequal segments; some tokens, and all of one window, are no targets."""
    noise = np.random.default_rng(0)
    lengths = [5] * (num_segments - 1) + [12]
    history = random_transitions(jax.random.key(0), policy.spec, (batch, sum(lengths)))
    segments = cut(history, lengths, 12)
    longest = noise.integers(1, np.array(lengths) + 1, (batch, num_segments))
    mask = segments.mask & (np.arange(12) < longest[..., None])
    is_target = mask & (noise.random(mask.shape) < 0.7) & (np.arange(batch) != 1)[:, None, None]
    floor = noise.random(mask.shape).astype(np.float32)
    return segments._replace(mask=mask, is_target=is_target, floor=jnp.asarray(floor))


def _gradient(policy, segments, params, *, num_devices=1, parts=WHOLE, dropout=True):
    gradient = make_gradient(policy, _SMOOTHING, dropout, _mesh(num_devices), parts)
    return jax.device_get(jax.jit(gradient)(params, segments, jax.random.key(5)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("bptt_depth", "ways"),
    [
        (0, ((1, Parts(4, ((3, 2), (0, 2)), (2, 4, 9))), (2, Parts(2, ((3, 2),), (4, 9))))),
        pytest.param(2, ((2, Parts(2, ((3, 2),), (4, 9))),), marks=pytest.mark.exhaustive),
        pytest.param(0, ((1, Parts(2)), (2, WHOLE), (2, Parts(4))), marks=pytest.mark.exhaustive),
    ],
)
def test_parts_and_devices_change_neither_gradient_nor_metrics(debug_config, bptt_depth, ways):
    """Dropout is on, segments are ragged and cut, and parts have unequal numbers of targets."""
    model = {"tf_dropout": 0.3, "tf_attn_dropout": 0.3, "reconstruction_weight": 0.5}
    policy, params = _model(debug_config, bptt_depth=bptt_depth, **model)
    segments = _ragged(policy, 4)
    expected = _gradient(policy, segments, params)
    assert expected[1].depth_tokens.min() > 0
    for num_devices, parts in ways:
        found = _gradient(policy, segments, params, num_devices=num_devices, parts=parts)
        chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


def _oracle(policy, params, segments, depth):
    """Loss and gradient by a plain loop over pieces, each differentiated by itself."""
    call = functools.partial(apply_method, policy)
    at = [jax.tree.map(lambda x, i=i: x[:, i], segments) for i in range(segments.mask.shape[1])]
    count = segments.is_target.sum()

    def decode(params, memory, segment):
        embeddings = call(params, "embed", segment.tokens)
        latents = call(params, "read", memory)
        log_probs = jax.nn.log_softmax(call(params, "decode", latents, embeddings)[0])
        chosen = jnp.take_along_axis(log_probs, segment.action[..., None], -1)[..., 0]
        loss = (1 - _SMOOTHING) * chosen + _SMOOTHING * log_probs.mean(-1)
        return -jnp.where(segment.is_target, loss, 0).sum() / count

    def piece(params, memory, start, stop):
        total = 0.0
        if start == 0:
            memory = call(params, "initial_memory", len(segments.mask))
            total += decode(params, memory, at[0])
        for index in range(start, stop):
            embeddings = call(params, "embed", at[index].tokens)
            memory = call(params, "write", memory, embeddings[:, :5], at[index].mask[:, :5])
            total += decode(params, memory, at[index + 1])
        return total, memory

    loss, gradient, memory = 0.0, jax.tree.map(jnp.zeros_like, params), None
    stops = sorted(range(len(at) - 1, 0, -depth))
    for start, stop in zip([0, *stops], stops, strict=False):
        (value, memory), more = jax.value_and_grad(piece, has_aux=True)(
            params, jax.lax.stop_gradient(memory), start, stop
        )
        loss, gradient = loss + value, jax.tree.map(jnp.add, gradient, more)
    return loss, gradient


_MORE = pytest.mark.exhaustive


def _fast(policy, params, segments):
    differentiate = jax.value_and_grad(loss_fn, has_aux=True)
    run = jax.jit(lambda p, s: differentiate(p, policy, s, _SMOOTHING))
    (loss, metrics), gradient = run(params, segments)
    return loss, gradient, metrics


@pytest.mark.parametrize(  # Of 5 compressions: 2 and 3 leave a rest.
    "depth", [pytest.param(1, marks=_MORE), 2, pytest.param(3, marks=_MORE)]
)
def test_pieces_equal_a_loop_that_stops_gradients(debug_config, depth):
    policy, params = _model(debug_config, bptt_depth=depth)
    segments = _ragged(policy, 6, batch=2)
    loss, gradient, _ = _fast(policy, params, segments)
    expected = jax.jit(lambda p, s: _oracle(policy, p, s, depth))(params, segments)
    chex.assert_trees_all_close((loss, gradient), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", ["replace", "none"])
def test_truncation_is_that_of_the_plain_unroll(debug_config, rule):
    policy, params = _model(debug_config, bptt_depth=2, memory_update=rule)
    segments = _ragged(policy, 6, batch=2)

    def plain(params):
        log_probs = jax.nn.log_softmax(unroll(policy, params, segments).logits)
        target = (1 - _SMOOTHING) * jax.nn.one_hot(segments.action, 5) + _SMOOTHING / 5
        loss = -(target * log_probs).sum(-1) * segments.is_target
        return loss.sum() / segments.is_target.sum()

    expected = jax.jit(jax.value_and_grad(plain))(params)
    loss, gradient, _ = _fast(policy, params, segments)
    chex.assert_trees_all_close((loss, gradient), expected, rtol=1e-5, atol=1e-5)


def test_pieces_change_no_loss_and_long_ones_no_gradient(debug_config):
    outcomes = {}
    for depth in (0, 9, 2):
        model = {"bptt_depth": depth, "reconstruction_weight": 0.7}
        policy, params = _model(debug_config, **model)
        outcomes[depth] = _fast(policy, params, _ragged(policy, 6, batch=2))
    chex.assert_trees_all_close(outcomes[9], outcomes[0], rtol=1e-5, atol=1e-5)
    losses = [(loss, metrics) for loss, _, metrics in outcomes.values()]
    chex.assert_trees_all_close(losses[-1], losses[0], rtol=1e-5, atol=1e-5)
    short, full = (outcomes[depth][1]["embedding"]["kernel"] for depth in (2, 0))
    assert not np.allclose(short, full)
    assert losses[0][1].reconstruction > 1


def test_measuring_works_in_parts_and_pieces(debug_config):
    outcomes = []
    for depth, num_parts in ((0, 1), (2, 4)):
        policy, params = _model(debug_config, bptt_depth=depth)
        batches = jax.tree.map(lambda x: x[None], _ragged(policy, 6))
        outcomes.append(make_measure(policy, _SMOOTHING, num_parts)(params, batches))
    chex.assert_trees_all_close(outcomes[1], outcomes[0], rtol=1e-5, atol=1e-5)


def _memory(program, *arguments):
    """Bytes that a program needs beside what it is given and returns."""
    return jax.jit(program).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_parts_need_less_memory(debug_config):
    policy, params = _model(debug_config, tf_n_embd=64, tf_dim_feedforward=256)
    segments, key = _ragged(policy, 4, batch=64), jax.random.key(0)
    one, two, four = (
        _memory(make_gradient(policy, 0.1, False, _mesh(1), Parts(n)), params, segments, key)
        for n in (1, 2, 4)
    )
    assert two < 0.65 * one
    assert four < 0.65 * two


@pytest.mark.slow
@pytest.mark.parametrize("is_gradient", [True, False])
def test_memory_does_not_grow_with_the_window(debug_config, is_gradient):
    """Beside the tokens, which are copied once when they are cut in pieces."""

    run = jax.grad(loss_fn, has_aux=True) if is_gradient else loss_fn

    def grown(depth):
        """Bytes that ten times the segments need in addition, a byte of theirs."""
        policy, params = _model(debug_config, bptt_depth=depth)
        sizes = []
        for num_segments in (40, 400):
            segments = _ragged(policy, num_segments)
            needed = _memory(lambda p, s: run(p, policy, s, 0.1)[1 - is_gradient], params, segments)
            sizes.append((needed, sum(x.nbytes for x in jax.tree.leaves(segments))))
        (short, short_tokens), (long, long_tokens) = sizes
        return (long - short) / (long_tokens - short_tokens)

    assert grown(4) < 1.5
    assert grown(0) > 3


@pytest.mark.parametrize(
    ("size", "num_devices", "parts"), [(0, 2, 1), (24, 1, 1), (6, 1, 4), (6, 2, 2), (20, 2, 1)]
)
def test_parts_follow_from_the_windows_of_a_device(debug_config, size, num_devices, parts):
    train = {"train_batch_size": 24, "micro_batch_size": size}
    config = override(debug_config, train=train)
    assert plan_parts(config, _mesh(num_devices)).number == parts


@pytest.mark.parametrize(
    ("share", "length", "backend", "parts"),
    [
        (128, 80, "cpu", 16),  # Of 8 windows of 100 positions.
        (128, 80, "gpu", 1),
        (12, 20, "cpu", 1),  # 480 positions fit.
        (12, 220, "cpu", 4),  # 3 windows of 240, not 4: the nearer to 800.
        (13, 80, "cpu", 1),  # Parts of single windows would be too thin.
        (3, 5000, "cpu", 3),
    ],
)
def test_parts_stay_in_the_cache_of_a_cpu(debug_config, monkeypatch, share, length, backend, parts):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    names = ("max_compress_length", "max_uncompressed_length")
    config = override(
        debug_config,
        data=dict.fromkeys(names, length),
        model={"n_latent": 20},
        source={"num_steps": 15_000},
        train={"train_batch_size": 2 * share},
    )
    assert plan_parts(config, _mesh(2)).number == parts


def test_unequal_parts_are_refused(debug_config):
    config = override(debug_config, train={"train_batch_size": 24, "micro_batch_size": 5})
    message = r"^train\.micro_batch_size=5: must divide the 12 windows that each of 2 devices has"
    with pytest.raises(ConfigError, match=message):
        plan_parts(config, _mesh(2))


def test_what_differs_most_is_sorted_first(debug_config):
    data = {
        "whole_history": False,
        "max_compression_depth": 2,
        "min_compress_length": 20,
        "max_compress_length": 40,
        "min_uncompressed_length": 15,
        "max_uncompressed_length": 80,
    }
    train = {"train_batch_size": 48, "micro_batch_size": 2}
    config = override(debug_config, data=data, train=train, source={"num_steps": 200})
    # Of the last segment, lengths differ by 65, then 32, then 16; of the others by 20.
    expected = Parts(12, ((2, 2), (2, 2), (0, 3)), tuple(range(16, 80, 8)))
    assert plan_parts(config, _mesh(2)) == expected
    wide = override(config, data={"max_uncompressed_length": 120}, source={"num_steps": 400})
    assert plan_parts(wide, _mesh(2)).cuts == (16, 32, 48, 64, 80, 96, 112)
    equal = override(config, data={"min_compress_length": 40, "min_uncompressed_length": 80})
    assert plan_parts(equal, _mesh(2)) == Parts(12)


def test_windows_of_a_part_are_alike():
    lengths = np.random.default_rng(0).integers(1, [21, 81], (64, 2))
    windows, sorting = jnp.arange(64), ((1, 4), (0, 2))
    parts = np.asarray(split_into_parts(windows, jnp.asarray(lengths), Parts(8, sorting)))
    chex.assert_shape(parts, (8, 8))
    np.testing.assert_array_equal(np.sort(parts.ravel()), np.arange(64))
    pairs = lengths[parts].reshape(4, 2, 8, 2)
    of_last = pairs[..., 1].reshape(4, 16)
    assert (of_last.max(1)[:-1] <= of_last.min(1)[1:]).all()
    assert (pairs[:, 0, :, 0].max(1) <= pairs[:, 1, :, 0].min(1)).all()

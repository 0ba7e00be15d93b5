"""The policy in NumPy, from its equations, with parameters read by their names; float64."""

import numpy as np


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def _dense(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def _norm(p, x):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * p["scale"] + p["bias"]


def _feed_forward(p, x):
    x = _dense(p["wide"], _norm(p["norm"], x))
    x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return _dense(p["out"], x)


def _attention(query, key, value, seen, num_heads):
    """[Q, D] query, [L, D] key and value, bool [Q, L] -> [Q, D], one head after another."""
    heads = []
    for q, k, v in zip(*(np.split(x, num_heads, -1) for x in (query, key, value)), strict=True):
        scores = q @ k.T / np.sqrt(q.shape[-1])
        heads.append(_softmax(np.where(seen, scores, -np.inf)) @ v)
    return np.concatenate(heads, -1)


def candidate(p, latents, segment, num_heads):
    """The compressor: latents [M, D] and the real tokens [L, D], with positions -> [M, D]."""
    for number in range(sum(name.startswith("blocks_") for name in p)):
        block = p[f"blocks_{number}"]
        query, key, value = np.split(
            _dense(block["qkv_latent"], _norm(block["norm_latent"], latents)), 3, -1
        )
        kv = _dense(block["kv_segment"], _norm(block["norm_segment"], segment))
        segment_key, segment_value = np.split(kv, 2, -1)
        key, value = np.concatenate([key, segment_key]), np.concatenate([value, segment_value])
        everything = np.ones((len(query), len(key)), bool)
        mixed = _attention(query, key, value, everything, num_heads)
        latents = latents + _dense(block["out"], mixed)
        latents = latents + _feed_forward(block["feed_forward"], latents)
    return _norm(p["norm"], latents)


def _multiplicative(p, m, c):
    gate = _sigmoid(_dense(p["gate"], np.concatenate([m, c], -1)))
    return gate * c + (1 - gate) * m


def _gru(p, m, c):
    width = m.shape[-1]
    reset, gate = np.split(_sigmoid(_dense(p["gates"], np.concatenate([m, c], -1))), [width], -1)
    hidden = np.tanh(_dense(p["hidden"], np.concatenate([reset * m, c], -1)))
    return (1 - gate) * m + gate * hidden


def _slot_gate(p, m, c):
    new = np.empty_like(m)
    for i in range(len(m)):
        share = _sigmoid(_dense(p["gate"], np.concatenate([m[i], c[i]])))[0]
        gate = min(max(2 * share - 0.5, 0), 1)
        new[i] = gate * c[i] + (1 - gate) * m[i]
    return new


def _quantised(p, m, c):
    levels = np.array([-1, -0.5, 0, 0.5, 1])
    return levels[np.abs(np.tanh(c)[..., None] - levels).argmin(-1)]


UPDATES = {
    "replace": lambda p, m, c: c,
    "residual": lambda p, m, c: m + c,
    "multiplicative": _multiplicative,
    "gru": _gru,
    "slot_gate": _slot_gate,
    "quantised": _quantised,
}


def recurrent_write(p, state, segment):
    """The state [H] after the real tokens [L, D], with positions."""
    u = p["unit"]
    for x in segment:
        reset = _sigmoid(_dense(u["ir"], x) + _dense(u["hr"], state))
        keep = _sigmoid(_dense(u["iz"], x) + _dense(u["hz"], state))
        new = np.tanh(_dense(u["in"], x) + reset * _dense(u["hn"], state))
        state = (1 - keep) * new + keep * state
    return state


def recurrent_read(p, state, width):
    """What is shown of a state [H]: [M, D]."""
    return _norm(p["norm"], _dense(p["shown"], state).reshape(-1, width))


def cache_write(p, caches, segment, num_heads):
    """The caches [N + 1, M, D] after the real tokens [L, D], with positions."""
    num_cached, length, after = caches.shape[1], len(segment), []
    for number, cache in enumerate(caches):
        after.append(np.concatenate([cache, segment])[length:])
        if f"blocks_{number}" not in p:
            break
        block = p[f"blocks_{number}"]
        x = np.concatenate([cache + p["age"], segment])
        query, key, value = np.split(_dense(block["qkv"], _norm(block["norm"], x)), 3, -1)
        seen = np.tril(np.ones((len(x), len(x)), bool))
        x = x + _dense(block["out"], _attention(query, key, value, seen, num_heads))
        segment = (x + _feed_forward(block["feed_forward"], x))[num_cached:]
    return np.stack(after)


def cache_read(p, caches):
    """What is shown of caches [N + 1, M, D]: [M, D]."""
    return _norm(p["norm"], caches[-1] + p["age"])


def write(params, rule, memory, embeddings, num_heads):
    """Latents [M, D] and the real tokens of a segment [L, D], without positions -> latents."""
    p = params["memory"]
    segment = embeddings + params["position"][: len(embeddings)]
    return UPDATES[rule](p, memory, candidate(p["compressor"], memory, segment, num_heads))


def decode(params, latents, embeddings, num_heads):
    """Latents [M, D] and tokens [L, D], without positions -> logits [L, A]."""
    num_latents, length = len(latents), len(embeddings)
    x = np.concatenate([latents, embeddings + params["position"][:length]])
    seen = np.tril(np.ones((len(x), len(x)), bool))
    seen[:, :num_latents] = True
    for number in range(sum(name.startswith("blocks_") for name in params)):
        block = params[f"blocks_{number}"]
        query, key, value = np.split(_dense(block["qkv"], _norm(block["norm"], x)), 3, -1)
        x = x + _dense(block["out"], _attention(query, key, value, seen, num_heads))
        x = x + _feed_forward(block["feed_forward"], x)
    return _dense(params["head"], _norm(params["norm"], x))[num_latents:]

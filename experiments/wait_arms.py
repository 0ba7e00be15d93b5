"""What the experiments on waits share: the memories that are compared, and the waits."""

from experiments.suites import Arm, Condition


def gap(wait: int, num_episodes: int, num_seeds: int) -> Condition:
    """Waits of so many steps, and how often they are met."""
    overrides = (
        f"env.wait={wait}",
        f"eval.num_episodes={num_episodes}",
        f"eval.num_seeds={num_seeds}",
    )
    return Condition(str(wait), overrides)


def ad(tokens: int) -> tuple[str, ...]:
    """Overrides that leave no memory but a window of so many tokens, sliding by up to 20."""
    kinds = {"uncompressed": tokens, "compress": min(20, tokens // 3)}
    bounds = [(kind, bound) for kind in kinds for bound in ("min", "max")]
    lengths = [f"data.{bound}_{kind}_length={kinds[kind]}" for kind, bound in bounds]
    return ("model.memory_update=none", *lengths)


def rules(
    num_latents: int, window: int = 20, of_the_gate: tuple[Condition, ...] = ()
) -> tuple[Arm, ...]:
    """Every memory, the slot gate first and with conditions of its own; then windows alone."""
    names = {
        "slot_gate": "slot gate",
        "replace": "replace",
        "residual": "residual",
        "multiplicative": "sigmoid gate a channel",
        "gru": "GRU gate",
        "quantised": "quantised",
        "recurrent": "GRU over the tokens",
        "cache": "cache of hidden states",
    }
    remembering = [
        Arm(name, label, () if name == "slot_gate" else (f"model.memory_update={name}",))
        for name, label in names.items()
    ]
    remembering[0] = remembering[0]._replace(conditions=of_the_gate)
    windows = (num_latents + window, 120, 240)
    without = [Arm(f"ad_{n}", f"AD, window of {n}", ad(n)) for n in windows]
    return (*remembering, *without)

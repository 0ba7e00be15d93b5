"""Histories of small dark rooms as other programs make them: plain loops that know no JAX."""

import h5py
import numpy as np

GRID, HORIZON, STREAMS, STEPS = 3, 5, 3, 30
NUM_TASKS = GRID**2
_MOVES = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)])


def play(task, num_streams=STREAMS, num_steps=STEPS):
    """What a random policy meets, [T, N, ...]; `final` is `next_states` before any reset."""
    rng, goal = np.random.default_rng(task), divmod(task, GRID)
    cells = np.full((num_streams, 2), GRID // 2)
    kept = {name: [] for name in ("states", "actions", "rewards", "next_states", "dones", "final")}
    for step in range(num_steps):
        actions = rng.integers(5, size=num_streams)
        moved = np.clip(cells + _MOVES[actions], 0, GRID - 1)
        dones = np.full(num_streams, (step + 1) % HORIZON == 0)
        # A vectorised environment resets by itself, and shows what comes after.
        new_obs = np.where(dones[:, None], GRID // 2, moved)
        rewards = (moved == goal).all(1).astype(float)
        for name, x in zip(kept, (cells, actions, rewards, new_obs, dones, moved), strict=True):
            kept[name].append(x)
        cells = new_obs
    return {name: np.array(x) for name, x in kept.items()}


def of_task(task, **sizes):
    """The same with final observations as `next_states`."""
    kept = play(task, **sizes)
    return kept | {"next_states": kept.pop("final")}


def write_by_task(path, order=range(NUM_TASKS), but=("dones",), with_final=False):
    """A file as collectors on Stable-Baselines3 write it: time first, and no dones."""
    with h5py.File(path, "w") as file:
        for number, task in enumerate(order):
            kept = of_task(task) if with_final else play(task)
            group = file.create_group(f"{number}")
            for name in ("states", "actions", "rewards", "next_states", "dones"):
                dtype = bool if name == "dones" else np.int32
                if name not in but:
                    group.create_dataset(name, data=kept[name].astype(dtype))


def write_like_xland(path):
    """A file as XLand-100B: streams first, small types, no next states, expert actions."""
    types = {"states": np.uint8, "actions": np.uint8, "rewards": np.float16, "dones": np.bool_}
    with h5py.File(path, "w") as file:
        for task in range(NUM_TASKS):
            group, kept = file.create_group(str(task)), play(task)
            group.attrs.update({"env-id": "DarkRoom", "ruleset-id": task})
            arrays = {name: np.swapaxes(kept[name], 0, 1) for name in types}
            arrays["states"] = arrays["states"].reshape(STREAMS, STEPS, 2, 1)
            for name, x in arrays.items():
                data = x.astype(types[name])
                group.create_dataset(name, data=data, compression="gzip", chunks=(1, *x.shape[1:]))
            group["expert_actions"] = (arrays["actions"] + 1).astype(np.uint8) % 5

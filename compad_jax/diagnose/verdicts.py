"""What the measured numbers mean, in one line each."""

import math
from typing import NamedTuple

from compad_jax.diagnose.data import Facts

_LEARNS = 0.1  # Gain of the source, as a share of the optimum, that counts as learning.
_NARROW = 0.8  # Part of the histories; targets from less of them are a problem.
_RANDOM = 0.9  # Share of the largest entropy from which on a source counts as random.
_HARDER = 0.05  # Nats by which the floor may lie above that of whole histories.
_ROOM = 0.05  # Share of the uniform loss that must be left to learn.
_BLIND = 0.25  # Share of windows that may hold no reward.
_EVEN = 0.7  # Effective number of depths that counts as balanced, as a share of all.
_CLOSE = 0.1  # Share of the way from uniform to the floor that may be left.
_WORTH = 0.01  # Nats that a memory must be worth.
_REACHED = 1e-3  # Share of the gradient's norm that a part must get.


class Verdict(NamedTuple):
    """One line on one aspect."""

    is_problem: bool
    text: str


def judge(facts: Facts) -> list[Verdict]:
    """Judges all that was measured: what the data allow, then what the run made of them."""
    sampling, loss, run = facts["sampling"], facts["loss"], facts["run"]
    verdicts = [
        judge_source(facts["source"]),
        judge_targets(sampling, loss),
        judge_room(loss),
        judge_rewards(sampling),
        judge_depths(sampling["targets_by_depth"], has_memory=facts["has_memory"]),
        judge_padding(sampling["padding"]),
    ]
    if run:
        verdicts += [
            judge_loss(run["train"], loss["uniform"]),
            judge_transfer(run["train"], run["held_out"], loss["uniform"]),
            judge_gradients(run["gradient_norm"]),
        ]
        verdicts += [judge_memory(run["held_out"]["memory"])] if facts["has_memory"] else []
    return verdicts


def judge_source(source: Facts) -> Verdict:
    """Whether there is learning to distil; without an optimum by returns alone."""
    if len(source["returns"]) < 2:
        text = f"a history holds {len(source['returns'])} whole episodes: no learning to distil"
        return Verdict(True, text)
    curve = source["fraction_of_optimum"]
    first, last = source_gain(curve or source["returns"])
    scale = 1.0 if curve else max(abs(first), abs(last))
    begin, end = f"a return of {first:.3g}", f"{last:.3g}"
    if curve:
        begin, end = f"{first:.0%} of the optimum", f"{last:.0%}"
    numbers = f"{begin} in its first tenth of episodes, {end} in its last"
    if last - first < _LEARNS * scale or last <= first:
        return Verdict(True, f"the source hardly learns, {numbers}: there is nothing to distil")
    return Verdict(False, f"the source learns: {numbers}")


def source_gain(curve: list[float]) -> tuple[float, float]:
    """Means of the first and of the last tenth of a learning curve."""
    count = max(1, len(curve) // 10)
    return sum(curve[:count]) / count, sum(curve[-count:]) / count


def judge_targets(sampling: Facts, loss: Facts) -> Verdict:
    """Whether targets come from all parts of the histories."""
    first, last = sampling["first_target"], sampling["last_target"]
    floor, whole = loss["floor"], loss["floor_of_whole_histories"]
    floors = ""
    if floor is not None:
        floors = f"; their floor is {floor:.2f}, that of whole ones {whole:.2f}"
    if last - first < _NARROW:
        part = f"{first:.0%} to {last:.0%}" if first else f"the first {last:.0%}"
        text = f"targets come only from {part} of the histories"
        if floor is not None:
            entropy, most = loss["entropy"], loss["uniform"]
            random = "is still random" if entropy > _RANDOM * most else "prefers some actions"
            text += f", where the source {random} (entropy {entropy:.2f} of {most:.2f} nats)"
        return Verdict(True, text + floors)
    if floor is not None and floor - whole > _HARDER:
        return Verdict(True, f"targets are harder to predict than whole histories{floors}")
    shares = sampling["targets_by_tenth"]
    tenths = f"{min(shares):.0%} to {max(shares):.0%} from each tenth"
    return Verdict(False, f"targets come from all parts of the histories, {tenths}{floors}")


def judge_room(loss: Facts) -> Verdict:
    """Whether there is anything to learn between the uniform loss and the floor."""
    uniform, floor = loss["uniform"], loss["floor"]
    if floor is None:
        text = "the source's log-probabilities are not known: nor is what can be learned"
        return Verdict(False, f"{text}; uniform guesses have a loss of {uniform:.2f}")
    numbers = (
        f"uniform guesses have a loss of {uniform:.2f}, the floor is {floor:.2f}, the best "
        f"reachable accuracy {loss['best_accuracy']:.0%}"
    )
    if uniform - floor < _ROOM * uniform:
        return Verdict(True, f"almost nothing can be learned: {numbers}")
    return Verdict(False, f"there is something to learn: {numbers}")


def judge_rewards(sampling: Facts) -> Verdict:
    """Whether windows show what the task is."""
    blind = sampling["windows_without_reward"]
    numbers = f"{sampling['targets_after_reward']:.0%} of the targets have seen one before"
    if blind > _BLIND:
        return Verdict(True, f"{blind:.0%} of the windows hold no reward; {numbers}")
    return Verdict(False, f"rewards are seen: {blind:.0%} of the windows hold none; {numbers}")


def judge_depths(shares: list[float], *, has_memory: bool) -> Verdict:
    """Whether all numbers of compressions are trained; `shares` of the targets, by number."""
    if not has_memory:
        return Verdict(False, "AD has no memory: nothing is compressed")
    if not sum(shares[1:]):
        return Verdict(True, "no target has a compression before it: the memory is not trained")
    effective = math.exp(-sum(p * math.log(p) for p in shares if p))
    lowest, highest = min(shares), max(shares)
    if effective < _EVEN * len(shares):
        most, least = shares.index(highest), shares.index(lowest)
        return Verdict(
            True,
            f"depths are unbalanced: {highest:.0%} of the targets have exactly {most} "
            f"compressions before them, {lowest:.1%} have {least}",
        )
    return Verdict(
        False,
        f"depths are balanced: 0 to {len(shares) - 1} compressions before a target, {lowest:.1%} "
        f"to {highest:.1%} of the targets at each",
    )


def judge_padding(padding: float) -> Verdict:
    """How many positions are computed in vain."""
    return Verdict(False, f"padding: {padding:.0%} of the positions: costs time, changes nothing")


def judge_loss(train: Facts, uniform: float) -> Verdict:
    """Whether a run has learned what there is to learn; without a floor, anything at all."""
    if train["floor"] is None:
        learned = train["loss"] < (1 - _CLOSE) * uniform
        return Verdict(not learned, f"the loss on training tasks is {train['loss']:.2f} nats")
    gap, room = train["loss"] - train["floor"], uniform - train["floor"]
    way = max(0.0, 1 - gap / room) if room > 0 else 0.0
    learned = gap <= _CLOSE * room
    return Verdict(
        not learned,
        f"the run is {gap:.2f} nats above its floor on training tasks, {way:.0%} of the way from "
        f"uniform guesses: {'learned' if learned else 'not yet learned'}",
    )


def judge_transfer(train: Facts, held_out: Facts, uniform: float) -> Verdict:
    """Whether held-out tasks are predicted as well as training tasks."""
    floors = [part["floor"] or 0.0 for part in (train, held_out)]
    gap = held_out["loss"] - floors[1]
    lost = gap - (train["loss"] - floors[0])
    numbers = f"{gap:.2f} nats {'above the floor ' if floors[1] else ''}on held-out tasks"
    if lost > _CLOSE * (uniform - floors[1]):
        text = f"{numbers}: {lost:.2f} of them are not there on training tasks (too few tasks?)"
        return Verdict(True, text)
    return Verdict(False, f"{numbers}: as good as on training tasks")


def judge_gradients(norms: dict[str, float]) -> Verdict:
    """Whether every part gets a gradient."""
    total = math.hypot(*norms.values())
    missed = [name for name, norm in norms.items() if norm <= _REACHED * total]
    numbers = ", ".join(f"{name} {norm:.2g}" for name, norm in norms.items())
    if missed:
        text = f"hardly any gradient reaches the {' and the '.join(missed)} (norms: {numbers})"
        return Verdict(True, text)
    return Verdict(False, f"gradients reach every part (norms: {numbers})")


def judge_memory(memory: Facts | None) -> Verdict:
    """Whether predictions depend on what the memory says."""
    if memory is None:
        return Verdict(True, "the memory was not tested: too few windows or no compressions")
    zeroed = memory["zeroed"] - memory["as_is"]
    swapped = memory["of_another_task"] - memory["as_is"]
    costs = f"zeroing it costs {zeroed:.2f} nats, that of another task {swapped:.2f}"
    if swapped > _WORTH:
        return Verdict(False, f"the memory is used: {costs}")
    if zeroed > _WORTH:
        return Verdict(True, f"the memory says nothing of the task: {costs}")
    return Verdict(True, f"the memory is not used: {costs}")

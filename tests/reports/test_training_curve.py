"""The curve of a training, from its log."""

import csv
import json

import pytest

from compad_jax.reports import training_curve as curve_module
from compad_jax.reports.training_curve import training_curve, write_training_curve
from tests.evaluation_files import images_of


def _line(step, loss, **more):
    parts = {"": loss, "validation_": loss + 0.2, "held_out_": loss + 0.3}
    line = {f"{part}loss": value for part, value in parts.items()}
    return {"step": step} | line | {f"{part}floor": 1.0 for part in parts} | more


def test_losses_stand_above_their_floors():
    unmeasured = {"step": 5, "loss": 1.4, "floor": 1.0}
    rows = training_curve([unmeasured, _line(10, 1.3, validation_return_sample=0.4)])
    assert rows == [
        {
            "step": 10,
            "train_above_floor": pytest.approx(0.3),
            "validation_above_floor": pytest.approx(0.5),
            "held_out_above_floor": pytest.approx(0.6),
            "validation_return_sample": 0.4,
        }
    ]


@pytest.mark.parametrize("returns", [{}, {"validation_return_greedy": 0.1}])
def test_files(tmp_path, returns):
    lines = [_line(10, 1.3, **returns), _line(20, 1.2, **returns)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_training_curve(str(tmp_path))
    with open(tmp_path / "training_curve.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20"]
    assert ("validation_return_greedy" in rows[0]) == bool(returns)
    picture = (tmp_path / "training_curve.png").read_bytes()
    assert len(picture) > 5_000
    size = (1200, 540) if returns else (675, 540)
    assert images_of(tmp_path) == {"training_curve": [(20, picture, *size)]}


@pytest.mark.parametrize(("floor", "label"), [(1.0, "Loss above its floor"), (None, "Loss, nats;")])
def test_the_figure_says_whether_there_is_a_floor(tmp_path, monkeypatch, floor, label):
    figures, save = [], curve_module.save_figure

    def keep(figure, path):
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(curve_module, "save_figure", keep)
    line = _line(10, 1.3) | dict.fromkeys(("floor", "validation_floor", "held_out_floor"), floor)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    write_training_curve(str(tmp_path))
    assert figures[0].axes[0].get_ylabel().startswith(label)


def test_nothing_measured_leaves_no_file(tmp_path):
    write_training_curve(str(tmp_path))
    assert list(tmp_path.iterdir()) == []

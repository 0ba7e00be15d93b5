"""The tutorial's Python, as it stands but for its sizes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
# What a reader sees learn need only run here: half a minute of an idle core, mostly compiling.
_SHORTER = {
    '"train_timesteps": 200': '"train_timesteps": 30, "log_every": 10, "train_batch_size": 4, '
    '"eval_batches": 1, "quick_compile": True',
    '"num_streams": 20, "num_steps": 200': '"num_streams": 4, "num_steps": 40',
    '"tf_n_layer": 2': '"tf_n_layer": 1',
    '"num_episodes": 20': '"num_episodes": 2, "num_seeds": 1',
}


def _blocks():
    text = (_ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_runs(tmp_path):
    code = "\n".join(_blocks())
    for long, short in _SHORTER.items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    (tmp_path / "tutorial.py").write_text(code, encoding="utf-8")
    (tmp_path / "configs").symlink_to(_ROOT / "configs")
    done = subprocess.run(
        [sys.executable, "tutorial.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^episode (\d): return", done.stdout, re.MULTILINE) == list("012345")
    for run in ("tutorial", "diary"):
        assert len(list(tmp_path.glob(f"runs/{run}/eval/*/report.html"))) == 2
    assert (tmp_path / "runs" / "both" / "comparison.png").exists()

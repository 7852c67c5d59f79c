"""The example of the README runs and prints what it claims."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_python_example_runs_and_finds_the_tissue(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(example.strip().splitlines()) == 12
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    numbers = re.fullmatch(r"T1 (.*) s, T2 (.*) ms, PD (.*)\n", result.stdout).groups()
    t1, t2, pd = (float(number) for number in numbers)
    # half a step of the grid: 3.5 % in T1, 4.2 % in T2; the nearest atom may err by a little more
    assert abs(t1 / 0.9 - 1) < 0.05
    assert abs(t2 / 85 - 1) < 0.06
    # takes up what T1 and T2 are off
    assert abs(pd / 2 - 1) < 0.05

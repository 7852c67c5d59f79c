"""The section scan: its annotated example has every key, and says the defaults."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import yaml

from design.pulseq import PRESETS, Inversion
from jobs.protocol_scan import _KEYS, _SCANNER, read_scan
from jobs.protocol_values import Section

EXAMPLES = Path(__file__).parents[2] / "examples"


def commented(name, key):
    """The section under a key that is commented out in an example."""
    lines = (EXAMPLES / name).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"# {key}:"))
    block = [lines[first]]
    for line in lines[first + 1 :]:
        if not line.startswith("#  "):
            break
        block.append(line)
    return yaml.safe_load("\n".join(line[2:] for line in block))


def scan_of(content, n_pulses):
    keys = ("scan", "trajectory")
    return read_scan(Section(Path("protocol.yaml"), "", content, keys), n_pulses)


def test_the_example_has_every_key_and_says_the_defaults():
    content = {**commented("protocol.yaml", "scan"), "trajectory": {"cartesian": None}}
    assert set(content["scan"]) == set(_KEYS)
    assert set(content["scan"]["scanner"]) == {"preset", *_SCANNER}
    scan = scan_of(content, 400)
    assert scan.readout.positions.shape == (192, 448, 2)
    assert (scan.readout.matrix, scan.readout.fov) == ((192, 224), (0.22, 0.256))
    assert scan.options == {"spoiler_cycles": 4, "inversion": Inversion()}
    for field in fields(scan.scanner):
        np.testing.assert_allclose(
            getattr(scan.scanner, field.name), getattr(PRESETS["siemens"], field.name), rtol=1e-12
        )


def test_the_example_of_designs_takes_the_defaults():
    content = {
        key: value for name in ("trajectory", "scan") for key, value in commented("design.yaml", name).items()
    }
    scan = scan_of(content, 20)
    assert scan.readout.positions.shape == (20, 224, 2)
    assert (scan.scanner, scan.options) == (PRESETS["siemens"], {})

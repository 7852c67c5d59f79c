"""Put the results of `epgbloch evaluate` into surrogate.md: `python docs/fill_surrogate.py FOLDER`.

Copies the record to surrogate.json and the figures, and fills the tables.
"""

import argparse
import json
import shutil
from pathlib import Path

from figure_scripts.surrogate_tables import FIGURES, tables
from figure_scripts.tables import insert

DOCS = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of epgbloch evaluate")
    folder = parser.parse_args().folder
    record = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(part)}" for name, part in record.items())
    (DOCS / "surrogate.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    for name in FIGURES:
        shutil.copyfile(folder / f"{name}.png", DOCS / "figures" / f"surrogate_{name}.png")
    page = DOCS / "surrogate.md"
    page.write_text(insert(page.read_text(encoding="utf-8"), tables(record)), encoding="utf-8")


if __name__ == "__main__":
    main()

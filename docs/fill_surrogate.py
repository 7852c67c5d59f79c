"""Put results of `epgbloch evaluate` into surrogate.md: `python docs/fill_surrogate.py FOLDER [FOLDER ...]`.

The first folder, the published network's, fills most tables and gives the figures; every folder, named like
its network, is a row of the table of networks. The records go to surrogate.json.
"""

import argparse
import json
import shutil
from pathlib import Path

from figure_scripts.surrogate_tables import FIGURES, joined, tables
from figure_scripts.tables import insert

DOCS = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="folder", help="of epgbloch evaluate")
    folder, *others = parser.parse_args().folders
    record = joined(
        {
            each.name: json.loads((each / "evaluation.json").read_text(encoding="utf-8"))
            for each in (folder, *others)
        }
    )
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(part)}" for name, part in record.items())
    (DOCS / "surrogate.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    for name in FIGURES:
        shutil.copyfile(folder / f"{name}.png", DOCS / "figures" / f"surrogate_{name}.png")
    page = DOCS / "surrogate.md"
    page.write_text(insert(page.read_text(encoding="utf-8"), tables(record)), encoding="utf-8")


if __name__ == "__main__":
    main()

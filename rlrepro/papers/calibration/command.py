"""`rlrepro calibrate`: simulate, and write the numbers and their tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rlrepro.checkpoint import make_folder, write_whole
from rlrepro.flags import MAX_SEED, Parser, whole_number
from rlrepro.papers.calibration.coverage import committed
from rlrepro.papers.calibration.simulation import EXPERIMENTS, REPETITIONS, calibrate
from rlrepro.papers.calibration.tables import markdown


def main(arguments: Sequence[str]) -> int:
    """Simulate by a command line; the exit status."""
    parser = Parser(
        prog="rlrepro calibrate",
        description="Simulate how often verdicts are wrong and intervals miss. Takes minutes.",
    )
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, metavar="SEED", help="of the numbers (0)")
    parser.add_argument(
        "--repetitions", type=whole_number(100, 10**7), default=REPETITIONS, metavar="N",
        help=f"of every test ({REPETITIONS})",
    )  # fmt: skip
    parser.add_argument(
        "--experiments", type=whole_number(10, 10**6), default=EXPERIMENTS, metavar="N",
        help=f"of every bootstrap ({EXPERIMENTS})",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="the tables as Markdown (they are printed)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the numbers")
    parser.add_argument("--show", action="store_true", help="print the tables of this version, simulate nothing")
    asked = parser.parse_args(arguments)

    found = committed() if asked.show else calibrate(asked.seed, asked.repetitions, asked.experiments)
    text = markdown(found)
    for file, content in ((asked.out, text), (asked.json, json.dumps(found, indent=1, ensure_ascii=False) + "\n")):
        if file is not None:
            make_folder(file.parent)
            write_whole(file, content.encode())
    print(text, end="")
    return 0

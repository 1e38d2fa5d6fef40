"""All rows (or those named), then one table: what each was to reach, and how we stand to the best rival and the floor.

Row K (the round trip of one task in a warm pool) waits for a pool that outlives a run: `start` makes its own each time.
"""

from __future__ import annotations

import sys

from benchmarks import harness
from benchmarks.goals import goal_table

ROWS = [
    "a_noop",
    "b_million",
    "c_cpu",
    "d_cpu_long",
    "e_heavy_tail",
    "f_arrays",
    "g_big_config",
    "h_threads",
    "i_sleeps",
    "j_first_result",
    "l_open_loop",
    "m_get_tps",
    "n_import",
    "o_journal",
    "growth",
]


def main() -> int:
    options = harness.options_from(None, rows=True)
    answers = [harness.run_row(f"benchmarks.{row}", options) for row in options.rows or ROWS]
    print(f"\n{goal_table(answers)}")
    return int(any(harness.we_failed(case) for answer in answers for case in answer["cases"]))


if __name__ == "__main__":
    sys.exit(main())

"""All rows (or those named), then one table: what each was to reach, and how we stand to rival and floor."""

from __future__ import annotations

import sys

from benchmarks import harness
from benchmarks.goals import goal_table

ROWS = [
    "a_noop",
    "b_million",
    "c_cpu",
    "d_cpu_long",
    "d2_two_cores",
    "e_heavy_tail",
    "f_arrays",
    "g_big_config",
    "h_threads",
    "i_sleeps",
    "j_first_result",
    "j2_heavy_imports",
    "k_round_trip",
    "l_open_loop",
    "m_get_tps",
    "n_import",
    "o_journal",
    "p_burst",
    "q_map",
    "r_many_sleepers",
    "s_delayed",
    "t_jobs",
    "u_dask",
    "v_dask_scheduler",
    "growth",
]


def main() -> int:
    options = harness.options_from(None, rows=True)
    answers = [harness.run_row(f"benchmarks.{row}", options) for row in options.rows or ROWS]
    print(f"\n{goal_table(answers)}")
    return int(any(harness.we_failed(case) for answer in answers for case in answer["cases"]))


if __name__ == "__main__":
    sys.exit(main())

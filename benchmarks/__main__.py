"""All rows (or those named), then one table: how many times better we are than the best rival."""

from __future__ import annotations

import sys

from benchmarks import harness

ROWS = ["a_noop", "c_cpu", "e_heavy_tail", "f_arrays", "j_first_result", "l_open_loop"]


def main() -> int:
    options = harness.options_from(None, rows=True)
    answers = [harness.run_row(f"benchmarks.{row}", options) for row in options.rows or ROWS]
    print(f"\n{'row':<16}{'case':<28}{'best rival':<36}ours is")
    for answer in answers:
        for case in answer["cases"]:
            ratio = case["ours_to_best_rival"]
            text = "failed" if harness.we_failed(case) else f"{ratio:.2f}x" if ratio else "-"
            print(f"{answer['row']:<16}{case['case']:<28}{case['best_rival'] or '-':<36}{text}")
    return int(any(harness.we_failed(case) for answer in answers for case in answer["cases"]))


if __name__ == "__main__":
    sys.exit(main())

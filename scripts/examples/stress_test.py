"""How does a shop hold at 150 requests a second? Its figures, two objectives, and a page of charts.

python scripts/examples/stress_test.py [PAGE.html]      the page needs the extra [report]

The exit code is 1 if an objective fails.
"""

import sys
import urllib.request

from shop import open_shop

import worker_dispatcher

CHECKS = ["p95<200ms", "error_rate<5%"]


def visit(task, config, metadata):
    with urllib.request.urlopen(f"{config}/orders/{task}", timeout=5) as response:
        metadata["status"] = response.status
        return response.read()


def main():
    with open_shop() as address:
        worker_dispatcher.start(
            {
                "task": {"list": range(1, 451), "function": visit, "config": address},
                # As visitors come: 150 a second on average, each at a moment of its own.
                "worker": {
                    "frequency_mode": {"enabled": True, "rate": "150/s", "pacing": "poisson", "max_workers": 64}
                },
            }
        )
    report = worker_dispatcher.report(title="Orders, 150 requests a second", checks=CHECKS)
    print(report)
    if len(sys.argv) > 1:
        print("\ncharts:", report.to_html(sys.argv[1]))
    return 0 if report.verdict else 1


if __name__ == "__main__":
    sys.exit(main())

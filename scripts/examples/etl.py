"""Sixty days of sales, from CSV files into a database; the run is killed half-way, and goes on where it stopped.

python scripts/examples/etl.py

With a journal, what a task gives is on disk before the run goes on. The same call again runs only what is missing.
"""

import csv
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import worker_dispatcher

LAST_DAY = os.environ.get("LAST_DAY")  # the day on which all ends, as in a power cut


def sales(task):  # cents by product, of one day's file
    if task.stem == LAST_DAY:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)  # a slow disk
    totals = Counter()
    with task.open(newline="") as file:
        for product, cents in csv.reader(file):
            totals[product] += int(cents)
    return [(task.stem, product, cents) for product, cents in totals.items()]


def run(folder):
    task = {"list": sorted(Path(folder).glob("*.csv")), "function": sales}
    return worker_dispatcher.start({"task": task, "journal": f"{folder}/run.journal", "verbose": False})


def main():
    dice = random.Random(3)
    with tempfile.TemporaryDirectory() as folder:
        for day in range(60):
            rows = [f"{dice.choice(['tea', 'coffee', 'cocoa'])},{dice.randint(100, 900)}\n" for _ in range(200)]
            Path(folder, f"day-{day:02}.csv").write_text("".join(rows))
        first = subprocess.run([sys.executable, __file__, folder], env=os.environ | {"LAST_DAY": "day-40"}, check=False)
        print(f"the first run was ended by {signal.Signals(-first.returncode).name}")
        days, info = run(folder), worker_dispatcher.get_result_info()
        print(f"the second run found {info['resumed']} of {len(days)} days in the journal, and read the others")
    warehouse = sqlite3.connect(":memory:")
    warehouse.execute("CREATE TABLE sales (day TEXT, product TEXT, cents INTEGER, PRIMARY KEY (day, product))")
    warehouse.executemany("INSERT INTO sales VALUES (?, ?, ?)", (sold for day in days for sold in day))
    for product, cents in warehouse.execute("SELECT product, sum(cents) FROM sales GROUP BY product ORDER BY 2 DESC"):
        print(f"  {product:<8}{cents / 100:>12,.2f}")
    warehouse.close()


if __name__ == "__main__":
    run(sys.argv[1]) if sys.argv[1:] else main()

"""How sure is a median? 400 medians of random samples, drawn from one array of 80 MB that all processes share.

python scripts/examples/shared_array.py

The array is in task.config: each worker process maps it and none has a copy, as the last line shows.
"""

import numpy as np
import psutil

import worker_dispatcher


def median_of_a_sample(task, config, metadata):
    """The median of 20,000 incomes; task: the seed they are drawn with."""
    dice = np.random.default_rng(task)
    sample = config["incomes"][dice.integers(0, len(config["incomes"]), 20_000)]
    metadata["own bytes"] = psutil.Process().memory_full_info().uss  # what this process shares with no other
    return float(np.median(sample))


def main():
    incomes = np.random.default_rng(1).lognormal(10, 0.6, 10_000_000)
    medians = worker_dispatcher.start(
        {
            "task": {"list": range(400), "function": median_of_a_sample, "config": {"incomes": incomes}},
            "worker": {"use_processing": True},
            "verbose": False,
        }
    )
    logs, seconds = worker_dispatcher.get_logs(), worker_dispatcher.get_duration()
    low, high = np.quantile(medians, [0.025, 0.975])
    own = {log["pid"]: log["metadata"]["own bytes"] for log in logs}
    print(f"median {np.median(incomes):,.0f}; of a sample it is {low:,.0f} to {high:,.0f} in 95 of 100 cases")
    print(f"{len(medians)} samples in {seconds:.2f} s with {len(own)} processes")
    print(
        f"the array has {incomes.nbytes / 1e6:.0f} MB, each process up to {max(own.values()) / 1e6:.0f} MB of its own"
    )


if __name__ == "__main__":
    main()

"""What each of 60 customers owes: 360 requests with httpx, those of 10 customers at a time, all in one thread.

python scripts/examples/async_http.py                   needs the extra [examples]

The shop refuses a request now and then; a customer whose sum is not complete is tried again.
"""

import asyncio

import httpx
from shop import open_shop

import worker_dispatcher


async def open_client(config):
    """Once, on the event loop of the run; what it returns reaches each task as worker_state."""
    return httpx.AsyncClient(base_url=config, timeout=20)


async def owed(task, metadata, worker_state):
    """The sum of a customer's orders, in cents."""
    answers = await asyncio.gather(*(worker_state.get(f"/orders/{order}") for order in range(6 * task, 6 * task + 6)))
    metadata["requests"] = len(answers)
    return sum(answer.raise_for_status().json()["cents"] for answer in answers)


def main():
    with open_shop() as address:
        sums = worker_dispatcher.start(
            {
                "task": {
                    "list": range(60),
                    "function": owed,
                    "config": address,
                    "retries": 8,
                    "retry_on": httpx.HTTPError,
                    "backoff": {"initial": 0.05},
                },
                "worker": {"number": 10, "init": open_client, "exit": httpx.AsyncClient.aclose},
                "verbose": False,
            }
        )
    logs, seconds = worker_dispatcher.get_logs(), worker_dispatcher.get_duration()
    requests = sum(log["metadata"]["requests"] * log["attempts"] for log in logs)
    again = sum(log["attempts"] > 1 for log in logs)
    print(f"{len(sums)} customers owe {sum(sums) / 100:,.2f} in all")
    print(f"{requests} requests in {seconds:.2f} s, {requests / seconds:.0f}/s; {again} customers were asked for again")
    for log in sorted(logs, key=lambda log: -log["result"])[:3]:
        print(f"  customer {log['task_id'] - 1:>2} owes {log['result'] / 100:6.2f}")


if __name__ == "__main__":
    main()

"""Every example of the 1.x README, run in its own meaning; the web server is local, and the numbers are smaller."""

# ruff: noqa: RET504 - the examples are kept as they were written

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

import worker_dispatcher

pytestmark = pytest.mark.above_the_pools

LOG_KEYS = ["task_id", "started_at", "ended_at", "duration", "result", "metadata"]


@dataclass
class Website:
    """A local web server. url ends with a slash; paths: all that were asked for; /bad... answers 503."""

    url: str = ""
    paths: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def server() -> Iterator[Website]:
    website = Website()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            website.paths.append(self.path)
            body = f"order {self.path}".encode()
            self.send_response(503 if self.path.startswith("/bad") else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # as many callers at once as a test likes

    with Server(("127.0.0.1", 0), Answer) as http:
        website.url = f"http://127.0.0.1:{http.server_port}/"
        serving = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield website
        http.shutdown()
        serving.join()


@pytest.fixture
def website(server: Website) -> Website:
    server.paths.clear()
    return server


def run_script(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60)


# Demonstration ------------------------------------------------------------------------------------------------------


def test_demonstration_twenty_threads_ask_a_web_server(website):
    def each_task(id: int, config, task, metadata):
        response = requests.get(config["my_endpoint"] + task)
        return response

    responses = worker_dispatcher.start(
        {
            "task": {
                "list": ["ORD_AH001", "ORD_KL502", "...", "ORD_GR393"],
                "function": each_task,
                "config": {"my_endpoint": website.url},
            },
            "worker": {
                "number": 20,
            },
        }
    )

    orders = ["ORD_AH001", "ORD_KL502", "...", "ORD_GR393"]
    assert [response.text for response in responses] == [f"order /{order}" for order in orders]
    assert sorted(website.paths) == sorted(f"/{order}" for order in orders)
    logs = worker_dispatcher.get_logs()
    assert [log["task_id"] for log in logs] == [1, 2, 3, 4]
    assert [log["result"] for log in logs] == responses


def test_demonstration_all_cores_compute():
    def each_task(id: int, config, task, metadata):
        result = sum(id * i for i in range(10**5))
        return result

    results = worker_dispatcher.start(
        {"task": {"list": 10, "function": each_task}, "worker": {"use_processing": True}, "verbose": False}
    )
    assert results == [id * sum(range(10**5)) for id in range(1, 11)]
    assert [log["task_id"] for log in worker_dispatcher.get_logs()] == list(range(1, 11))


@pytest.mark.parametrize("guard", ["if __name__ == '__main__':", "if True:"], ids=["with guard", "without guard"])
def test_demonstration_all_cores_compute_as_a_script_of_its_own(tmp_path, guard):
    script = tmp_path / "main.py"
    script.write_text(f"""
import worker_dispatcher

def each_task(id: int, config, task, metadata):
    result = sum(id * i for i in range(10**4))
    return result

{guard}
    results = worker_dispatcher.start({{
        'task': {{
            'list': 10,
            'function': each_task,
        }},
        'worker': {{
            'use_processing': True
        }},
        'verbose': False
    }})
    print(results)
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [id * sum(range(10**4)) for id in range(1, 11)]


def test_demonstration_the_block_that_a_run_prints():
    script = """
import worker_dispatcher

def each_task(id, config, task, metadata):
    print("task", id)
    return True

worker_dispatcher.start({'task': {'list': 100, 'function': each_task},
                         'worker': {'number': 10, 'use_processing': True}})
"""
    output = run_script(script).stdout
    head, _, tail = output.partition("\n--- Start to dispatch workers at ")
    assert head.startswith("\nWorker Dispatcher Configuration:\n")
    assert head.splitlines()[2:] == [
        f"- Local CPU core: {head.splitlines()[2].rpartition(' ')[2]}",
        "- Tasks Count: 100",
        "- Runtime: Unlimited",
        "- Dispatch Mode: Fixed Workers (Default)",
        "- Concurrency Info:",
        "  ├─ Execution Type: Processing",
        "  ├─ Configured Workers: 10 Worker(s)",
        "  ├─ Pool Structure:",
        "  │  └─ Main Pool : 10 Process(es)",
        "  └─ Total Concurrency: 10 Active Worker(s)",
    ]
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d"
    assert re.match(rf"{moment} ---\n", tail)
    assert sorted(re.findall(r"^task \d+$", tail, re.M)) == sorted(f"task {id}" for id in range(1, 101))
    assert re.search(
        rf"\n--- End of worker dispatch at {moment}---\n\nSpend Time: \d+\.\d{{6}} sec\nCompleted Tasks Count: 100\n"
        r"Uncompleted Tasks Count: 0\nUndispatched Tasks Count: 0\n",
        tail,
    )


def test_demonstration_the_block_in_frequency_mode_and_in_the_grid():
    script = """
import worker_dispatcher

worker_dispatcher.start({'task': {'list': 6, 'function': lambda id: id}, 'runtime': 60,
                         'worker': {'number': 6, 'parallel_processing': {'enabled': True, 'processes': 2},
                                    'frequency_mode': {'enabled': True, 'interval': 0.3}}})
"""
    output = run_script(script).stdout
    for line in (
        "- Tasks Count: 6\n- Runtime: 60.0 sec\n- Dispatch Mode: Frequency Mode\n",
        "  ├─ Interval Seconds: 0.3\n  ├─ Accumulated Workers: 0\n  └─ Max Concurrency:\n",
        "     ├─ Configured Max Workers: None\n     └─ Estimated Peak: 6\n- Concurrency Info:\n",
        "  ├─ Execution Type: Parallel Processing\n  ├─ Task Queue: Off\n  ├─ Configured Workers: 6 Worker(s)\n",
        "  │  └─ Main Pool : 2 Process(es)\n  │     └─ Sub Pool : 3 Thread(s)\n",
        "  └─ Total Concurrency: 6 (2p x 3t) Active Worker(s)\n",
    ):
        assert line in output


# Usage: all options -------------------------------------------------------------------------------------------------


def test_usage_the_setting_with_all_options():
    results = worker_dispatcher.start(
        {
            "debug": False,
            "task": {
                "list": [],
                "function": worker_dispatcher.task_function_sample,
                "config": {},
                "callback": {
                    "on_done": False,
                    "on_all_done": False,
                },
            },
            "worker": {
                "number": 8,
                "frequency_mode": {
                    "enabled": False,
                    "interval": 1,
                    "accumulated_workers": 0,
                    "max_workers": None,
                },
                "use_processing": False,
                "parallel_processing": {
                    "enabled": False,
                    "use_queue": False,
                },
            },
            "runtime": None,
            "verbose": True,
        }
    )
    assert results == []
    assert worker_dispatcher.get_logs() == []


def test_usage_an_integer_is_the_number_of_tasks_and_the_sample_runs_them():
    results = worker_dispatcher.start({"task": {"list": 3}, "verbose": False})
    assert len(results) == 3
    assert [log["status"] for log in worker_dispatcher.get_logs()] == ["ok"] * 3


def test_usage_the_default_config_has_every_option_with_its_default():
    default = worker_dispatcher.default_config
    assert default["worker"]["frequency_mode"]["interval"] == 1
    assert default["task"]["list"] == []
    assert default["task"]["callback"] == {"on_done": False, "on_all_done": False}
    assert default["worker"]["use_processing"] is False
    assert (default["debug"], default["verbose"], default["runtime"]) == (False, True, None)


# task.function and the callbacks ------------------------------------------------------------------------------------


def test_task_function_gets_id_config_task_and_a_metadata_of_its_own(shape):
    def task_function(id: int, config, task, metadata: dict):
        assert metadata == {}
        metadata["note"] = f"{task}!"
        return [id, config["k"], task]

    results = worker_dispatcher.start(
        {
            "task": {"list": ["a", "b", "c"], "function": task_function, "config": {"k": 1}},
            "worker": {"number": 2, **shape},
            "verbose": False,
        }
    )
    assert results == [[1, 1, "a"], [2, 1, "b"], [3, 1, "c"]]
    assert [log["metadata"] for log in worker_dispatcher.get_logs()] == [{"note": f"{task}!"} for task in "abc"]


def test_callbacks_get_id_config_result_and_log_and_define_the_result(shape):
    def callback_on_done_function(id: int, config, result, log: dict):
        assert list(log)[:6] == LOG_KEYS
        assert log["ended_at"] - log["started_at"] == pytest.approx(log["duration"], abs=1e-3)
        return result + 1

    def callback_on_all_done_function(id: int, config, result, log: dict):
        assert log["result"] == result
        return result * config["factor"]

    results = worker_dispatcher.start(
        {
            "task": {
                "list": 5,
                "function": lambda id, config, task, metadata: id,
                "config": {"factor": 10},
                "callback": {"on_done": callback_on_done_function, "on_all_done": callback_on_all_done_function},
            },
            "worker": {"number": 2, **shape},
            "verbose": False,
        }
    )
    assert results == [20, 30, 40, 50, 60]
    assert [log["result"] for log in worker_dispatcher.get_logs()] == results


# Other methods ------------------------------------------------------------------------------------------------------


def test_get_results_get_logs_and_get_result_info_speak_of_the_run(shape):
    before = time.time()
    results = worker_dispatcher.start(
        {"task": {"list": 4, "function": lambda id: id % 2 == 0}, "worker": {"number": 2, **shape}, "verbose": False}
    )
    after = time.time()
    assert worker_dispatcher.get_results() is results
    assert results == [False, True, False, True]
    for number, log in enumerate(worker_dispatcher.get_logs(), 1):
        assert list(log)[:6] == LOG_KEYS
        assert log["task_id"] == number
        assert before - 0.01 <= log["started_at"] <= log["ended_at"] <= after + 0.01
        assert log["result"] is results[number - 1]
    info = worker_dispatcher.get_result_info()
    assert before - 0.01 <= info["started_at"] <= info["ended_at"] <= after + 0.01
    assert info["duration"] == pytest.approx(info["ended_at"] - info["started_at"], abs=1e-5)


def test_get_tps_has_the_documented_parameters():
    parameters = inspect.signature(worker_dispatcher.get_tps).parameters
    documented = ["logs", "display_intervals", "interval", "reverse_interval", "use_processing", "verbose", "debug"]
    assert list(parameters)[:7] == documented
    assert [parameters[name].default for name in documented] == [None, False, 0, False, False, False, False]


def test_get_tps_reads_the_last_run_or_the_logs_it_is_given(website):
    def each_task(id, config, task, metadata):
        if task == "false":
            return False
        return requests.get(config + task)

    worker_dispatcher.start(
        {
            "task": {"list": ["a", "bad", "false", "b"], "function": each_task, "config": website.url},
            "worker": {"number": 2},
            "verbose": False,
        }
    )
    tps = worker_dispatcher.get_tps()
    # False is a failure, and so is a response other than 200.
    assert (tps["count"]["success"], tps["count"]["total"], tps["count"]["invalidity"]) == (2, 4, 0)
    assert tps["tps"] == round(2 / tps["duration"], 2)
    assert "intervals" not in tps
    logs = worker_dispatcher.get_logs()
    assert worker_dispatcher.get_tps(logs) == tps
    assert worker_dispatcher.get_tps(logs[:1])["count"]["total"] == 1
    assert worker_dispatcher.get_tps([])["count"]["total"] == 0


def test_get_tps_finds_the_peak_and_says_how_in_debug_mode(capsys):
    begin = 1734937209.851285
    logs = [
        {"task_id": n, "started_at": begin + at, "ended_at": begin + at + 0.5, "duration": 0.5, "result": True}
        for n, at in enumerate([0.0, 1.0, 30.0, 30.1, 30.2, 30.3, 30.4, 60.0], 1)
    ]
    tps = worker_dispatcher.get_tps(logs, display_intervals=True, interval=13, use_processing=True, debug=True)
    assert tps["count"]["success"] == 8
    assert tps["tps"] == round(8 / 60.5, 2)
    assert [row["count"]["success"] for row in tps["intervals"]] == [2, 0, 5, 0, 1]
    assert tps["peak"]["tps"] == 3.0  # three of them lie inside one whole second: 1734937240 to 1734937241
    lines = capsys.readouterr().out.splitlines()
    assert "--- Start calculating the TPS data ---" in lines
    assert f"  - Average TPS: {tps['tps']}, Total Duration: {tps['duration']}s, Success Count: 8" in lines
    assert "--- Start to compile intervals with an interval of 13 seconds ---" in lines
    assert "--- Start to find the peak TPS ---" in lines
    assert any(line.startswith("  - Interval - Start Time: 1734937209.851285, End Time: ") for line in lines)


# Scenarios: stress test ---------------------------------------------------------------------------------------------


def stress_test(website: Website, count: int, interval: float) -> None:
    def each_task(id, config, task, metadata):
        response = None
        try:
            response = requests.get(config["my_endpoint"], timeout=(5, 10))
        except requests.exceptions.RequestException as e:
            print("An error occurred:", e)
        return response

    responses = worker_dispatcher.start(
        {
            "task": {
                "list": count,
                "function": each_task,
                "config": {"my_endpoint": website.url + "api"},
            },
            "worker": {
                "number": 10,
                "frequency_mode": {
                    "enabled": True,
                    "interval": interval,
                },
            },
        }
    )

    assert [response.status_code for response in responses] == [200] * count
    assert website.paths == ["/api"] * count
    logs = worker_dispatcher.get_logs()
    assert [log["task_id"] for log in logs] == list(range(1, count + 1))
    first = logs[0]["scheduled_at"]
    due = [interval * (number // 10) for number in range(count)]
    assert [log["scheduled_at"] - first for log in logs] == pytest.approx(due, abs=1e-5)
    assert min(log["started_at"] - log["scheduled_at"] for log in logs) > -0.001
    tps = worker_dispatcher.get_tps()
    assert (tps["count"]["success"], tps["count"]["total"]) == (count, count)
    assert tps["tps"] == pytest.approx(count / tps["duration"], abs=0.006)


def test_stress_test_ten_requests_at_each_tick(website):
    stress_test(website, 60, 0.1)


@pytest.mark.slow
def test_stress_test_ten_requests_per_second_for_a_minute(website):
    stress_test(website, 600, 1)

"""worker_dispatcher: run many calls and never lose the run."""

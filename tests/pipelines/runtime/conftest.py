"""What is no test here: a script that tests start in processes of its own."""

collect_ignore = ["loop_worker.py"]

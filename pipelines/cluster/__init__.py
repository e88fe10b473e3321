"""Independent branches of the DAG at the same time, on a Ray cluster."""

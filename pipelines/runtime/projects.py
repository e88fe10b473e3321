"""Stages as entry points of MLflow Projects.

`mlflow run` makes a run of its own for each launch, hands its id over in the environment, and ends
it with the stage. The model's row stays the one that DVC would use; the launch is nested under it.
"""

from __future__ import annotations

import os

LAUNCH = "MLFLOW_RUN_ID"
"""Environment variable: run id of the launch."""
ROW_TAG = "symbiosis.row"
"""On a launch: the run id of the model's row."""


def nest_launch(row: str, experiment: str) -> None:
    """Tie the launch that this process is part of, if there is one, to a row.

    MLflow nests runs of one experiment; a launch in another one, such as `mlflow run`'s default,
    names the row in a tag.

    Args:
        row: run id of the row.
        experiment: its experiment's id.
    """
    launch = os.environ.get(LAUNCH)
    if launch is None:
        return
    # Seconds to import, which stages that log nothing shall not pay for `LAUNCH`.
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_PROJECT_ENTRY_POINT

    client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"))
    try:
        run = client.get_run(launch)
        # Tied already: this is a row below the launch's own, such as a trial of a sweep.
        if MLFLOW_PROJECT_ENTRY_POINT not in run.data.tags or ROW_TAG in run.data.tags:
            return
        client.set_tag(launch, ROW_TAG, row)
        if run.info.experiment_id == experiment:
            client.set_tag(launch, MLFLOW_PARENT_RUN_ID, row)
    except MlflowException:
        # The variable is left over from elsewhere, or the launch's server is away: the model and
        # its row do not depend on it.
        return

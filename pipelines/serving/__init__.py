"""Exported models as MLflow models, for `mlflow.pyfunc.load_model` and the model registry."""

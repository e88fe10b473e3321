"""The orchestration of Symbiosis: DVC stages, Ray Train runs, MLflow tracking. No mathematics."""

"""The science of Symbiosis: data sets, networks, models, learners, samplers, metrics and plots.

Imports torch, never the orchestration (Ray, MLflow, DVC), which lives in ``pipelines``.
"""

"""Judging samples and densities: features, fidelity, mode coverage, likelihood, OOD detection.

Metrics read arrays and models, and nothing but the pipelines reads metrics.
"""

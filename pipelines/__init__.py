"""The orchestration of Symbiosis: DVC stages, Ray Train runs, MLflow tracking. No mathematics."""

import os

# OpenMP reads it once, when torch is loaded. Threads that wait by spinning make a step two to eight
# times slower as soon as another process wants the core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

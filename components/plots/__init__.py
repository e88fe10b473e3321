"""Figures from arrays: nothing here reads a file, a model or a setting.

Pictures made of pixels (grids of images) are uint8 arrays H×W×3; all others are matplotlib figures
that belong to nobody's global state. `grids.png_bytes` and `grids.save_png` take both.
"""

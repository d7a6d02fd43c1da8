"""UGOCC: camera-only 3D semantic occupancy that keeps working on cars nobody labelled."""

__version__ = "0.1.0"

"""Frames over time in the rerun viewer (extra ``rerun``); the modules of this folder import it."""

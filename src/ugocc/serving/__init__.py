"""Trained models at work: the Predictor."""

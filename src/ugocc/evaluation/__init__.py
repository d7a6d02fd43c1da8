"""The metrics of the field, the evaluation that feeds them, and prediction files."""

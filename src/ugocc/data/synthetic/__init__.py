"""The embedded fleets: a procedural town, rendered on the CPU and written in the formats of the real datasets."""

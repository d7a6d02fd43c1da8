"""Rigid transforms, cameras and the voxel grid. Knows nothing of datasets or networks."""

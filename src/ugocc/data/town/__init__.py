"""A procedural town and its renderer on the CPU: pictures, depth, lidar, boxes and occupancy of a drive."""

"""Files on disk to typed frames, and frames to batches. A reader yields frames and knows no network."""

"""Pictures, films and charts without display, GL or plotting library: numpy and Pillow."""

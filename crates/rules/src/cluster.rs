//! What the cluster knows: commands, changes, the image.

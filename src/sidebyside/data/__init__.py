"""Image data sets: file formats, sources, splitting, description and augmentation."""

"""From a name or a callable to a network, and from a batch of images to its features."""

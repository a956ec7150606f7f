"""From the bytes of an image file to what a network takes."""

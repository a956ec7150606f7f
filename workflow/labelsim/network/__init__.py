"""The network under study: how it is built, and what one forward pass gives."""

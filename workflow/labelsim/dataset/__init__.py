"""Where the images are, which classes they belong to, and how they are cut into shards."""

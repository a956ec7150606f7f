"""Arrays in, arrays out: moments, Welch's t, similarity, neighbours, accuracy. No files, no torch."""

"""One module a stage of the workflow: the place where ideas meet files."""

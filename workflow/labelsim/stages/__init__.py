"""One module a rule of the workflow, of the same name: read, call, write."""

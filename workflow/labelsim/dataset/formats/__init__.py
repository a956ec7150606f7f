"""One module a form in which datasets lie on disks."""

"""The explorer: a page that shows the tables of a run in a browser, offline."""

"""All that runs where a workflow is submitted: graphs, compilation, runners and the command line."""

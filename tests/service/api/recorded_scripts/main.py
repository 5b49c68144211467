"""The service around the scripts of the recording; it belongs to their workspace, and is read by nobody."""

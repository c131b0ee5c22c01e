"""Downloads the data of tasks as the section ``fetch`` of their files says."""

"""Values, masks, images, files and errors, for all other folders. Imports nothing else of the package."""

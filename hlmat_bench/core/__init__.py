"""What everything stands on: values, masks, images, files and errors. Imports nothing else of the package."""

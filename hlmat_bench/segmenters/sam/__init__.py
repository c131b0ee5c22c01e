"""Networks of the SAM families: checkpoints, preprocessing, masks from prompts."""

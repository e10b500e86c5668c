"""What the latents mean: structural units, tracks, maps, descriptors and scores."""
